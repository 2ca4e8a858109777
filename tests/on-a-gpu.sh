#!/bin/sh
# on-a-gpu.sh ENVIRONMENT...: of each, what `vllm-nix verify` finds on this machine, and an answer over HTTP.
# MODEL is one on the hub, or a folder; PORT and ARGUMENTS are vLLM's. Reports are left in the working directory.
set -eu
model=${MODEL:-HuggingFaceTB/SmolLM2-135M-Instruct} port=${PORT:-8123} status=0 server=
trap '[ -z "$server" ] || kill "$server"' EXIT
trap 'exit 130' HUP INT TERM
for environment; do
  name=$(basename "$environment")
  echo "== $name: $(du -csh $(nix-store -qR "$environment") | tail -n 1 | cut -f 1) in the store"
  vllm-nix verify "$environment" --html "verify-$name.html" >"verify-$name.txt" || status=1
  tail -n 2 "verify-$name.txt"
  started=$(date +%s)
  "$environment/bin/vllm" serve "$model" --port "$port" --max-model-len 2048 ${ARGUMENTS:-} >"serve-$name.txt" 2>&1 &
  server=$!
  until curl -sf "http://127.0.0.1:$port/health"; do
    kill -0 "$server" 2>/dev/null || break
    sleep 1
  done
  if kill -0 "$server" 2>/dev/null; then
    echo "ready after $(($(date +%s) - started)) s; its answer:"
    curl -s "http://127.0.0.1:$port/v1/chat/completions" -H 'Content-Type: application/json' -d "{
      \"model\": \"$model\", \"temperature\": 0, \"max_tokens\": 40, \"messages\":
      [{\"role\": \"user\", \"content\": \"What is the capital of France? Answer in one sentence.\"}]}" |
      grep -o '"content":"[^"]*"' || status=1
    kill "$server"
    wait "$server" || :
  else
    echo "it did not start: $(tail -n 1 "serve-$name.txt")"
    status=1
  fi
  server=
done
exit $status
