# installCheck with pytest: pytestFlags, enabledTests (-k), disabledTests, disabledTestPaths.
pytestCheckPhase() {
  runHook preCheck
  local -a flags=() off=() paths=()
  words flags pytestFlags pytestFlagsArray
  words off disabledTests
  words paths disabledTestPaths
  local each expression=
  for each in "${off[@]}"; do expression+="${expression:+ and }not $each"; done
  for each in "${paths[@]}"; do flags+=("--ignore=$each"); done
  python3.11 -m pytest ${expression:+-k "$expression"} "${flags[@]}"
  runHook postCheck
}
if [[ $installCheckPhase == pythonInstallCheckPhase ]]; then preInstallCheckHooks+=(pytestCheckPhase); fi
