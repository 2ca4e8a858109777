# Build, check and install with Ninja, unless the package has its own phases.
runNinja() {
  local -a flags=("-j$NIX_BUILD_CORES")
  words flags ninjaFlags ninjaFlagsArray "$@"
  TERM=dumb ninja "${flags[@]}"
}

ninjaBuildPhase() {
  runHook preBuild
  runNinja buildFlags
  runHook postBuild
}

ninjaCheckPhase() {
  runHook preCheck
  : "${checkTarget:=test}"
  runNinja checkFlags checkTarget
  runHook postCheck
}

ninjaInstallPhase() {
  runHook preInstall
  : "${installTargets:=install}"
  runNinja installFlags installTargets
  runHook postInstall
}

if [[ -z ${dontUseNinjaBuild-}${buildPhase-} ]]; then buildPhase=ninjaBuildPhase; fi
if [[ -z ${dontUseNinjaCheck-}${checkPhase-} ]]; then checkPhase=ninjaCheckPhase; fi
if [[ -z ${dontUseNinjaInstall-}${installPhase-} ]]; then installPhase=ninjaInstallPhase; fi
