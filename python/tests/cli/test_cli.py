import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vllm_nix import cli
from vllm_nix.cli import parsers
from vllm_nix.targets import load_target, target_names


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"\n    {name}" in shown for name in cli.COMMANDS)


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("command", [None, *cli.COMMANDS])
def test_help_fits_the_terminal(
    command: str | None, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = (parsers.command(command) if command else cli.parser(())).format_help()
    usage, *lines = text.splitlines()
    assert usage.startswith("usage: vllm-nix")
    assert [line for line in lines if len(line) > width] == []


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_option_says_what_it_is(command: str) -> None:
    options = [action for action in parsers.command(command)._actions if action.option_strings]
    assert [action.option_strings for action in options if not action.help] == []


def test_a_summary_is_a_commands_own_and_costs_no_import() -> None:
    code = (
        "import sys; from vllm_nix import cli; parser = cli.parser([]);"
        "print([name for name in sys.modules if name.startswith('vllm_nix.cli.')])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "['vllm_nix.cli.parsers']\n"
    for name in cli.COMMANDS:
        module = importlib.import_module(f"vllm_nix.cli.{name}")
        assert (module.__doc__ or "").partition("\n")[0] == cli._summary(name)


def test_an_error_is_one_line_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["params", "gpu"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"vllm-nix: unknown target 'gpu'; there are: {', '.join(target_names())}\n"


def test_an_unknown_command_gets_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["verfy"])
    assert stop.value.code == 2
    assert "verify" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "vllm-nix: error: which command? `vllm-nix --help` lists them"),
        ("--al", "vllm-nix: error: unrecognized arguments: --al"),
        ("slim . --for 8.6 --out=", "slim: error: argument --out: an empty path"),
        ("serve cpu chat --download-dir=", "serve: error: argument --download-dir: an empty path"),
        ("verify . --html=", "verify: error: argument --html: an empty path"),
        ("fetch cpu --system=", "fetch: error: argument --system: an empty word"),
        ("lock cpu --check --system=", "lock: error: argument --system: an empty word"),
        ("fetch cpu --mirror=", "fetch: error: argument --mirror: an empty word"),
    ],
)
def test_what_is_wrong_is_named(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(words.split())
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
    assert cli.main(["verify", "--explain", ""]) == 2
    assert capsys.readouterr().err.startswith("vllm-nix: unknown check ''; there are: ")


def test_a_reader_that_stops_reading_is_no_error() -> None:
    command = f"{sys.executable} -m vllm_nix params jetson | true"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("place", "code", "said"),
    [("> /dev/full", 3, "vllm-nix: No space left on device\n"), (">&-", 0, "")],
)
def test_an_output_that_takes_nothing(place: str, code: int, said: str) -> None:
    command = f"{sys.executable} -m vllm_nix params jetson {place}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (code, said)


def test_a_current_folder_that_is_no_more(tmp_path: Path) -> None:
    command = f"rmdir {tmp_path}; {sys.executable} -m vllm_nix serve cpu chat --api-key-file key"
    result = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    said = "vllm-nix: the current folder is gone; cd to one that is there\n"
    assert (result.returncode, result.stderr) == (3, said)


