"""What `vllm-nix serve --format kubernetes` prints, held against Kubernetes's own schemas."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vllm_nix.serve import kubernetes, load_profile, profile_names
from vllm_nix.targets import target_names

# The schemas of every release of Kubernetes; 22 MB.
SCHEMAS = "kubernetes-validate==1.37.0"
CHECKER = Path(__file__).with_name("kubernetes_schemas.py")
PROFILES = [(target, name) for target in target_names() for name in profile_names(target)]

Check = subprocess.CompletedProcess[str]


def render(target: str, profile: str, *arguments: str, nodes: int = 1) -> str:
    return kubernetes.render(
        load_profile(target, profile, {"nodes": nodes} if nodes > 1 else None),
        image="registry.example/vllm:1",
        secret="vllm",
        arguments=arguments,
    )


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that checks files."""
    folder = tmp_path_factory.mktemp("schemas")
    pip = [sys.executable, "-m", "pip", "-q"]
    subprocess.run([*pip, "download", "--no-deps", "-d", folder, SCHEMAS], check=True)
    subprocess.run(
        [*pip, "install", "--target", folder / "lib", "jsonschema", "pyyaml"], check=True
    )
    (wheel,) = folder.glob("kubernetes_validate-*.whl")
    path = f"PYTHONPATH={folder / 'lib'}"
    return ["env", path, sys.executable, str(CHECKER), str(wheel)]


def check(checker: list[str], *files: Path) -> Check:
    return subprocess.run([*checker, *files], check=False, capture_output=True, text=True)


@pytest.mark.network
def test_every_profile_is_as_kubernetes_publishes_it(checker: list[str], tmp_path: Path) -> None:
    files = [tmp_path / f"{target}-{name}.yaml" for target, name in PROFILES]
    for file, (target, name) in zip(files, PROFILES, strict=True):
        file.write_text(render(target, name))
    several = tmp_path / "several.yaml"
    several.write_text(render("cuda", "chat", nodes=2))
    result = check(checker, *files, several)
    assert (result.stdout, result.returncode) == ("", 0), result.stderr


@pytest.mark.network
@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("failureThreshold: 2", "failureTreshold: 2", "'failureTreshold' was unexpected"),
        ("containerPort: 8000", 'containerPort: "8000"', "containerPort: '8000' is not of type"),
        ("      containers:", "      container:", "'container' was unexpected"),
        ("kind: Deployment", "kind: Deploy", "apps/v1 Deploy is none of Kubernetes's"),
    ],
)
def test_the_check_finds_faults(
    right: str, wrong: str, said: str, checker: list[str], tmp_path: Path
) -> None:
    text = render("cpu", "chat")
    file = tmp_path / "bad.yaml"
    file.write_text(text.replace(right, wrong))
    result = check(checker, file)
    assert right in text
    assert result.returncode == 1, result.stderr
    assert said in result.stdout


# A word that YAML, the shell and Kubernetes each would change.
WORDS = ("--hard", "$(HOME) $$ 'a\"b\\", "yes", "1e3", "- x: #y", "null", "a\nb\n", "é\t~")


@pytest.mark.network
def test_yaml_says_what_was_meant(checker: list[str], tmp_path: Path) -> None:
    file = tmp_path / "words.yaml"
    file.write_text(render("cpu", "chat", *WORDS))
    read = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))"
    result = subprocess.run(
        [*checker[:3], "-c", read, file], check=True, capture_output=True, text=True
    )
    assert json.loads(result.stdout) == kubernetes.manifests(
        load_profile("cpu", "chat"),
        image="registry.example/vllm:1",
        secret="vllm",
        arguments=WORDS,
    )
