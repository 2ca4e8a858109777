"""One step of GRPO on the CPU: grpo_step.py MODEL; prints what came of it as JSON.

verl's own engine (FSDP2), worker, advantages and loss. What verl 0.9.1 has not for a CPU it gets by its own
registries: a platform (verl/plugin/platform has cuda, npu and rocm), and the engine for it, which
verl/workers/engine/fsdp/transformer_impl.py registers with `device=["cuda", "npu"]`. The model samples by
itself: each rollout that verl has (`_ROLLOUT_REGISTRY` of verl/workers/rollout/base.py) is a server on GPUs.
"""

import contextlib
import json
import os
import sys
from functools import partial
from types import ModuleType
from typing import Any

os.environ |= {"VERL_PLATFORM": "cpu", "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}

import numpy as np
import torch
from tensordict import TensorDict
from verl.plugin.platform.platform_manager import PlatformBase, PlatformRegistry

PROMPTS, ANSWERS, LENGTH = 2, 4, 8


class Cpu(ModuleType):
    """torch.cpu, with what verl asks of torch.cuda besides."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)

    get_rng_state = staticmethod(torch.get_rng_state)
    set_rng_state = staticmethod(torch.set_rng_state)

    def empty_cache(self) -> None: ...

    def get_device_name(self) -> str:
        return "CPU"

    def mem_get_info(self) -> tuple[int, int]:
        return 0, 0

    def max_memory_allocated(self) -> int:
        return 0

    memory_allocated = memory_reserved = max_memory_reserved = max_memory_allocated


@PlatformRegistry.register(platform="cpu")
class PlatformCpu(PlatformBase):
    device_name = property(lambda self: "cpu")
    vendor_name = property(lambda self: "none")
    device_module = property(lambda self: Cpu("cpu"))
    is_available = is_ipc_supported = lambda self: True
    current_device = lambda self: "cpu"
    device_count = lambda self: 1
    set_device = synchronize = set_allocator_settings = lambda self, *_: None
    empty_cache = profiler_start = profiler_stop = cudart = lambda self: None
    manual_seed = manual_seed_all = lambda self, seed: torch.manual_seed(seed)
    get_device_capability = lambda self, *_: (None, None)
    communication_backend_name = lambda self: "gloo"
    visible_devices_envvar = lambda self: "CPU_VISIBLE_DEVICES"
    nvtx_range = lambda self, _: contextlib.nullcontext()
    ray_resource_name = lambda self: "CPU"
    ray_noset_envvars = lambda self: list[str]()


from verl.trainer.config import CheckpointConfig
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage
from verl.utils import tensordict_utils as tu
from verl.workers.config import (
    FSDPActorConfig,
    FSDPEngineConfig,
    FSDPOptimizerConfig,
    HFModelConfig,
)
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead
from verl.workers.engine_workers import TrainingWorker, TrainingWorkerConfig
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import left_right_2_no_padding, no_padding_2_padding

EngineRegistry.register(model_type="language_model", backend="fsdp2", device="cpu")(
    FSDPEngineWithLMHead
)


def main(path: str) -> None:
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    torch.manual_seed(0)
    worker = make_worker(path)
    prompts = torch.randint(0, 500, (PROMPTS, 6)).repeat_interleave(ANSWERS, 0)
    ids = sample(worker.engine.module, prompts)
    responses = ids[:, prompts.shape[1] :]
    everywhere = torch.ones_like(responses)
    rewards = torch.zeros(responses.shape)
    rewards[:, -1] = (responses < 256).float().mean(1)  # of a small token, more than of a large one
    groups = np.array([index // ANSWERS for index in range(len(ids))], dtype=object)
    advantages, _ = compute_grpo_outcome_advantage(rewards, everywhere.float(), groups)

    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "position_ids": torch.arange(ids.shape[1]).expand_as(ids).clone(),
        "prompts": prompts,
        "responses": responses,
        "response_mask": everywhere,
    }
    before = log_probs(worker, batch)
    step = packed(batch | {"old_log_probs": before, "advantages": advantages})
    metrics = tu.get(worker.train_batch(step), "metrics")
    moved = (log_probs(worker, batch) - before).sum(1)
    print(
        json.dumps(
            {
                "advantages": advantages[:, 0].tolist(),
                "moved": moved.tolist(),
                "grad_norm": metrics["grad_norm"],
            }
        )
    )


def make_worker(path: str) -> TrainingWorker:
    engine = FSDPEngineConfig(
        strategy="fsdp2",
        use_dynamic_bsz=False,
        micro_batch_size_per_gpu=PROMPTS * ANSWERS,
        infer_micro_batch_size_per_gpu=PROMPTS * ANSWERS,
        use_torch_compile=False,
        mixed_precision=dict.fromkeys(("param_dtype", "reduce_dtype", "buffer_dtype"), "fp32"),
    )
    actor = FSDPActorConfig(
        strategy="fsdp2",
        ppo_mini_batch_size=PROMPTS,
        ppo_micro_batch_size_per_gpu=PROMPTS * ANSWERS,
        rollout_n=ANSWERS,
        optim=FSDPOptimizerConfig(lr=1e-2, total_training_steps=1),
        fsdp_config=engine,
    )
    worker = TrainingWorker(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=HFModelConfig(
                path=path,
                local_path=path,
                load_tokenizer=False,
                use_remove_padding=False,  # flash-attention's
                override_config={"attn_implementation": "sdpa"},
            ),
            engine_config=engine,
            optimizer_config=actor.optim,
            checkpoint_config=CheckpointConfig(),
        )
    )
    worker.reset()
    worker.set_loss_fn(partial(ppo_loss, config=actor))
    return worker


def sample(policy: Any, ids: torch.Tensor) -> torch.Tensor:
    for _ in range(LENGTH):
        with torch.no_grad():
            logits = policy(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -1]
        ids = torch.cat([ids, torch.multinomial(logits.float().softmax(-1), 1)], 1)
    return ids


def packed(batch: dict[str, torch.Tensor], **more: Any) -> TensorDict:
    """A batch as the workers take it, without padding."""
    found = left_right_2_no_padding(TensorDict(batch, batch_size=[PROMPTS * ANSWERS]))
    lengths = batch["attention_mask"].sum(1).tolist()
    tu.assign_non_tensor(found, temperature=1.0, calculate_entropy=False, **more)
    tu.assign_non_tensor(found, global_batch_size=len(lengths), global_token_num=lengths)
    return found


def log_probs(worker: TrainingWorker, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    found = worker.infer_batch(packed(batch, compute_loss=False))
    return no_padding_2_padding(tu.get(found, "log_probs"), packed(batch))


if __name__ == "__main__":
    main(sys.argv[1])
