"""Has vLLM's engine answer prompts, all at once: generate.py WORDS... < PROMPTS > ANSWERS

WORDS are those of its command line, both others lists of lists of tokens.
"""

import argparse
import json
import sys

import vllm.config
from vllm import EngineArgs, LLMEngine, SamplingParams
from vllm.engine import llm_engine

get_config = vllm.config.get_config


def as_of_2024(*args: object) -> object:
    """A model's configuration; today's transformers says `rope_scaling` of those that have none."""
    config = get_config(*args)
    config.rope_scaling = None
    return config


vllm.config.get_config = as_of_2024
llm_engine.get_ip = lambda: "127.0.0.1"  # it asks a name server
parser = EngineArgs.add_cli_args(argparse.ArgumentParser())
engine = LLMEngine.from_engine_args(EngineArgs.from_cli_args(parser.parse_known_args()[0]))
prompts = json.load(sys.stdin)
greedy = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True)
for number, prompt in enumerate(prompts):
    engine.add_request(str(number), None, greedy, prompt_token_ids=prompt)
answers: dict[int, list[int]] = {}
while engine.has_unfinished_requests():
    for output in engine.step():
        answers[int(output.request_id)] = list(output.outputs[0].token_ids)
print(json.dumps([answers[number] for number in range(len(prompts))]))
