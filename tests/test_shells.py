"""What `nix develop` finds in a target's shell, on the embedded base."""

import json
import subprocess

import pytest

from tests.conftest import EMBEDDED, ROOT, Nix
from vllm_nix.locks.pylock import read_lock

pytestmark = pytest.mark.nix

SHELL = "devShells.x86_64-linux.cuda"


def test_a_target_names_its_shells_tools(nix: Nix) -> None:
    """nccl-tests and tmux by themselves; modelscope and nvitop are in the environment."""
    paths = nix(
        *("nix", "eval", "--json", *EMBEDDED, f".#{SHELL}.nativeBuildInputs"),
        *("--apply", "map (tool: tool.name)"),
    ).stdout
    names = {name.split("-0")[0] for name in json.loads(paths)}
    assert names == {"vllm-cuda", "vllm-nix", "nccl-tests-2.19.6", "tmux"}
    locked = {
        wheel.name for wheel in read_lock(ROOT / "nix/targets/cuda/pylock.x86_64-linux.toml").wheels
    }
    assert {"modelscope", "nvitop"} <= locked


@pytest.mark.parametrize(("program", "answer"), [("plain", "none"), ("started", "/drivers")])
def test_the_launcher_finds_the_driver_for_what_needs_it(
    nix: Nix, program: str, answer: str
) -> None:
    """A program that says LD_LIBRARY_PATH, as it is and as a shell has it; the environment is a stand-in."""
    path = nix.build(f"""
        with import ./nix/debian {{ overlays = [ (import ./overlays) ]; }};
        let
          write = name: text: writeTextFile {{
            inherit name text;
            executable = true;
            destination = "/bin/${{name}}";
          }};
          plain = write "report" "#!${{bash}}/bin/bash\\necho $LD_LIBRARY_PATH $*\\n";
          launcher = write "python" (
            "#!${{bash}}/bin/bash\\nexport LD_LIBRARY_PATH=/drivers\\nexec ${{python311.interpreter}} \\"$@\\"\\n"
          );
          started = vllmPackages.withDriver launcher plain;
        in {program}
    """)
    command = [str(path / "bin/report"), "one two", "three"]
    environment = {"LD_LIBRARY_PATH": "none"}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert said.stdout == f"{answer} one two three\n"


@pytest.mark.slow  # needs `vllm-nix fetch cuda` and the source of nccl-tests
def test_the_tools_of_a_shell_start(nix: Nix) -> None:
    packages = "import ./nix/debian { overlays = [ (import ./overlays) ]; }"
    nix.need_source(f"({packages}).vllmPackages.cuda.nccl-tests")
    script = (
        "all_reduce_perf --help && modelscope --help && nvitop --version"
        " && tmux -V && python -c 'import vllm' && vllm-nix --version"
    )
    said = nix("nix", "develop", *EMBEDDED, ".#cuda", "-c", "bash", "-c", script).stdout
    for words in ("USAGE: all_reduce_perf", "nvitop ", "tmux 3"):
        assert words in said
