# The generic builder: finds the inputs, then runs the phases. The names of phases, hooks and
# variables are those of nixpkgs' stdenv. `nix develop` sources it too.
set -e -o pipefail
shopt -s nullglob
export SHELL=@shell@ CONFIG_SHELL=@shell@
defaultNativeBuildInputs="@cc@"
initialPath="@initialPath@"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-315532800} TZ=UTC
# A build has no /bin/sh, and make would look for it.
export MAKEFLAGS="SHELL=$SHELL"
if [[ ${NIX_BUILD_CORES:-0} -le 0 ]]; then NIX_BUILD_CORES=$(nproc); fi
export NIX_BUILD_CORES

die() {
  echo "$name: $*" >&2
  exit 1
}

# ---------------------------------------------------------------- hooks

# A hook is a variable that holds shell code, or a function; other packages add to <name>Hooks.
runHook() {
  local hook=$1 each
  shift
  local -n added="${hook}Hooks"
  for each in "${added[@]}" "_$hook"; do
    if [[ $each == "_$hook" ]]; then
      if declare -F "$hook" > /dev/null; then "$hook" "$@"; else eval "${!hook-}"; fi
    elif declare -F "$each" > /dev/null; then
      "$each" "$@"
    else
      eval "$each"
    fi
  done
}

# A variable as words, whether it is a shell array or what Nix made of a list.
words() {
  local -n result=$1
  shift
  local variable
  for variable; do
    if [[ $(declare -p "$variable" 2> /dev/null) == "declare -a"* ]]; then
      local -n array=$variable
      result+=("${array[@]}")
    else
      local -a parts
      read -r -d '' -a parts <<< "${!variable-}" || true
      result+=("${parts[@]}")
    fi
  done
}

prependToVar() {
  local -n variable=$1
  shift
  if [[ $(declare -p "${!variable}" 2> /dev/null) == "declare -a"* ]]; then
    variable=("$@" "${variable[@]}")
  else
    variable="$* ${variable-}"
  fi
}

appendToVar() {
  local -n variable=$1
  shift
  if [[ $(declare -p "${!variable}" 2> /dev/null) == "declare -a"* ]]; then
    variable+=("$@")
  else
    variable="${variable-} $*"
  fi
}

addToSearchPath() {
  local -n variable=$1
  if [[ -d $2 ]]; then
    variable=${variable:+$variable:}$2
    export "${!variable}"
  fi
}

# ---------------------------------------------------------------- inputs

declare -a envHostTargetHooks=() allTools=() allLibraries=()

addEnvHooks() {
  shift
  envHostTargetHooks+=("$@")
}

# An input and what it propagates, each once.
findInput() {
  local list=$1 package=$2 each file
  local -n found=$list
  [[ -e $package ]] || die "the input $package does not exist"
  for each in "${found[@]}"; do if [[ $each == "$package" ]]; then return; fi; done
  found+=("$package")
  for file in propagated-build-inputs propagated-native-build-inputs; do
    if [[ -e $package/nix-support/$file ]]; then
      for each in $(< "$package/nix-support/$file"); do
        if [[ $file == propagated-native* ]]; then findInput allTools "$each"; else findInput "$list" "$each"; fi
      done
    fi
  done
}

useTool() {
  if [[ -d $1/bin ]]; then PATH=${PATH:+$PATH:}$1/bin; fi
}

useLibrary() {
  useTool "$1"
  if [[ -d $1/include ]]; then NIX_CFLAGS_COMPILE+=" -isystem $1/include"; fi
  if [[ -d $1/lib ]]; then NIX_LDFLAGS+=" -L$1/lib"; fi
  addToSearchPath PKG_CONFIG_PATH "$1/lib/pkgconfig"
  addToSearchPath PKG_CONFIG_PATH "$1/share/pkgconfig"
  addToSearchPath CMAKE_PREFIX_PATH "$1"
}

findInputs() {
  local each hook
  PATH=
  for each in $nativeBuildInputs $propagatedNativeBuildInputs $defaultNativeBuildInputs; do findInput allTools "$each"; done
  for each in $buildInputs $propagatedBuildInputs; do findInput allLibraries "$each"; done
  for each in "${allTools[@]}"; do useTool "$each"; done
  for each in "${allLibraries[@]}"; do useLibrary "$each"; done
  for each in $initialPath; do useTool "$each"; done
  for each in "${allTools[@]}" "${allLibraries[@]}"; do
    if [[ -f $each/nix-support/setup-hook ]]; then source "$each/nix-support/setup-hook"; fi
  done
  for each in "${allTools[@]}" "${allLibraries[@]}"; do
    for hook in "${envHostTargetHooks[@]}"; do "$hook" "$each"; done
  done
  export PATH NIX_CFLAGS_COMPILE NIX_LDFLAGS
}

