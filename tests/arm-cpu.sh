#!/usr/bin/env bash
# arm-cpu.sh COMMAND...: runs it where the kernel describes an ARM processor, not this machine's. Under qemu-user
# PyTorch's libraries for aarch64 read the x86_64 one's caches, and end in a segmentation fault.
set -euo pipefail
if [[ $1 != --inside ]]; then
  exec unshare --mount --map-root-user "${BASH_SOURCE[0]}" --inside "$@"
fi
cpus=/sys/devices/system/cpu
mount -t tmpfs none "$cpus"
echo 0 | tee "$cpus"/{online,possible,present} > /dev/null
mkdir -p "$cpus/cpu0/regs/identification"
echo 0x00000000410fd421 > "$cpus/cpu0/regs/identification/midr_el1" # Cortex-A78AE, Orin's
exec "${@:2}"