def exported(script: str) -> dict[str, str]:
    """What a shell without an environment of its own exports after `eval`."""
    command = 'eval "$1"; env -0'
    result = subprocess.run(
        ["bash", "-c", command, "bash", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    pairs = (line.partition("=") for line in result.stdout.split("\0") if line)
    variables = {name: value for name, _, value in pairs}
    return {name: variables[name] for name in variables.keys() - {"PATH", "PWD", "SHLVL", "_"}}


def test_params_for_a_build_script(capsys: pytest.CaptureFixture[str]) -> None:
    """One board: its own capability, and the rest of a build by hand."""
    assert cli.main(["params", "jetson", "--format", "env"]) == 0
    assert exported(capsys.readouterr().out) == {
        "PYTORCH_BUILD_NUMBER": "1",
        "PYTORCH_BUILD_VERSION": "2.5.1",
        "TORCH_CUDA_ARCH_LIST": "8.7",
        "USE_DISTRIBUTED": "1",
        "USE_NCCL": "1",
        "USE_PYTORCH_QNNPACK": "0",
        "USE_QNNPACK": "0",
        "USE_SYSTEM_NCCL": "1",
        "VLLM_TARGET_DEVICE": "cuda",
    }


# That of the eight-architecture build script which people pass on.
CLASSIC = "5.2;6.1;7.0;7.2;7.5;8.0;8.6;8.7"


def test_params_for_a_fleet(capsys: pytest.CaptureFixture[str]) -> None:
    """One word to the shell, in its order; CUDA 12.6 compiles for all of them."""
    assert cli.main(["params", "jetson", "--format", "env", "--capabilities", CLASSIC]) == 0
    said = capsys.readouterr()
    own = load_target("jetson").environment()
    assert exported(said.out) == {**own, "TORCH_CUDA_ARCH_LIST": CLASSIC}
    assert said.err == ""


def test_a_fleet_with_devices_that_cuda_compiles_for_no_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["params", "jetson_7", "--format", "env", "--capabilities", CLASSIC]) == 0
    said = capsys.readouterr()
    assert exported(said.out)["TORCH_CUDA_ARCH_LIST"] == "7.5;8.0;8.6;8.7"
    assert said.err.splitlines() == [
        "vllm-nix: CUDA 13.2 does not compile for 5.2; 6.5 to 12.9 can",
        "vllm-nix: CUDA 13.2 does not compile for 6.1; 8.0 to 12.9 can",
        "vllm-nix: CUDA 13.2 does not compile for 7.0; 9.0 to 12.9 can",
        "vllm-nix: CUDA 13.2 does not compile for 7.2; 9.1 to 12.9 can",
    ]


@pytest.mark.parametrize(
    ("target", "text", "said"),
    [
        ("jetson", "8.7;9.9", "unknown capability '9.9'; there are: 5.0, 5.2, "),
        ("jetson", "orin", "'orin' is not a compute capability; write one as 8.7 or sm_87"),
        ("jetson", "10.3 12.1", "CUDA 12.6 compiles for none of '10.3 12.1'"),
        ("jetson", "", "CUDA 12.6 compiles for none of ''"),
        ("cpu", "8.6", "--capabilities: cpu is not for CUDA"),
    ],
)
def test_a_fleet_of_nothing(
    capsys: pytest.CaptureFixture[str], target: str, text: str, said: str
) -> None:
    assert cli.main(["params", target, "--capabilities", text]) == 2
    result = capsys.readouterr()
    assert result.out == ""
    assert said in result.err.splitlines()[-1]


def test_one_command_does_not_import_the_others() -> None:
    code = (
        "import sys; from vllm_nix import cli; cli.main(['targets']);"
        "print([name for name in sys.modules if name.startswith('vllm_nix.cli.')])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
    )
    assert result.stdout.splitlines()[-1] == "['vllm_nix.cli.parsers', 'vllm_nix.cli.targets']"


@pytest.mark.parametrize("option", ["--only", "--skip"])
def test_a_list_of_checks_leaves_the_environment(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verify", option, "interpreter", "imports", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert cli.main(["verify", option, "interpreter", str(tmp_path / "none")]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err
    assert cli.main(["verify", option, "interpreter", "import"]) == 2
    assert "which environment?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["lib.so"], ["a/b.so", "/c"], ["x y", "é"], [".."], [".hidden"], ["a/.b"]]
)
def test_archs_of_paths_alone_is_what_the_parser_makes_of_it(words: list[str]) -> None:
    from vllm_nix.cli import archs

    parsed = vars(parsers.command("archs").parse_args(words))
    del parsed["run"]
    plain = archs.plain(words)
    assert plain
    assert {**vars(plain), "paths": list(map(Path, plain.paths))} == parsed
    assert [str(path) for path in parsed["paths"]] == plain.paths


@pytest.mark.parametrize(
    "words",
    [[], ["-h"], ["a", "--json"], ["./a"], ["a//b"], ["a/./b"], ["a/"], ["a/."], [""], ["--"]],
)
def test_all_else_is_the_parsers(words: list[str]) -> None:
    from vllm_nix.cli import archs

    assert archs.plain(words) is None