# ---------------------------------------------------------------- tools for phases

# substituteInPlace FILE... --replace-fail OLD NEW ...
substituteInPlace() {
  local -a files=()
  while [[ $# -gt 0 && $1 != --* ]]; do
    files+=("$1")
    shift
  done
  local file
  for file in "${files[@]}"; do substitute "$file" "$file" "$@"; done
}

substitute() {
  local input=$1 output=$2 content old new
  shift 2
  [[ -f $input ]] || die "substitute: $input is not a file"
  content=$(cat "$input" && printf x)
  content=${content%x}
  while [[ $# -gt 0 ]]; do
    case $1 in
      --replace-fail | --replace-warn | --replace-quiet | --replace)
        old=$2 new=$3
        if [[ $content != *"$old"* && $1 == --replace-fail ]]; then
          die "$input: --replace-fail did not find '$old'"
        elif [[ $content != *"$old"* && $1 == --replace-warn ]]; then
          echo "warning: $input: --replace-warn did not find '$old'" >&2
        fi
        content=${content//"$old"/"$new"}
        shift 3
        ;;
      --subst-var)
        content=${content//"@$2@"/"${!2}"}
        shift 2
        ;;
      --subst-var-by)
        content=${content//"@$2@"/"$3"}
        shift 3
        ;;
      *) die "substitute: unknown option $1" ;;
    esac
  done
  printf %s "$content" > "$output.substituted"
  if [[ -x $input ]]; then chmod +x "$output.substituted"; fi
  mv "$output.substituted" "$output"
}

# Scripts start interpreters of this build's inputs, not of the host.
patchShebangs() {
  local file first interpreter program path arguments
  while read -r -d '' file; do
    { read -r first < "$file"; } 2> /dev/null || true
    [[ $first == '#!'* && $first != "#!$NIX_STORE/"* && $first != "#! $NIX_STORE/"* ]] || continue
    read -r interpreter arguments <<< "${first#'#!'}"
    program=${interpreter##*/}
    if [[ $program == env ]]; then
      read -r program arguments <<< "${arguments#-S }"
    fi
    path=$(type -P "$program") || continue
    sed -i "1s|.*|#!$path${arguments:+ $arguments}|" "$file"
  done < <(
    for file; do
      if [[ $file != --* ]]; then find "$file" -type f -perm -0100 -print0; fi
    done
  )
}

moveToOutput() {
  local file target
  for file in "$out"/$1; do
    target=$2${file#"$out"}
    mkdir -p "${target%/*}"
    mv "$file" "$target"
  done
}

# ---------------------------------------------------------------- phases

unpackFile() {
  local source=$1 plain
  plain=${source##*/}
  plain=${plain#*-}
  if [[ -d $source ]]; then
    cp -r "$source" "$plain"
    chmod -R u+w "$plain"
    return
  fi
  case $source in
    *.tar | *.tar.* | *.tgz | *.tbz2 | *.txz) tar xf "$source" --mode=+w --no-same-owner ;;
    *.zip) unzip -qq "$source" ;;
    *.whl) unzip -qq "$source" -d "${plain%.whl}" ;;
    *) die "do not know how to unpack $source; set unpackPhase or dontUnpack" ;;
  esac
}

unpackPhase() {
  runHook preUnpack
  local -a sources=() before after new=()
  words sources srcs src
  if [[ ${#sources[@]} -eq 0 ]]; then die "no src; set src, unpackPhase or dontUnpack"; fi
  before=" $(echo *) "
  local each
  for each in "${sources[@]}"; do unpackFile "$each"; done
  if [[ -n ${setSourceRoot-} ]]; then
    runHook setSourceRoot
  elif [[ -z ${sourceRoot-} ]]; then
    for each in */; do if [[ $before != *" ${each%/} "* ]]; then new+=("${each%/}"); fi; done
    [[ ${#new[@]} -eq 1 ]] || die "the source has ${#new[@]} top folders; set sourceRoot"
    sourceRoot=${new[0]}
  fi
  chmod -R u+w -- "$sourceRoot"
  cd -- "$sourceRoot"
  runHook postUnpack
}

patchPhase() {
  runHook prePatch
  local -a files=() flags=()
  local each
  words files patches
  words flags patchFlags
  for each in "${files[@]}"; do
    echo "applying $each"
    patch "${flags[@]:--p1}" < "$each"
  done
  runHook postPatch
}

configurePhase() {
  runHook preConfigure
  if [[ -x ${configureScript:-./configure} ]]; then
    local -a flags=()
    words flags configureFlags configureFlagsArray
    [[ -n ${dontAddPrefix-} ]] || flags=("--prefix=$out" "${flags[@]}")
    "$SHELL" "${configureScript:-./configure}" "${flags[@]}"
  fi
  runHook postConfigure
}

hasMakefile() { [[ -e Makefile || -e makefile || -e GNUmakefile || -n ${makefile-} ]]; }

runMake() {
  local -a flags=(${makefile:+-f "$makefile"})
  if [[ -z ${dontBuildInParallel-} && ${enableParallelBuilding-1} ]]; then flags+=("-j$NIX_BUILD_CORES"); fi
  words flags makeFlags makeFlagsArray "$@"
  echo "make ${flags[*]}"
  make "${flags[@]}"
}

buildPhase() {
  runHook preBuild
  if hasMakefile; then runMake buildFlags buildFlagsArray; fi
  runHook postBuild
}

checkPhase() {
  runHook preCheck
  if hasMakefile; then
    : "${checkTarget:=check}"
    runMake checkFlags checkTarget
  fi
  runHook postCheck
}

installPhase() {
  runHook preInstall
  mkdir -p "$out"
  if hasMakefile; then
    : "${installTargets:=install}"
    runMake installFlags installFlagsArray installTargets
  fi
  runHook postInstall
}

isElf() {
  local magic
  read -r -n 4 magic < "$1" 2> /dev/null || true
  [[ $magic == $'\177ELF' ]]
}

fixupElf() {
  local file
  while read -r -d '' file; do
    if isElf "$file"; then
      if [[ -z ${dontStrip-} ]]; then strip -S "$file" 2> /dev/null || true; fi
      if [[ -z ${dontPatchELF-} && $file != *.o ]]; then
        patchelf --shrink-rpath --allowed-rpath-prefixes "$NIX_STORE" "$file" 2> /dev/null || true
      fi
    fi
  done < <(find "$1" -type f \( -perm -0100 -o -name '*.so' -o -name '*.so.*' \) -print0)
}

fixupPhase() {
  local output prefix
  for output in $outputs; do
    [[ -e ${!output} ]] || die "the output '$output' was not made"
    [[ -f ${!output} ]] || chmod -R u+w -- "${!output}"
  done
  runHook preFixup
  for output in $outputs; do
    prefix=${!output}
    if [[ ! -d $prefix ]]; then continue; fi
    if [[ -z ${dontPatchShebangs-} ]]; then patchShebangs "$prefix"; fi
    fixupElf "$prefix"
    runHook fixupOutput
  done
  local where=${dev:-$out}
  if [[ -d $where ]]; then
    if [[ -n ${propagatedBuildInputs-}${propagatedNativeBuildInputs-}${setupHook-} ]]; then
      mkdir -p "$where/nix-support"
    fi
    if [[ -n ${propagatedBuildInputs-} ]]; then
      echo "$propagatedBuildInputs" > "$where/nix-support/propagated-build-inputs"
    fi
    if [[ -n ${propagatedNativeBuildInputs-} ]]; then
      echo "$propagatedNativeBuildInputs" > "$where/nix-support/propagated-native-build-inputs"
    fi
    if [[ -n ${setupHook-} ]]; then cp "$setupHook" "$where/nix-support/setup-hook"; fi
  fi
  runHook postFixup
}

installCheckPhase() {
  runHook preInstallCheck
  if hasMakefile && [[ -n ${installCheckTarget-} ]]; then runMake installCheckTarget; fi
  runHook postInstallCheck
}

runPhase() {
  local phase=$1
  echo "Running phase: $phase"
  if [[ -n ${!phase-} ]]; then eval "${!phase}"; else "$phase"; fi
}

isOff() {
  case $1 in
    checkPhase) [[ -z ${doCheck-} ]] ;;
    installCheckPhase) [[ -z ${doInstallCheck-} ]] ;;
    *)
      local off=${1%Phase}
      off=dont${off^}
      [[ -n ${!off-} ]]
      ;;
  esac
}

genericBuild() {
  if [[ -n ${buildCommandPath-} ]]; then
    source "$buildCommandPath"
    return
  elif [[ -n ${buildCommand-} ]]; then
    eval "$buildCommand"
    return
  fi
  local phase
  : "${phases:=${prePhases-} unpackPhase patchPhase ${preConfigurePhases-} configurePhase ${preBuildPhases-} buildPhase checkPhase ${preInstallPhases-} installPhase ${preFixupPhases-} fixupPhase installCheckPhase ${preDistPhases-} ${postPhases-}}"
  for phase in $phases; do
    if ! isOff "$phase"; then runPhase "$phase"; fi
  done
}

findInputs
