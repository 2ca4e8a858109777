"""The NixOS module: what it refuses, in which words; its units, by systemd; its script, run."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Nix

pytestmark = pytest.mark.nix

REAL = "VLLM_NIX_NIXPKGS_LIB" in os.environ
CHAT = 'services.vllm.chat = { enable = true; target = "cpu"; apiKeyFile = "/run/key"; %s };'
# The systemd that introduced a key: Debian 12's 252 does not know it yet, and ignores it.
NEWER = {"RestartSteps": 254, "RestartMaxDelaySec": 254}


def evaluate(nix: Nix, modules: str, result: str, *, check: bool = True) -> Any:
    """`result` of a machine's `config`; what Nix says against it if not `check`."""
    expression = f"""let
      inherit (import ./tests/nix/nixos/evaluate.nix) lib machine pkgsOf;
      pkgs = pkgsOf "x86_64-linux";
      inherit (machine "x86_64-linux" [ {modules} ]) config options;
    in {result}"""
    words = ("nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode")
    done = nix(*words, "--expr", expression, check=check)
    if not check:
        assert done.returncode, f"it is not refused: {done.stdout}"
        return done.stderr
    return json.loads(done.stdout)


def chat(**options: str) -> str:
    return CHAT % "".join(f"{name.replace('_', '.')} = {text}; " for name, text in options.items())


