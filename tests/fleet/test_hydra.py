"""Hydra's jobs: each is a derivation, and may be passed on."""

import json

import pytest

from tests.conftest import EMBEDDED, Nix

pytestmark = [pytest.mark.nix, pytest.mark.slow]

# As Hydra does: every attribute set that is no derivation is gone through, and each name is the path to it.
JOBS = """hydraJobs:
let
  inherit (builtins) attrNames concatMap isAttrs;
  jobs = path: value:
    if !isAttrs value then throw "${path} is no job"
    else if value.type or null == "derivation" then [ {
      inherit path;
      drv = value.drvPath;
      system = value.system;
      isPublished = value.meta.hydraPlatforms or null != [ ];
    } ]
    else concatMap (name: jobs "${path}.${name}" value.${name}) (attrNames value);
in concatMap (name: jobs name hydraJobs.${name}) (attrNames hydraJobs)
"""


def test_each_job_is_a_derivation_that_may_be_published(nix: Nix) -> None:
    jobs = json.loads(
        nix("nix", "eval", "--json", *EMBEDDED, ".#hydraJobs", "--apply", JOBS).stdout
    )
    for job in jobs:
        assert job["drv"].endswith(".drv")
        # What Nix fetches itself, CUTLASS of some, any machine does.
        assert job["system"] == "builtin" or f".{job['system']}." in job["path"]
    assert [job["path"] for job in jobs if not job["isPublished"]] == []
    paths = [job["path"] for job in jobs]
    for expected in (
        "checks.x86_64-linux.library",
        "packages.x86_64-linux.vllm-cpu",
        "published.x86_64-linux.vllm-cuda",
        "published.aarch64-linux.vllm-jetson",
        "components.aarch64-linux.jetson.nccl",
        "tests.x86_64-linux.vllm-cpu.serve",
    ):
        assert expected in paths
    assert not [path for path in paths if path.startswith("packages") and "cuda" in path]
