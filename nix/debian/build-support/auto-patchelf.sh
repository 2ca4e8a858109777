# After the phases: every ELF file of the outputs finds its libraries in the outputs or the inputs.
addAutoPatchelfSearchPath() {
  while [[ $1 == --* ]]; do shift; done
  autoPatchelfFolders+=("$@")
}

isIgnored() {
  local -a ignored=()
  words ignored autoPatchelfIgnoreMissingDeps
  local pattern
  for pattern in "${ignored[@]}"; do
    # shellcheck disable=SC2053
    if [[ $1 == $pattern ]]; then return 0; fi
  done
  return 1
}

autoPatchelfFile() {
  local file=$1 library folder found run=
  local -a needed
  mapfile -t needed < <(patchelf --print-needed "$file" 2> /dev/null)
  if patchelf --print-interpreter "$file" > /dev/null 2>&1; then
    patchelf --set-interpreter "@loader@" "$file"
  fi
  for library in "${needed[@]}"; do
    found=
    for folder in "${file%/*}" "${autoPatchelfFolders[@]}"; do
      if [[ -e $folder/$library ]]; then
        found=$folder
        break
      fi
    done
    if [[ -n $found ]]; then
      case ":$run:" in *":$found:"*) ;; *) run+=${run:+:}$found ;; esac
    elif ! isIgnored "$library"; then
      die "autoPatchelf: $file needs $library, which no input holds"
    fi
  done
  for folder in $appendRunpaths; do run+=${run:+:}$folder; done
  if [[ ${#needed[@]} -gt 0 ]]; then patchelf --set-rpath "$run" "$file"; fi
}

autoPatchelf() {
  local output file input
  for output in $outputs; do
    while read -r -d '' file; do autoPatchelfFolders+=("${file%/*}"); done < <(
      find "${!output}" -name '*.so*' -print0
    )
  done
  for input in "${allLibraries[@]}"; do autoPatchelfFolders+=("$input/lib"); done
  autoPatchelfFolders+=("@libc@")
  mapfile -t autoPatchelfFolders < <(printf '%s\n' "${autoPatchelfFolders[@]}" | awk '!seen[$0]++')
  for output in $outputs; do
    while read -r -d '' file; do
      if isElf "$file" && patchelf --print-needed "$file" > /dev/null 2>&1; then autoPatchelfFile "$file"; fi
    done < <(find "${!output}" -type f \( -perm -0100 -o -name '*.so*' \) -print0)
  done
}

declare -a autoPatchelfFolders=()
if [[ -z ${dontAutoPatchelf-} ]]; then postFixupHooks+=(autoPatchelf); fi
