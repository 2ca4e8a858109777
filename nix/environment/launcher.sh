#!@bash@/bin/bash
# Starts the environment's Python with what vLLM expects around it: tools on the path, a home to write
# its caches to, and the software that is the host's own.

# Neither what is empty in PATH nor a dot, which bash adds to none at all, nor another relative path:
# they would have the environment run what lies in the working directory.
absolute() { # LIST...: REPLY, a list as PATH is one
  local IFS=: element
  REPLY=
  set -f
  # shellcheck disable=SC2048 # lists are to be split
  for element in $*; do
    [[ $element != /* ]] || REPLY+=${REPLY:+:}$element
  done
  set +f
}
absolute "@out@/bin" "@path@" "${PATH:-}"
export PATH=$REPLY

# The caller's modules stay outside, unless VLLM_NIX_PYTHONPATH names them. What one process of the
# environment sets for another, as Ray does, is not the caller's. vLLM warns of a VLLM_... it does not know.
unset PYTHONHOME
if [[ ${_VLLM_NIX_ENVIRONMENT:-} != "@out@" ]]; then
  unset PYTHONPATH PYTHONSTARTUP PYTHONINSPECT PYTHONBREAKPOINT PYTHONUSERBASE PYTHONPLATLIBDIR
  [[ -z ${VLLM_NIX_PYTHONPATH:-} ]] || export PYTHONPATH=$VLLM_NIX_PYTHONPATH
fi
unset VLLM_NIX_PYTHONPATH
export _VLLM_NIX_ENVIRONMENT=@out@
@exports@

private() { # REPLY: a folder of the user's own, in TMPDIR or where else everybody may write
  local place
  for place in "${TMPDIR:-/tmp}" /tmp /dev/shm; do
    REPLY=$place/vllm-nix-$UID
    @coreutils@/bin/mkdir -m 700 "$REPLY" 2>/dev/null
    # Somebody else may have been here first, with a link to a folder of the user's.
    [[ ! -d $REPLY || -L $REPLY || ! -O $REPLY || ! -w $REPLY ]] || return 0
    REPLY=$(@coreutils@/bin/mktemp -d "$place/vllm-nix-XXXXXX" 2>/dev/null) && return 0
  done
  return 1
}
if [[ ! -d ${HOME:-} || ! -w $HOME ]] && private; then # a service's user, a sandbox
  export HOME=$REPLY
fi

starts_vllm() { # ARGUMENT...: whether these arguments of Python's are vLLM's
  [[ ${1##*/} == vllm || ${1:-} == -m && ${2:-} == vllm?(.*) ]]
}
# shellcheck disable=SC2034 # a driver may be there
given=${LD_LIBRARY_PATH:-}
unset LD_LIBRARY_PATH
@host-software@
exec -a "@out@/bin/${0##*/}" @python@ "$@"
