"""What vLLM compiles for Orin, with and without the patch: each release's own build, configured.

CMake, Ninja, g++ and nvcc are real, and nothing is compiled: Ninja says what it would run for each
file. Only torch is a stand-in (sources/torch), and the compiler versions that CMake is given.
"""

import io
import json
import os
import re
import subprocess
import tarfile
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT, Nix

pytestmark = pytest.mark.nix

SM87 = '[ "sm87" ]'
PACKAGES = """
    pkgs = import ./nix/debian { overlays = [ (import ./overlays) ]; };
    inherit (pkgs) vllmPackages;
    configure = pkgs.callPackage ./tests/builds/sources/configure.nix { };
    extensions = pkgs.callPackage ./tests/builds/sources/extensions.nix { };
    flashAttention = import ./pkgs/vllm-flash-attn/sm87.nix;
"""

# The GPU code that files are compiled to, and how many there are of each kind.
Code = Mapping[tuple[str, ...], int]
NONE: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Release:
    """A release, what it compiles for capability 8.7, and what it does with the patch.

    `toolkit` is the CUDA release and `host` the g++ that it is given.
    """

    version: str
    toolkit: str
    before: Code
    after: Code
    host: str = ""

    @property
    def arguments(self) -> str:
        return f'toolkit = "{self.toolkit}"; hostCompiler = "{self.host}";'


# scaled_mm_c3x.cu of 0.5.1 to 0.5.4 names sm_90a itself, whatever is wanted.
DROPPED = (
    Release("0.5.1", "12.2", {NONE: 22, ("sm_90a",): 1}, {("sm_87",): 22, ("sm_87", "sm_90a"): 1}),
    Release(
        "0.5.3.post1", "12.2", {NONE: 24, ("sm_90a",): 1}, {("sm_87",): 24, ("sm_87", "sm_90a"): 1}
    ),
    Release("0.5.4", "12.2", {NONE: 25, ("sm_90a",): 1}, {("sm_87",): 25, ("sm_87", "sm_90a"): 1}),
    # From CUDA 12.0 on, it would generate Machete's files by CUTLASS's Python modules.
    Release("0.5.5", "11.8", {NONE: 28}, {("sm_87",): 28}),
)
NEIGHBOUR = Release("0.6.4.post1", "12.6", {("sm_86",): 34}, {("sm_87",): 34})
NATIVE = tuple(
    Release(version, "12.6", {("sm_87",): files}, {("sm_87",): files})
    for version, files in (
        ("0.6.5", 35),
        ("0.6.6.post1", 37),
        ("0.7.0", 37),
        ("0.7.1", 37),
        ("0.7.2", 37),
        ("0.7.3", 37),
        ("0.8.3", 42),
    )
)
# The newest for JetPack 6 whose every pin is known, and the newest.
JETPACK_6 = Release(
    "0.13.0", "12.6", {("sm_87",): 38, ("compute_80", "sm_80"): 35}, {("sm_87",): 73}
)
PTX, PTX_JETPACK_6 = (
    Release(
        "0.33.0",
        toolkit,
        {("sm_87",): 48, ("compute_80", "sm_80"): 34, ("sm_86",): 1},
        {("sm_87",): 83},
        host="13.3",  # that it insists on, and the base has 12
    )
    for toolkit in ("13.2", "12.6")
)
FAST = {"0.5.1", "0.6.4.post1", "0.7.3", "0.33.0"}
RELEASES = [
    pytest.param(
        release,
        id=f"{release.version}-{release.toolkit}",
        marks=() if release.version in FAST and release is not PTX_JETPACK_6 else pytest.mark.slow,
    )
    for release in (*DROPPED, NEIGHBOUR, *NATIVE, JETPACK_6, PTX, PTX_JETPACK_6)
]


def compiled(nix: Nix, arguments: str, target: str = r"_(moe_)?C(_stable_libtorch)?") -> Code:
    """What the CUDA files of the targets whose names match would be compiled to."""
    expression = f"let {PACKAGES} in configure {{ {arguments} }}"
    commands = json.loads(nix.build(expression).read_text())
    is_wanted = re.compile(rf"(.*/)?CMakeFiles/{target}\.dir/.*\.cu\.o").fullmatch
    return Counter(
        tuple(sorted(set(re.findall(r"arch=compute_\w+,code=\[?(\w+)", each["command"]))))
        for each in commands
        if is_wanted(each["output"])
    )


