# What verl's guide to vLLM 0.7 changes by hand in the installed files, as each of its workers is an
# engine of its own that an external launcher starts; 0.7.3 has all of it upstream.
# https://github.com/volcengine/verl/blob/main/docs/README_vllm0.7.md
let
  lines = builtins.concatStringsSep "\n";
  # The world is every worker, of which several engines are made.
  worldSize = condition: {
    file = "vllm/distributed/parallel_state.py";
    old = lines (
      condition
      ++ [
        "        raise RuntimeError("
        "            f\"world_size ({world_size}) is not equal to \""
        "            f\"tensor_model_parallel_size ({tensor_model_parallel_size}) x \""
        "            f\"pipeline_model_parallel_size ({pipeline_model_parallel_size})\")"
        "\n"
      ]
    );
    new = "";
  };
in
[
  (
    worldSize [
      "    if (world_size !="
      "            tensor_model_parallel_size * pipeline_model_parallel_size):"
    ]
    // {
      from = "0.7.0";
      before = "0.7.1";
    }
  )
  (
    worldSize [
      "    if (world_size"
      "            != tensor_model_parallel_size * pipeline_model_parallel_size):"
    ]
    // {
      from = "0.7.1";
      before = "0.7.3";
    }
  )
  # The rank counts the workers of all hosts, a device is one of its own host's.
  {
    from = "0.7.0";
    before = "0.7.3";
    file = "vllm/executor/uniproc_executor.py";
    old = "local_rank = rank";
    new = "local_rank = int(os.environ[\"LOCAL_RANK\"])";
  }
  # The memory belongs to the training in the same process as well.
  {
    from = "0.7.0";
    before = "0.7.3";
    file = "vllm/model_executor/model_loader/weight_utils.py";
    old = "        torch.cuda.empty_cache()\n";
    new = "";
  }
  # The V1 engine, between vllm#13591 and 0.8.0, which counts the engines by itself (vllm#14899). No
  # release is due: the guide takes the commit 2275784, and sed after its line 903, which in 0.8.3 sets
  # the value before it is overwritten, and in 0.7.3, 0.8.0 and 0.8.1 makes an IndentationError.
  {
    from = "0.7.4";
    before = "0.8.0";
    file = "vllm/distributed/parallel_state.py";
    old = "data_parallel_size = config.parallel_config.data_parallel_size";
    new = "data_parallel_size = world_size // pipeline_model_parallel_size // tensor_model_parallel_size";
  }
]
