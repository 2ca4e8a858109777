# What lets `VLLM_TARGET_DEVICE=neuron` be built outside an SDK's own machine.
[
  # "No such file or directory: .../site-packages/neuronxcc/version/__init__.py": it looks beside the
  # interpreter alone.
  {
    file = "setup.py";
    old = "site_dir = sysconfig.get_paths()[\"purelib\"]";
    new = "site_dir = next(path for path in __import__(\"sys\").path if os.path.isdir(os.path.join(path, \"neuronxcc\")))";
  }
  # "No such file or directory: .../requirements-neuron.txt": the archive lacks it; the tag v0.3.3
  # has these in it.
  {
    from = "0.3.0";
    before = "0.4.0";
    file = "setup.py";
    old = "open(get_path(\"requirements-neuron.txt\"))";
    new = "io.StringIO(\"sentencepiece\\nnumpy\\ntransformers-neuronx >= 0.9.0\\ntorch-neuronx >= 2.1.0\\nneuronx-cc\\nfastapi\\nuvicorn[standard]\\npydantic >= 2.0\\nprometheus_client >= 0.18.0\")";
  }
  # "argument --block-size: invalid choice: 1024": a block of its cache is a whole sequence, so that no
  # model could be served with more than 128 tokens. Later releases set the size themselves.
  {
    from = "0.3.0";
    before = "0.4.0";
    file = "vllm/engine/arg_utils.py";
    old = "choices=[8, 16, 32, 128]";
    new = "choices=[8, 16, 32] + [2**n for n in range(6, 16)]";
  }
]
