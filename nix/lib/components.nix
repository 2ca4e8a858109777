# The wheels of a target that are built here, by their components' names; all others are locked.
data:
(if data.torch.from == "source" then [ "torch" ] else [ ])
++ (if data.torch.from == "source" && data ? triton then [ "triton" ] else [ ])
++ (if data.vllm.from == "source" then [ "vllm" ] else [ ])
++ (if data.vllm-ascend.from or null == "source" then [ "vllm-ascend" ] else [ ])
++ builtins.filter (name: data ? ${name}) [
  "flash-attn"
  "triton-ascend"
]
++ (data.neuron.wheels or [ ])
++ builtins.attrNames (data.sdists or { })
