#!@bash@/bin/bash
# Starts the environment's Python with what vLLM expects around it: tools on the path, a home to
# write its caches to, and the host's driver, without any other library of the host.
export PATH="@out@/bin:@path@${PATH:+:$PATH}"
unset PYTHONHOME
@exports@

if [[ ! -w ${HOME:-/nonexistent} ]]; then # a service's user, a sandbox
  HOME=${TMPDIR:-/tmp}/vllm-nix-$UID
  @coreutils@/bin/mkdir -p -m 700 "$HOME"
  [[ -O $HOME ]] || HOME=$(@coreutils@/bin/mktemp -d) # somebody else's: /tmp is everybody's
  export HOME
fi

drivers=(@drivers@)
if ((${#drivers[@]})); then
  folder=${XDG_RUNTIME_DIR:-}
  [[ -w $folder ]] || folder=$HOME/.cache # after su it is the other user's
  folder+=/vllm-nix/drivers
  @coreutils@/bin/mkdir -p -m 700 "$folder"
  IFS=: read -ra given <<<"${LD_LIBRARY_PATH:-}"
  for library in "${drivers[@]}"; do
    for place in /run/opengl-driver/lib /usr/lib/wsl/lib /usr/lib/{x86_64,aarch64}-linux-gnu{,/nvidia/current,/nvidia,/tegra} /usr/lib64 /usr/local/nvidia/lib64 "${given[@]}"; do
      if [[ $place != "$folder" && -e $place/$library ]]; then
        @coreutils@/bin/ln -sfn "$place/$library" "$folder/$library"
        break
      fi
    done
  done
  export LD_LIBRARY_PATH=$folder
  if [[ -e $folder/libcuda.so.1 ]]; then
    # Triton would ask /sbin/ldconfig, and link with all that lies beside the driver.
    export TRITON_LIBCUDA_PATH=$folder
  elif [[ ${1##*/} == vllm && " ${drivers[*]} " == *" libcuda.so.1 "* ]]; then
    echo "vllm: this machine has no libcuda.so.1: install NVIDIA's driver, or name its folder in LD_LIBRARY_PATH" >&2
    exit 1
  fi
else
  unset LD_LIBRARY_PATH
fi
@cann@
exec -a "@out@/bin/${0##*/}" @python@ "$@"
