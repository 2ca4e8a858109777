"""Environments as tools other than pip make them: no false alarm, and fixes in their own commands."""

from pathlib import Path

import pytest

from verification.environments import Sample, faults
from vllm_nix.verification import verify


def lines(sample: Sample, check: str) -> list[str]:
    (result,) = verify(sample.root, only=[check]).results
    return [finding.fix for finding in result.findings if finding.fix]


def made_by(sample: Sample, tool: str) -> str:
    """Leaves what a tool does; pip's install, as it is spelled there."""
    (sample.root / "bin" / "pip").unlink()
    where = sample.root
    if tool.startswith("pipx"):
        (where / "pipx_metadata.json").write_text("{}")
    if tool == "uv tool":
        (where / "uv-receipt.toml").write_text("[tool]\n")
    if "uv" in tool:
        with (where / "pyvenv.cfg").open("a") as file:
            file.write("uv = 0.13.9\n")
    if tool.startswith("pipx"):
        return f"pipx runpip {where.name} install"
    if "uv" in tool:
        return f"uv pip install -p {where}"
    return f"pip --python {where} install"


@pytest.mark.parametrize("tool", ["pipx", "pipx and uv", "uv tool", "uv", "poetry"])
def test_a_fix_is_in_the_words_of_what_made_the_environment(sample: Sample, tool: str) -> None:
    """`pip install` is another environment's there, and without a force does nothing for what is there."""
    sample.install("some", "1.0", requires=("absent[all]>=2",))
    assert lines(sample, "requirements") == ["pip install 'absent[all]>=2', if you use it"]
    pip = made_by(sample, tool)
    assert lines(sample, "requirements") == [f"{pip} 'absent[all]>=2', if you use it"]
    (sample.site / "numpy" / "__init__.py").write_text("changed")
    # What uv has in its cache is the same file.
    cache = " --no-cache" if "uv" in tool else ""
    forced = f"{pip} --force-reinstall{cache} --no-deps numpy==2.3.5"
    assert lines(sample, "record") == [f"install numpy again ({forced})"]


@pytest.mark.parametrize(
    ("tool", "again"),
    [
        ("pipx", "pipx reinstall {}"),
        ("uv tool", "uv tool install --reinstall {}"),
        ("poetry", ""),
    ],
)
def test_a_python_that_is_gone(sample: Sample, tool: str, again: str) -> None:
    made_by(sample, tool)
    python = sample.root / "bin" / "python"
    python.unlink()
    python.symlink_to("/usr/bin/python2.9")
    (fix,) = lines(sample, "interpreter")
    assert (f"again ({again.format(sample.root.name)})" in fix) if again else ("(" not in fix)


def test_a_folder_that_pip_has_filled(sample: Sample) -> None:
    """By --target: the same command again leaves what is there."""
    (sample.site / "numpy" / "__init__.py").write_text("changed")
    (result,) = verify(sample.site, only=["record"]).results
    command = f"pip install --upgrade --target {sample.site} --no-deps numpy==2.3.5"
    assert result.findings[0].fix == f"install numpy again ({command})"


def test_what_may_not_stand_in_a_command(sample: Sample) -> None:
    files = {"some/__init__.py": ""}
    sample.install("some", "1;reboot", files)
    (sample.site / "some" / "__init__.py").write_text("changed")
    assert lines(sample, "record") == ["install some again"]


def test_pipx_puts_an_option_into_commands(sample: Sample) -> None:
    command = sample.root / "bin" / "vllm"
    first, end, rest = command.read_text().partition("\n")
    command.write_text(f"{first} -E{end}{rest}")
    assert faults(verify(sample.root, only=["record"])) == {}
    command.write_text(f"{first} -E{end}{rest}# more")
    assert "bin/vllm" in faults(verify(sample.root, only=["record"]))["record"]


def test_pdm_links_to_its_cache_and_records_sizes_alone(sample: Sample, tmp_path: Path) -> None:
    code = "__version__ = '1.0'\n"
    sample.install("some", "1.0", {"some/__init__.py": code})
    record = sample.metadata("some", "1.0") / "RECORD"
    rows = (row.split(",") for row in record.read_text().splitlines())
    record.write_text(
        "".join(f"{path},{'sha256=' if size else ''},{size}\n" for path, _, size in rows)
    )
    file, cached = sample.site / "some" / "__init__.py", tmp_path / "cached.py"
    file.rename(cached)
    file.symlink_to(cached)
    sample.install("other", "1.0", {"some/__init__.py": code})
    file.unlink()
    file.symlink_to(cached)
    report = verify(sample.root, only=["record", "ownership"])
    assert faults(report) == {}
    sample.uninstall("other", "1.0")
    (result,) = verify(sample.root, only=["record"]).results
    assert result.findings[-1].found.endswith("files; of 2 the size alone is recorded")
    cached.write_text("cut")
    assert "3 bytes, recorded were" in faults(verify(sample.root, only=["record"]))["record"]
    cached.unlink()
    assert "missing" in faults(verify(sample.root, only=["record"]))["record"]
