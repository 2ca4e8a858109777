# Configure with CMake, unless the package has its own configurePhase.
cmakeConfigurePhase() {
  runHook preConfigure
  local -a flags=()
  words flags cmakeFlags cmakeFlagsArray
  if [[ -z ${dontUseCmakeBuildDir-} ]]; then
    mkdir -p "${cmakeBuildDir:=build}"
    cd "$cmakeBuildDir"
  fi
  flags=(
    "-DCMAKE_INSTALL_PREFIX=${prefix:-$out}"
    "-DCMAKE_BUILD_TYPE=${cmakeBuildType:-Release}"
    -DCMAKE_INSTALL_LIBDIR=lib
    # CMake takes what it linked with from the RUNPATH again, the linker's own additions too.
    -DCMAKE_INSTALL_RPATH_USE_LINK_PATH=ON
    -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF
    "${flags[@]}"
  )
  if command -v ninja > /dev/null && [[ ${cmakeGenerator-Ninja} == Ninja ]]; then flags=(-GNinja "${flags[@]}"); fi
  echo "cmake ${flags[*]}"
  cmake "${cmakeDir:-..}" "${flags[@]}"
  runHook postConfigure
}

if [[ -z ${dontUseCmakeConfigure-}${configurePhase-} ]]; then configurePhase=cmakeConfigurePhase; fi
