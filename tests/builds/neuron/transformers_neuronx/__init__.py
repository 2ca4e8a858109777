"""What vLLM 0.3.3 asks of transformers-neuronx, without an accelerator: a model that only adds up."""
