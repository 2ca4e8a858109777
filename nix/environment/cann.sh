
# shellcheck shell=bash
# CANN and the NPU's driver are the host's: their own folders join the path, as their set_env.sh would
# have it (hiascend.com, CANN 8.5, "envvar", the tables of the toolkit and of ATB).
first() { # FILE FOLDER...: the first of the folders that has the file
  local place
  for place in "${@:2}"; do
    [[ -z $place || ! -e $place/$1 ]] || { echo "$place" && return; }
  done
}
cmake=$(<"@site@/torch/share/cmake/Torch/TorchConfig.cmake")
abi=cxx_abi_1 # ATB comes once for each ABI of torch's
[[ $cmake != *_GLIBCXX_USE_CXX11_ABI=0* ]] || abi=cxx_abi_0

toolkit=$(first lib64/libascendcl.so "${ASCEND_HOME_PATH:-}" @toolkit@)
# A set_env.sh that was sourced where no torch is installed names the other ABI.
given=${ATB_HOME_PATH:-}
given=${given%/cxx_abi_?}
atb=$(first lib/libatb.so "${given:+$given/$abi}" "${ATB_HOME_PATH:-}" @atb@)
driver=$(first driver/libascend_hal.so @driver@)
missing=
[[ $toolkit ]] || missing+=', the toolkit @version@ (no ASCEND_HOME_PATH, and not in @toolkit@)'
[[ $atb ]] || missing+=', ATB of nnal (no ATB_HOME_PATH, and not in @atb-roots@)'
[[ $driver ]] || missing+=", the NPU's driver (not in @driver@)"
if [[ $missing && ${TORCH_DEVICE_BACKEND_AUTOLOAD:-} != 0 ]]; then
  echo "@name@: this machine lacks parts of CANN: ${missing#, }; TORCH_DEVICE_BACKEND_AUTOLOAD=0 and VLLM_PLUGINS= do without" >&2
  ! starts_vllm "$@" || exit 3 # which would say no more than "Failed to infer device type"
fi

info=$toolkit/${MACHTYPE%%-*}-linux/ascend_toolkit_install.info
version=$'\nversion=([^\n]+)'
if [[ -e $info && $'\n'$(<"$info") =~ $version && ${BASH_REMATCH[1]} != @version@* ]]; then
  echo "@name@: CANN ${BASH_REMATCH[1]} in $toolkit; it was built for @version@" >&2
fi

prepend() { # VARIABLE FOLDER...: the folders that there are, before what the variable holds
  local folder found=
  for folder in "${@:2}"; do
    [[ ! -d $folder || :${!1:-}: == *:$folder:* ]] || found+=${found:+:}$folder
  done
  export "$1=$found${!1:+${found:+:}${!1}}"
}
if [[ $driver ]]; then
  prepend LD_LIBRARY_PATH "$driver"{,/common,/driver}
fi
if [[ $toolkit ]]; then
  export ASCEND_HOME_PATH=$toolkit ASCEND_TOOLKIT_HOME=$toolkit ASCEND_AICPU_PATH=$toolkit
  export ASCEND_OPP_PATH=$toolkit/opp TOOLCHAIN_HOME=$toolkit/toolkit
  tbe=$toolkit/opp/built-in/op_impl/ai_core/tbe
  prepend LD_LIBRARY_PATH "$toolkit"/lib64{,/plugin/opskernel,/plugin/nnengine} \
    "$tbe/op_tiling/lib/linux/${MACHTYPE%%-*}" "$toolkit"/tools/aml/lib64{,/plugin}
  prepend PYTHONPATH "$toolkit/python/site-packages" "$tbe"
  prepend PATH "$toolkit/bin" "$toolkit"/{compiler,tools}/ccec_compiler/bin
fi
if [[ $atb ]]; then
  export ATB_HOME_PATH=$atb
  prepend LD_LIBRARY_PATH "$atb/lib"
  prepend PATH "$atb/bin"
fi