def asked_for(nix: Nix, source: str) -> dict[str, list[str]]:
    """The extensions that a source's setup.py asks for, each with nvcc's flags."""
    expression = f"let {PACKAGES} in extensions {{ source = {source}; }}"
    flags: dict[str, list[str]] = json.loads(nix.build(expression).read_text())
    return flags


def vllm(release: str, patches: str = "[ ]") -> str:
    return f'(vllmPackages.vllmSource {{ release = "{release}"; patches = {patches}; }})'


@pytest.mark.parametrize("release", RELEASES)
def test_every_cuda_file_becomes_native(nix: Nix, release: Release) -> None:
    patched = f"source = {vllm(release.version, SM87)}; {release.arguments}"
    assert compiled(nix, patched) == release.after
    assert all("sm_87" in code for code in release.after)


@pytest.mark.parametrize("release", RELEASES)
def test_what_the_release_does_by_itself(nix: Nix, release: Release) -> None:
    """This is why there is a patch, or why there is none."""
    plain = f"source = {vllm(release.version)}; {release.arguments}"
    assert compiled(nix, plain) == release.before


@pytest.mark.slow
def test_other_capabilities_get_no_code_of_orin(nix: Nix) -> None:
    """The lists fall back within a major version: 8.9 must not fall back to 8.7."""
    arguments = f'source = {vllm("0.33.0", SM87)}; {PTX.arguments} capabilities = "8.9";'
    assert compiled(nix, arguments) == {("sm_89",): 92, ("compute_89", "sm_89"): 1}


def test_the_oldest_releases_setup_takes_orin(nix: Nix) -> None:
    for name, flags in asked_for(nix, vllm("0.3.3", SM87)).items():
        assert [flag for flag in flags if "arch=" in flag] == ["arch=compute_87,code=sm_87"], name
    refusal = nix.fail(f"let {PACKAGES} in extensions {{ source = {vllm('0.3.3')}; }}")
    assert "`TORCH_CUDA_ARCH_LIST` env variable (8.7) is supported" in refusal


@pytest.mark.parametrize(
    "release",
    [
        *(
            pytest.param(v, marks=pytest.mark.slow)
            for v in ("0.7.0", "0.7.1", "0.7.2", "0.8.3", "0.13.0")
        ),
        *("0.7.3", "0.33.0"),
    ],
)
def test_flash_attention_3_is_asked_for_on_hopper_alone(nix: Nix, release: str) -> None:
    hopper = "vllm.vllm_flash_attn._vllm_fa3_C"
    assert hopper in asked_for(nix, vllm(release))
    source = vllm(release, '[ "hopper" ]')
    assert hopper not in asked_for(nix, source)
    assert "vllm.vllm_flash_attn._vllm_fa2_C" in asked_for(nix, source)
    assert hopper in asked_for(nix, f'{source}; capabilities = "8.7;9.0"')


def flash_attn(replacements: str) -> str:
    return f"""(vllmPackages.patchedSource rec {{
        pname = "flash-attn";
        version = "2.5.9.post1";
        src = vllmPackages.registrySource {{
          inherit pname version;
          sources = ./pkgs/flash-attn/sources.toml;
        }};
        replacements = {replacements};
      }})"""


def test_flash_attentions_setup_leaves_the_choice_to_torch(nix: Nix) -> None:
    """torch adds TORCH_CUDA_ARCH_LIST's flags unless a flag names an architecture already."""
    [before] = asked_for(nix, flash_attn("[ ]")).values()
    assert [flag for flag in before if "arch" in flag] == [
        "arch=compute_80,code=sm_80",
        "arch=compute_90,code=sm_90",
    ]
    source = flash_attn("flashAttention.setup")
    [after] = asked_for(nix, source).values()
    assert not [flag for flag in after if "arch" in flag or "gencode" in flag]
    unset = f'let {PACKAGES} in extensions {{ source = {source}; capabilities = ""; }}'
    assert "flash-attention: set TORCH_CUDA_ARCH_LIST, such as 8.7" in nix.fail(unset)


