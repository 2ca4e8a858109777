
# shellcheck shell=bash disable=SC2154
# The host's driver, as a folder of links for LD_LIBRARY_PATH: no library beside it is the environment's.
# Its libraries go with those of the same release alone, so all come from the folder that has the first.
# What is the platform's and not the driver's may lie elsewhere: WSL's libdxcore, the parts of L4T.
libraries=(@libraries@)
first=${libraries[0]}
system=/usr/lib/@triplet@
l4t=("$system"/{nvidia,tegra})
any='[0-9][0-9][0-9]*.*' # release

# Where no ldconfig has run, as in a container, there is no link to the file with the release in its name. An
# empty file is what an image has that was saved from a container in whose place the driver was mounted.
library_in() { # FOLDER LIBRARY RELEASE: REPLY, the library's path
  # shellcheck disable=SC2231 # a release may be a pattern
  for REPLY in "$1/$2" "$1/${2%.so.*}.so."$3; do
    [[ ! -s $REPLY ]] || return 0
  done
  return 1
}

named=() compat=() # the caller's LD_LIBRARY_PATH, and what of it is NVIDIA's forward compatibility
split_given() {
  local IFS=':;' place # ld.so takes either
  set -f
  # shellcheck disable=SC2206 # a list is to be split
  named=($given)
  set +f
  for place in "${named[@]}"; do
    [[ ${place%/} != */compat ]] || compat+=("${place%/}")
  done
}

find_driver() { # FOLDER...: REPLY, the folder that has the first library, of these and the usual ones
  local place
  for place in "$@" /run/opengl-driver/lib /usr/lib/wsl/lib "$system"{,/nvidia/current} "${l4t[@]}" \
    /usr/lib64 /usr/local/nvidia/lib64 "${named[@]}"; do
    if [[ $place == /* && ${place%/} != */stubs ]] && library_in "$place" "$first" "$any"; then
      REPLY=$place
      return 0
    fi
  done
  return 1
}

# A compatibility package has a newer libcuda and its compilers. NVML stays the kernel's.
is_kernels() { # FOLDER LIBRARY
  [[ $1 == */compat && $2 == libnvidia-ml.so* ]]
}

names=() files=() # of the links
find_libraries() { # FOLDER
  local index library own place places release=$any
  # Debian's is a folder of links: what is no link there may be another release's.
  library_in "$1" "$first" "$any"
  own=$(@coreutils@/bin/readlink -f "$REPLY")
  [[ ! $own =~ \.so\.([0-9]{3,}\.[0-9.]+)$ ]] || release=${BASH_REMATCH[1]}
  own=("${own%/*}" "$1")
  [[ " ${l4t[*]} " != *" $1 "* && " ${l4t[*]} " != *" ${own[0]} "* ]] || own+=("${l4t[@]}")
  for library in "${libraries[@]}"; do
    places=("${own[@]}")
    if is_kernels "$1" "$library"; then
      find_driver && places=("$REPLY")
      library_in "${places[0]}" "$library" "$any" && names+=("$library") files+=("$REPLY")
      continue
    fi
    [[ $library == lib@(cuda|nvidia-*).so* ]] || places+=("$system" "${l4t[@]}" /usr/lib/wsl/lib)
    for place in "${places[@]}"; do
      library_in "$place" "$library" "$release" || continue
      names+=("$library") files+=("$REPLY")
      break
    done
  done
  mapfile -t files <<<"$(@coreutils@/bin/readlink -f "${files[@]}")" # no /dev/fd is needed
  for index in "${!names[@]}"; do
    [[ ${files[index]} =~ \.so\.([0-9]{3,}\.[0-9.]+)$ ]] || continue
    ! is_kernels "$1" "${names[index]}" || continue
    if [[ $release != "$any" && $release != "${BASH_REMATCH[1]}" ]]; then
      echo "@name@: left out ${files[index]}: $first is of driver $release; install one release of NVIDIA's driver" >&2
      unset "names[index]" "files[index]"
    fi
  done
  if [[ $first == libcuda.so.1 ]]; then # Triton before 3.3 links with -lcuda
    names+=(libcuda.so) files+=("${files[0]}")
  fi
  # What Python opens by a name that only headers' packages have.
  names+=(@opened@) files+=(@opened-files@)
}

are_linked() { # FOLDER: whether it has these links and nothing else
  local index entries=("$1"/*)
  [[ -O $1 && ! -L $1 && ${#entries[@]} == "${#names[@]}" ]] || return 1
  for index in "${!names[@]}"; do
    [[ -L $1/${names[index]} && $1/${names[index]} -ef ${files[index]} ]] || return 1
  done
}

link_libraries() { # FOLDER: makes it, as other processes may do at the same time
  local entry fresh index
  are_linked "$1" && return
  # shellcheck disable=SC2174 # the last folder is private, which is what counts
  @coreutils@/bin/mkdir -p -m 700 "$1" && [[ -O $1 && ! -L $1 ]] || return
  fresh=$(@coreutils@/bin/mktemp -d "$1.XXXXXX") || return
  for index in "${!names[@]}"; do
    @coreutils@/bin/ln -s "${files[index]}" "$fresh/${names[index]}"
  done
  for entry in "$1"/*; do
    [[ -L $fresh/${entry##*/} ]] || @coreutils@/bin/rm -rf "$entry"
  done
  @coreutils@/bin/mv -f "$fresh"/* "$1" # one renaming each: at no time is a name missing
  @coreutils@/bin/rm -rf "$fresh"
  are_linked "$1"
} 2>/dev/null

link_somewhere() { # REPLY: the folder
  local host key place
  # Hosts may share a home, and cloned ones the machine's identity.
  { read -r host </proc/sys/kernel/hostname; } 2>/dev/null
  key=$(printf '%s\n' "${names[@]}" "${files[@]}" | @coreutils@/bin/cat - /etc/machine-id 2>/dev/null | @coreutils@/bin/sha256sum)
  key=vllm-nix/drivers/$host-${key:0:16}
  # After su, XDG_RUNTIME_DIR is the other user's.
  for place in "${XDG_RUNTIME_DIR:-}" "${HOME:-}"; do
    [[ $place == /* && -O $place ]] || continue
    if [[ $place != "${XDG_RUNTIME_DIR:-}" ]]; then
      place=${XDG_CACHE_HOME:-}
      [[ $place == /* ]] || place=$HOME/.cache # as the XDG specification says
    fi
    [[ $place != *[:\;$]* ]] || continue # which would end LD_LIBRARY_PATH there (ld.so(8))
    REPLY=$place/$key
    ! link_libraries "$REPLY" || return 0
  done
  private && REPLY+=/$key && link_libraries "$REPLY"
}

split_given
if find_driver "${compat[@]}"; then
  find_libraries "$REPLY"
  if link_somewhere; then
    export LD_LIBRARY_PATH=$REPLY
    # Triton would ask /sbin/ldconfig, and link with all that lies beside the driver.
    [[ $first != libcuda.so.1 ]] || export TRITON_LIBCUDA_PATH=$REPLY
  else
    echo "@name@: no links to the driver: nothing can be written in XDG_RUNTIME_DIR, ~/.cache, TMPDIR, /tmp and /dev/shm; set TMPDIR to a folder with room" >&2
    ! starts_vllm "$@" || exit 1
  fi
elif [[ $first == libcuda.so.1 ]] && starts_vllm "$@"; then
  echo "vllm: this machine has no libcuda.so.1: install NVIDIA's driver, start a container with --gpus all, or name the driver's folder in LD_LIBRARY_PATH" >&2
  exit 1
fi
