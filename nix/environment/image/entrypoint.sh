#!@bash@/bin/bash
# What follows the image's name in `docker run`: a command of vLLM's, a program, or else, as in vLLM's own
# image, what `vllm serve` takes.
case ${1:-} in
  bench | chat | collect-env | complete | launch | run-batch | serve) set -- vllm "$@" ;;
  *) type -P -- "${1:-}" >/dev/null || set -- vllm serve "$@" ;;
esac
[[ $1 == vllm && ! -t 0 ]] || exec "$@"

# Linux keeps from a container's first process each signal that it has no handler for, and while vLLM imports it
# has none for SIGTERM: it would be killed once the engine's patience ends. So it is the second one.
trap 'kill -TERM $! 2>/dev/null || exit 143' TERM INT
"$@" <&0 &
vllm=$!
wait $vllm
status=$?
while kill -0 $vllm 2>/dev/null; do # it was the signal that ended `wait`
  wait $vllm
  status=$?
done
exit $status