# No registry has vllm-flash-attn's source. The commit that 0.33.0 names is newer than the public copies
# that could be had when this was written; the last of theirs stands in for it.
CLONE = os.environ.get("VLLM_NIX_FLASH_ATTENTION", "")
with_clone = pytest.mark.skipif(
    not CLONE, reason="VLLM_NIX_FLASH_ATTENTION names no clone of vllm-project/flash-attention"
)
ROWS = tomllib.loads((ROOT / "pkgs/vllm-flash-attn/sources.toml").read_text())


def checkout(commit: str, folder: Path, *paths: str) -> Path:
    """A commit's tree, as GitHub's archives have it: submodules are empty folders."""
    archive = subprocess.run(
        ["git", "-C", CLONE, "archive", commit, *paths], check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tree:
        tree.extractall(folder, filter="tar")
    return folder


@with_clone
@pytest.mark.parametrize("commit", ROWS)
def test_the_hash_of_a_row_is_its_trees(nix: Nix, commit: str, tmp_path: Path) -> None:
    assert (
        nix("nix", "hash", "path", str(checkout(commit, tmp_path))).stdout.strip()
        == (ROWS[commit]["hash"])
    )


@with_clone
@pytest.mark.parametrize(
    ("release", "arguments", "commit", "before", "after"),
    [
        pytest.param(
            *("0.7.3", 'toolkit = "12.6";', "720c94869cf2e0ff5a706e9c7f1dce0939686ade"),
            *({("sm_80",): 191}, {("sm_87",): 60}),
            id="0.7.3",
        ),
        pytest.param(
            *("0.8.3", 'toolkit = "12.6";', "dc9d410b3e2d6534a4c70724c2515f4def670a22"),
            *({("sm_80",): 231}, {("sm_87",): 60}),
            id="0.8.3",
        ),
        pytest.param(
            *("0.13.0", 'toolkit = "12.6";', "86f8f157cf82aa2342743752b97788922dd7de43"),
            *({("compute_80", "sm_80"): 60, NONE: 222}, {("sm_87",): 60}),
            id="0.13.0",
        ),
        pytest.param(
            *("0.33.0", PTX.arguments, "617264c1c7955c9e84817654ebeedff069f3c5f1"),
            *({("compute_80", "sm_80"): 76, NONE: 192}, {("sm_87",): 76}),
            id="0.33.0",
        ),
    ],
)
def test_flash_attentions_cmake_becomes_native(
    nix: Nix,
    release: str,
    arguments: str,
    commit: str,
    before: Code,
    after: Code,
    tmp_path: Path,
) -> None:
    folder = checkout(commit, tmp_path, "CMakeLists.txt", "cmake", "csrc", "hopper")
    patched = f"""(vllmPackages.patchedSource {{
        pname = "vllm-flash-attn";
        version = "{commit[:8]}";
        src = {folder};
        replacements = flashAttention.cmake ++ import ./pkgs/vllm-flash-attn/hopper.nix;
      }})"""
    configured = f"source = {vllm(release, SM87)}; {arguments} flashAttention = "
    extension = r"_vllm_fa[23]_C"
    assert compiled(nix, f"{configured}{folder};", extension) == before
    assert compiled(nix, f"{configured}{patched};", extension) == after


def test_a_patch_whose_text_is_gone_stops_the_build(nix: Nix) -> None:
    """0.6.5 has upstream's own 8.7: what fixes 0.6.4 finds nothing there."""
    expression = f"""let {PACKAGES} in vllmPackages.patchedSource {{
        pname = "vllm";
        version = "0.6.5";
        src = {vllm("0.6.5")};
        replacements = map (each: removeAttrs each [ "from" "before" ]) (
          builtins.filter (each: each.from == "0.4.1") (import ./pkgs/vllm/sm87.nix)
        );
      }}"""
    assert "CMakeLists.txt: --replace-fail did not find '8.6;8.9;9.0'" in nix.fail(expression)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            'release = "0.15.0";',
            "no source of vllm 0.15.0 is known; there are: 0.",
        ),
        (
            'release = "0.7.3"; patches = [ "sm78" ];',
            "vllm has no patch 'sm78'; there are: hopper, neuron, offline, sm87, verl",
        ),
    ],
)
def test_what_is_unknown_is_one_sentence(nix: Nix, arguments: str, sentence: str) -> None:
    assert sentence in nix.fail(f"let {PACKAGES} in vllmPackages.vllmSource {{ {arguments} }}")
