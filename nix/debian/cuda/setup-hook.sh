# nvcc writes its own path into what it links; nothing needs the compiler at run time.
removeCompilerReferences() {
  local hash=@out@ output
  hash=${hash#"$NIX_STORE/"}
  hash=${hash%%-*}
  for output in $outputs; do
    { find "${!output}" -type f -exec grep -lF "$hash" {} + || true; } | while read -r file; do
      sed -i "s|$hash|${hash//?/e}|g" "$file"
    done
  done
}
postFixupHooks+=(removeCompilerReferences)
