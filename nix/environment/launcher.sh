#!@bash@/bin/bash -p
# Starts the environment's Python with what vLLM expects around it: tools on the path, a home to write
# its caches to, and the software that is the host's own. By -p nothing of the caller's shell comes in:
# the file of BASH_ENV, as clusters set it for their modules, exported functions, options.
unset FUNCNEST

# Neither what is empty in PATH nor a dot, which bash adds to none at all, nor another relative path:
# they would have the environment run what lies in the working directory.
kept() { # PATTERN LIST...: REPLY, a list as PATH is one, of the elements that fit
  local IFS=: element pattern=$1
  shift
  REPLY=
  set -f
  # shellcheck disable=SC2048,SC2053 # lists are to be split, and the pattern is one
  for element in $*; do
    [[ $element != $pattern ]] || REPLY+=${REPLY:+:}$element
  done
  set +f
}
kept '/*' "@out@/bin" "@path@" "${PATH:-}"
export PATH=$REPLY
# Nor what lies there as a header or a library of what is compiled on first use (gcc, "Environment
# Variables"; ld, -rpath).
compilers_lists() {
  local name
  for name in CPATH C_INCLUDE_PATH CPLUS_INCLUDE_PATH COMPILER_PATH LIBRARY_PATH LD_RUN_PATH; do
    [[ -v $name ]] || continue
    kept '/*' "${!name}"
    export "$name=$REPLY"
  done
}
compilers_lists

# The caller's modules stay outside, unless VLLM_NIX_PYTHONPATH names them. What one process of the
# environment sets for another, as Ray does, is not the caller's. vLLM warns of a VLLM_... it does not know.
unset PYTHONHOME
if [[ ${_VLLM_NIX_ENVIRONMENT:-} != "@out@" ]]; then
  unset PYTHONPATH PYTHONSTARTUP PYTHONINSPECT PYTHONBREAKPOINT PYTHONUSERBASE PYTHONPLATLIBDIR
  unset PYTHONEXECUTABLE
  # gcc's wrapper is a script of bash's, too, and looks for its parts where it was built to.
  unset BASH_ENV GCC_EXEC_PREFIX
  kept '?*' "${VLLM_NIX_PYTHONPATH:-}" # an empty one is the working directory
  [[ -z $REPLY ]] || export PYTHONPATH=$REPLY
fi
unset VLLM_NIX_PYTHONPATH
export _VLLM_NIX_ENVIRONMENT=@out@
@exports@

private() { # REPLY: a folder of the user's own, in TMPDIR or where else everybody may write
  local place
  for place in "${TMPDIR:-/tmp}" /tmp /dev/shm; do
    # What is to stand in LD_LIBRARY_PATH has neither its separators nor a $ORIGIN (ld.so(8)).
    [[ $place == /* && $place != *[:\;$]* ]] || continue
    REPLY=$place/vllm-nix-$UID
    @coreutils@/bin/mkdir -m 700 "$REPLY" 2>/dev/null
    # Somebody else may have been here first, with a link to a folder of the user's.
    [[ ! -d $REPLY || -L $REPLY || ! -O $REPLY || ! -w $REPLY ]] || return 0
    REPLY=$(@coreutils@/bin/mktemp -d "$place/vllm-nix-XXXXXX" 2>/dev/null) && return 0
  done
  return 1
}
if [[ ${HOME:-} != /* || ! -d $HOME || ! -w $HOME ]] && private; then # a service's user, a sandbox
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
