
# shellcheck shell=bash
# The kernel's driver is the host's: aws-neuronx-dkms makes a device of each chip.
if [[ ! -e /dev/neuron0 ]] && starts_vllm "$@"; then
  echo "vllm: this machine has no /dev/neuron0: it is no Trainium or Inferentia instance, or lacks AWS's driver, aws-neuronx-dkms" >&2
  exit 3
fi