REFUSED = {
    "unknown setting": (
        chat(settings_prot="9000"),
        r"services\.vllm\.chat\.settings\.prot. does not",
    ),
    "unknown option": (chat(prot="9000"), r"services\.vllm\.chat\.prot. does not exist"),
    "wrong type": (chat(settings_port='"9000"'), r"settings\.port. is not of type"),
    "port": (chat(settings_port="99999"), r"settings\.port. is not of type"),
    "choice": (chat(settings_task='"talk"'), r"settings\.task. is not of type"),
    "form": (
        chat(settings_model='"-m"'),
        r"settings\.model. is not of type .*a model's name or folder",
    ),
    "unknown target": (
        CHAT.replace("cpu", "cup") % "",
        r"services\.vllm\.chat\.target. is not of type",
    ),
    "unknown profile": (
        chat(profile='"hat"'),
        "services.vllm.chat: target 'cpu' has no profile 'hat'; it has: chat, embedding, ",
    ),
    "no key": (
        CHAT.replace('apiKeyFile = "/run/key";', "") % "",
        r"apiKeyFile. was accessed but has no",
    ),
    "a key in the store": (
        CHAT.replace('"/run/key"', '"/nix/store/0123456789abcdfghijklmnpqrsvwxyz-key"') % "",
        r"apiKeyFile. is not of type .absolute path not in the Nix store",
    ),
    "a token in the store": (
        chat(huggingFaceTokenFile="toString (builtins.toFile ''token'' ''x'')"),
        r"huggingFaceTokenFile. is not of type",
    ),
    "a key in the configuration": (
        CHAT.replace('"/run/key"', '"secret"') % "",
        r"apiKeyFile. is not of type",
    ),
    "a name that is no unit's": (
        chat().replace("vllm.chat", 'vllm."a b"').replace("enable", 'profile = "chat"; enable'),
        "services.vllm: 'a b' cannot be part of a unit's name",
    ),
    "a model that is no model": (
        chat(settings_model='"nowhere"'),
        r"chat\.settings: 'nowhere' is neither the name of a model, owner/model, nor a folder's path",
    ),
    "one port twice": (
        chat() + CHAT.replace("vllm.chat", "vllm.other") % 'profile = "chat";',
        r"chat and other both listen on port 8000 of 127\.0\.0\.1; set services\.vllm\.other\.settings\.port",
    ),
    "one port everywhere": (
        chat(settings_host='"192.0.2.1"')
        + CHAT.replace("vllm.chat", "vllm.other") % 'profile = "chat"; settings.host = "::";',
        "chat and other both listen on port 8000",
    ),
    "one name twice": (
        chat() + '} { services.vllm.chat.target = "cuda";',
        r"services\.vllm\.chat\.target. has conflicting definition values",
    ),
    "a closed host": (
        chat(openFirewall="true"),
        r"chat\.openFirewall: it listens on 127\.0\.0\.1 alone; set services\.vllm\.chat\.settings\.host",
    ),
    "several hosts without a place": (
        chat(settings_nodes="2", **{"settings_tensor-parallel-size": "2"}),
        r"services\.vllm\.chat: rank and head go with settings\.nodes, 2 here",
    ),
    "a place without several hosts": (
        chat(rank="0", head='"192.0.2.1"'),
        r"rank and head go with settings\.nodes, 1 here",
    ),
    "a rank too high": (
        chat(settings_nodes="2", rank="2", head='"192.0.2.1"'),
        r"services\.vllm\.chat\.rank is 2; of 2 hosts the last is 1",
    ),
    "another target's package": (
        chat(package="pkgs.vllmPackages.vllm-cuda"),
        r"chat\.package is of target 'cuda', not 'cpu'; set services\.vllm\.chat\.target",
    ),
    "a package with words of its own": (
        chat(
            package="(pkgs.vllmPackages.cpu.overrideTarget (target: lib.recursiveUpdate target"
            ' { serve.chat.arguments = [ "--enforce-eager" ]; })).vllm-cpu'
        ),
        r"other words for vLLM in its profile 'chat'; give them as services\.vllm\.chat\.extraArgs",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, nix: Nix) -> None:
    modules, message = REFUSED[name]
    result = "builtins.deepSeq config.systemd.services true"
    said = evaluate(nix, f"{{ {modules} }}", result, check=False)
    assert re.search(message, " ".join(said.split()).replace("`", "'")), said


UNITS = chat(settings_port="9000", huggingFaceTokenFile='"/run/token"') + (
    'services.vllm.embedding = { enable = true; target = "cuda"; apiKeyFile = "/run/key";'
    ' environmentFile = "/run/vllm.env"; };'
)


@pytest.fixture(scope="module")
def services(nix: Nix) -> dict[str, Any]:
    found: dict[str, Any] = evaluate(nix, f"{{ {UNITS} }}", "config.systemd.services")
    return found


def lines(section: dict[str, Any]) -> list[str]:
    """A section's lines, as NixOS writes them: a list is its key again and again."""
    written = {True: "true", False: "false"}
    return [
        f"{key}={written.get(one, one) if isinstance(one, bool) else one}"
        for key, value in section.items()
        for one in (value if isinstance(value, list) else [value])
    ]


def unit(service: dict[str, Any], script: Path) -> str:
    """The text of a unit, as NixOS makes it from its options."""
    return "\n".join(
        [
            "[Unit]",
            *lines(
                {
                    "Description": service["description"],
                    "After": service["after"],
                    "Wants": service["wants"],
                    "StartLimitIntervalSec": service["startLimitIntervalSec"],
                    "StartLimitBurst": service["startLimitBurst"],
                }
            ),
            "[Service]",
            *(f"Environment={json.dumps(f'{k}={v}')}" for k, v in service["environment"].items()),
            f"ExecStart={script}",
            *lines(service["serviceConfig"]),
            "",
        ]
    )


def systemd(*words: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze: apt-get install systemd")
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["vllm-chat", "vllm-embedding"])
def test_systemd_takes_the_units(name: str, services: dict[str, Any], tmp_path: Path) -> None:
    systemd_takes(name, services[name], tmp_path)


def systemd_takes(name: str, service: Any, tmp_path: Path) -> None:
    """Without a word, and finds it as little exposed as docs/nixos.md says."""
    release = int(systemd("--version").stdout.split()[1])
    script = tmp_path / "start"
    script.write_text(f"#!{shutil.which('bash')}\n{service['script']}")
    script.chmod(0o755)
    file = tmp_path / f"{name}.service"
    file.write_text(unit(service, script))
    done = systemd("verify", "--man=no", str(file))
    said = [
        line
        for line in done.stderr.splitlines()
        if name in line
        and not any(f"'{key}'" in line and release < since for key, since in NEWER.items())
    ]
    assert (said, done.returncode) == ([], 0)
    exposure = systemd("security", "--offline=yes", "--threshold=20", "--no-pager", str(file))
    assert exposure.returncode == 0, exposure.stdout + exposure.stderr


def test_a_fault_in_a_unit_is_seen(services: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "vllm-chat.service"
    file.write_text(unit(services["vllm-chat"], Path("/bin/true")) + "ProtectHom=true\n")
    assert "'ProtectHom'" in systemd("verify", "--man=no", str(file)).stderr


def run(script: str, tmp_path: Path, statuses: str) -> tuple[int, list[str]]:
    """Runs a service's script with a stand-in for vllm-nix, whose downloads end with `statuses`."""
    log, left = tmp_path / "log", tmp_path / "statuses"
    left.write_text(statuses)
    log.touch()
    for name, text in {
        "vllm-nix": f"""[[ $1 == serve ]] && {{ echo "$@" token=$HF_TOKEN >>{log}; exit; }}
            echo "$1 $2 $3" >>{log}
            read -r status rest <{left}; echo "$rest" >{left}; exit $status""",
        "sleep": f"echo sleep $1 >>{log}",
    }.items():
        (tmp_path / name).write_text(f"#!{shutil.which('bash')}\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "hugging-face").write_text("hf_secret\n")
    script = re.sub(r"/nix/store/\S+/bin/vllm-nix", str(tmp_path / "vllm-nix"), script)
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        env={
            "CREDENTIALS_DIRECTORY": str(tmp_path),
            "STATE_DIRECTORY": "/var/lib/vllm-nix",
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
        },
        capture_output=True,
        check=False,
    )
    return done.returncode, log.read_text().splitlines()


MODEL = "model cpu HuggingFaceTB/SmolLM2-135M-Instruct"


def test_a_download_that_fails_is_tried_again(services: dict[str, Any], tmp_path: Path) -> None:
    """Within the service, which does not end: no start is used up. The pauses double, up to a limit."""
    status, log = run(services["vllm-chat"]["script"], tmp_path, "1 " * 8 + "0")
    pauses = ["sleep 10", "sleep 20", "sleep 40", "sleep 80", "sleep 160", "sleep 320"]
    assert log[:-1] == [
        line for pause in [*pauses, "sleep 600", "sleep 600"] for line in (MODEL, pause)
    ] + [MODEL]
    assert log[-1].startswith("serve cpu chat --environment /nix/store/")
    assert " --port 9000 " in log[-1]
    assert log[-1].endswith(" token=hf_secret")
    assert status == 0


@pytest.mark.parametrize("refusal", [2, 3])
def test_a_download_that_cannot_succeed_ends_the_service(
    refusal: int, services: dict[str, Any], tmp_path: Path
) -> None:
    status, log = run(services["vllm-chat"]["script"], tmp_path, f"1 {refusal}")
    assert log == [MODEL, "sleep 10", MODEL]
    assert status == services["vllm-chat"]["serviceConfig"]["RestartPreventExitStatus"]


def test_one_of_several_hosts(nix: Nix, tmp_path: Path) -> None:
    """Says which, and does not give up: the others may be changed after it."""
    options = {"settings_nodes": "2", "settings_tensor-parallel-size": "2", "rank": "1"}
    modules = chat(head='"192.0.2.1"', **options)
    service = evaluate(nix, f"{{ {modules} }}", "config.systemd.services")["vllm-chat"]
    words = service["script"].split()
    for option, value in (("--nodes", "2"), ("--rank", "1"), ("--head", "192.0.2.1")):
        assert words[words.index(option) + 1] == value
    assert service["startLimitIntervalSec"] == 0
    assert "RestartPreventExitStatus" not in service["serviceConfig"]
    systemd_takes("vllm-chat", service, tmp_path)


@pytest.mark.skipif(not REAL, reason="VLLM_NIX_NIXPKGS_LIB names no lib of nixpkgs")
def test_every_option_has_its_documentation(nix: Nix) -> None:
    """As nixpkgs' own reader of options finds it."""
    found = evaluate(nix, "{ }", "lib.optionAttrSetToDocList options.services")
    shown = [option for option in found if option["visible"] and not option["internal"]]
    assert len(shown) > 20
    for option in shown:
        assert option["description"], option["name"]
        assert option["type"], option["name"]
        assert "example" in option or ".settings." in option["name"], option["name"]


def test_the_page_has_every_option(nix: Nix) -> None:
    page = (ROOT / "docs/nixos.md").read_text(encoding="utf-8")
    result = "lib.attrNames (lib.head (lib.attrValues config.services.vllm))"
    for name in evaluate(nix, f"{{ {chat()} }}", result):
        assert f"`{name}`" in page or f"`{name}." in page, name
