from dataclasses import dataclass


@dataclass
class ContinuousBatchingConfig:
    batch_size_for_shared_caches: int


@dataclass
class NeuronConfig:
    continuous_batching: ContinuousBatchingConfig
