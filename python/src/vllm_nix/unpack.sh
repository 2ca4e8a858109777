#!/bin/sh
# Unpacks the bundle below / or the folder named: `sh unpack.sh [FOLDER]`. Checks it first, overwrites nothing.
set -eu
fail() { echo "unpack.sh: $*" >&2; exit 1; }
root=$(cd "${1:-/}" 2>/dev/null && pwd) && root=${root%/} || fail "${1:-/} is not a folder"
store=$root@store@ new=$root@store@/.@name@.new
cd "$(dirname "$0")" && command -v @program@ >/dev/null || fail "needs @program@"
[ ! -e "$store/../var/nix/db" ] || fail "Nix is there, and must know its paths: use nix copy"
[ ! -e "$root/opt/@name@" ] && [ ! -L "$root/opt/@name@" ] || fail "$root/opt/@name@ is there already"
bad=$(LC_ALL=C sha256sum -c SHA256SUMS 2>/dev/null) || fail "damaged, or missing:" $(echo "${bad:-SHA256SUMS: FAILED}" | sed -n 's/: FAILED.*//p')
mkdir -p "$store" "$root/opt" 2>/dev/null && [ -w "$store" ] && [ -w "$root/opt" ] || fail "${root:-/} cannot be written to; run it as root"
mkdir "$new" 2>/dev/null || fail "another run is at work, or left $new: remove it"
trap 'chmod -R u+w "$new" && rm -rf "$new"' EXIT && trap 'exit 130' HUP INT TERM
said=$({ cat @parts@ | @program@ -dc | tar -x -f - -C "$new" || echo "tar failed"; } 2>&1 | head -n 1) && [ -z "$said" ] || fail "not unpacked: $said"
for path in "$new@store@"/*; do # what is there has the same name, so the same content
  [ ! -e "$store/${path##*/}" ] || continue
  [ ! -d "$path" ] || chmod u+w "$path" # else nobody but root may move it
  mv "$path" "$store/" && { [ ! -d "$store/${path##*/}" ] || chmod u-w "$store/${path##*/}"; }
done
mv "$new/opt/@name@" "$root/opt/" && echo "$root/opt/@name@ is ready"
