# Python among the tools: modules of all inputs are importable; buildPythonPackage's phases.
addPythonPath() { addToSearchPath PYTHONPATH "$1/lib/python3.11/site-packages"; }
addEnvHooks "${hostOffset-0}" addPythonPath

pythonBuildPhase() {
  runHook preBuild
  mkdir -p dist
  if [[ $pythonFormat == wheel ]]; then
    local file=${src##*/}
    cp "$src" "dist/${file#*-}"
  else
    python3.11 -m build --wheel --no-isolation --skip-dependency-check --outdir dist
  fi
  runHook postBuild
}

pythonInstallPhase() {
  runHook preInstall
  local -a wheels=(dist/*.whl)
  [[ ${#wheels[@]} -eq 1 ]] || die "expected one wheel in dist, found: ${wheels[*]}"
  PYTHONPATH=$pythonInstaller python3.11 -m installer --prefix "$out" --no-compile-bytecode "${wheels[0]}"
  local site=$out/lib/python3.11/site-packages
  mkdir -p "$site" "$dist"
  python3.11 -m compileall -q --invalidation-mode unchecked-hash "$site"
  cp "${wheels[0]}" "$dist/"
  if [[ -n ${pythonApplicationPath-} ]]; then pythonWrapScripts "$site"; fi
  runHook postInstall
}

# The scripts run in a virtual environment of the package's own, which knows the dependencies.
pythonWrapScripts() {
  local environment=$out/libexec/$pname python
  python=$(type -P python3.11)
  mkdir -p "$environment/bin" "$environment/lib/python3.11/site-packages"
  printf 'home = %s\ninclude-system-site-packages = false\n' "${python%/*}" > "$environment/pyvenv.cfg"
  ln -s "$python" "$environment/bin/python3.11"
  printf '%s\n' "$1" $pythonApplicationPath > "$environment/lib/python3.11/site-packages/packages.pth"
  sed -i "1s|^#!.*python.*|#!$environment/bin/python3.11|" "$out"/bin/*
}

pythonInstallCheckPhase() {
  runHook preInstallCheck
  local -a modules=()
  words modules pythonImportsCheck
  local PYTHONPATH=$out/lib/python3.11/site-packages:$PYTHONPATH module
  export PYTHONPATH
  for module in "${modules[@]}"; do (cd / && python3.11 -c "import $module") || die "cannot import $module"; done
  runHook postInstallCheck
}

if [[ ${pythonFormat-} == wheel || ${pythonFormat-} == pyproject ]]; then
  : "${buildPhase:=pythonBuildPhase}" "${installPhase:=pythonInstallPhase}" "${configurePhase:=true}"
fi
