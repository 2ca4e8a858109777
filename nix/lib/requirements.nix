# The requirements (PEP 508) that a target's wheel lock resolves.
data:
(if data.torch.from == "wheel" then [ "torch==${data.torch.version}" ] else [ ])
++ (
  if data.vllm.from == "wheel" then [ "${data.vllm.distribution}==${data.vllm.version}" ] else [ ]
)
++ (
  if data.vllm-ascend.from or null == "wheel" then
    [ "vllm-ascend==${data.vllm-ascend.version}" ]
  else
    [ ]
)
++ (if data ? verl then [ "verl==${data.verl.version}" ] else [ ])
++ (data.wheels.require or [ ])
