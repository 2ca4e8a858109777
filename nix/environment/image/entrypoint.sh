#!@bash@/bin/bash
# What follows the image's name in `docker run`: a command of vLLM's, a program, or else, as in vLLM's own
# image, what `vllm serve` takes.
case ${1:-} in
  bench | chat | collect-env | complete | launch | run-batch | serve) set -- vllm "$@" ;;
  *) type -P -- "${1:-}" >/dev/null || set -- vllm serve "$@" ;;
esac
exec "$@"
