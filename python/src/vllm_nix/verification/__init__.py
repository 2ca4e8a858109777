"""Evidence that an environment works: small checks, each with what it found and how to fix it.

A check is a function in `checks/`, given a `Context`. What is read from files, each once for all
checks, is in `facts`; what must import torch or vLLM runs in the environment's own interpreter
(`survey`, `probes/`), so that a crash there is a finding here.
"""

from vllm_nix.verification.check import Check
from vllm_nix.verification.checks import CHECKS, explain
from vllm_nix.verification.report import Finding, Report, Result, Status
from vllm_nix.verification.run import LIMIT, verify

__all__ = ["CHECKS", "LIMIT", "Check", "Finding", "Report", "Result", "Status", "explain", "verify"]
