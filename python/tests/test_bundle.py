"""Bundles: the same bytes each time, whole or not there, unpacked by what any Linux has."""

import errno
import io
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vllm_nix import bundle, cli
from vllm_nix.bundle import Bundle, split_size, write_bundle
from vllm_nix.errors import Error, InputError, Unavailable

TOP = "a" * 32 + "-vllm-tiny"
LONG = "site-packages/" + "/".join(["a-long-name"] * 12) + "/ünicode.py"

pytestmark = pytest.mark.skipif(
    not (shutil.which("zstd") and shutil.which("sha256sum")), reason="needs zstd and coreutils"
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with an environment and a library; frames are small, for there to be several."""
    folder = tmp_path / "nix/store"
    top, library = folder / TOP, folder / ("b" * 32 + "-library")
    (top / "bin").mkdir(parents=True)
    (top / "bin/vllm").write_text("#!/bin/sh\necho vllm 1.0\n")
    (top / "bin/vllm").chmod(0o755)
    (top / LONG).parent.mkdir(parents=True)
    (top / LONG).write_text("x = 1\n")
    (top / "empty").touch()
    library.mkdir()
    (library / "code.bin").write_bytes(random.Random(0).randbytes(300_000))
    (top / "lib").symlink_to(library)
    monkeypatch.setenv("NIX_STORE_DIR", str(folder))
    monkeypatch.setattr(bundle, "_FRAME", 40_000)
    return folder


Write = Callable[..., Bundle]


@pytest.fixture
def write(store: Path, tmp_path: Path) -> Write:
    def write(name: str = "out/vllm.tar.zst", **options: object) -> Bundle:
        paths = sorted(store.iterdir())
        return write_bundle(store / TOP, tmp_path / name, paths=paths, **options)  # type: ignore[arg-type]

    return write


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def unpack(out: Path, root: Path) -> subprocess.CompletedProcess[str]:
    root.mkdir(exist_ok=True)
    return subprocess.run(
        ["sh", out / "unpack.sh", root], check=False, capture_output=True, text=True
    )


def clear(root: Path) -> None:
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o755)


@pytest.mark.parametrize("name", ["out/vllm.tar.zst", "out/vllm.tar.xz"])
@pytest.mark.parametrize("split", [None, 70_000])
def test_what_was_bundled_is_unpacked(
    store: Path, tmp_path: Path, write: Write, name: str, split: int | None
) -> None:
    done = write(name, split=split)
    assert [part.stat().st_size for part in done.parts[:-1]] == [70_000] * (len(done.parts) - 1)
    assert len(done.parts) == (5 if split else 1)
    assert done.before > 300_000 and done.after == sum(each.stat().st_size for each in done.parts)
    root = tmp_path / "root"
    result = unpack(tmp_path / "out", root)
    assert (result.returncode, result.stderr) == (0, "")
    assert (root / "opt/vllm-tiny").readlink() == store / TOP
    new = Path(f"{root}{store}")
    old_files = {p.relative_to(store): p for p in store.rglob("*")}
    assert {p.relative_to(new) for p in new.rglob("*")} == {*old_files}
    for relative, old in old_files.items():
        here = new / relative
        status = here.lstat()
        assert (status.st_mtime, here.is_symlink()) == (1, old.is_symlink())
        if old.is_symlink():
            assert here.readlink() == old.readlink()
        elif old.is_file():
            assert here.read_bytes() == old.read_bytes()
            assert status.st_mode & 0o777 == (0o555 if relative.name == "vllm" else 0o444)
        else:
            assert status.st_mode & 0o777 == 0o555
    clear(root)


def test_tar_and_sha256sum_alone_are_enough(tmp_path: Path, write: Write) -> None:
    write()
    out, root = tmp_path / "out", tmp_path / "root"
    root.mkdir()
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=out, check=True)
    subprocess.run(["tar", "-x", "-f", out / "vllm.tar.zst", "-C", root], check=True)
    assert (root / "opt/vllm-tiny").is_symlink()
    command = ["zstd", "-dc", str(out / "vllm.tar.zst")]
    plain = subprocess.run(command, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        members = archive.getmembers()
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 1)}
    assert all(m.name.startswith((f"{tmp_path}/nix/store/".lstrip("/"), "opt/")) for m in members)
    clear(root)


@pytest.mark.parametrize("processors", [1, 8])
def test_the_bytes_do_not_depend_on_the_machine(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    write("one/vllm.tar.zst")
    for path in (tmp_path / "nix/store").rglob("*"):
        if not path.is_symlink():
            os.utime(path, (processors, processors))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(processors))
    monkeypatch.setenv("ZSTD_CLEVEL", "19")
    umask = os.umask(0o077)
    try:
        write("two/vllm.tar.zst")
    finally:
        os.umask(umask)
    assert content(tmp_path / "one") == content(tmp_path / "two")


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("split", [None, 70_000])
@pytest.mark.parametrize("harm", ["none", "half a frame", "changed", "a part lost", "whole"])
def test_an_interrupted_run_goes_on(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch, split: int | None, harm: str
) -> None:
    write("whole/vllm.tar.zst", split=split)
    calls = 0

    def stop(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise Interrupted

    if harm == "whole":  # it stopped while files got their names

        def fail(self: Path, target: Path) -> Path:
            if target.name == "SHA256SUMS":
                raise Interrupted
            os.replace(self, target)  # noqa: PTH105
            return target

        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            patch.setattr(Path, "replace", fail)
            write(split=split)
    else:
        with pytest.raises(Interrupted):
            write(split=split, progress=stop)
    partial = tmp_path / "out/vllm.tar.zst.partial"
    files = sorted(partial.glob("vllm*"))
    if harm != "whole":
        assert {p.name for p in (tmp_path / "out").iterdir()} == {partial.name}
    if harm == "half a frame":
        with files[-1].open("ab") as file:
            file.write(b"half")
    elif harm == "changed":
        data = bytearray(files[-1].read_bytes())
        data[len(data) // 2] ^= 1
        files[-1].write_bytes(data)
    elif harm == "a part lost":
        files[0].unlink()
    done = write(split=split)
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert (done.kept == 0) == (harm == "a part lost")


def test_what_another_closure_left_is_not_kept(store: Path, tmp_path: Path, write: Write) -> None:
    def stop(done: int, total: int) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        write(progress=stop)
    other = store / ("c" * 32 + "-other")
    other.mkdir()
    assert write().kept == 0


def test_nothing_is_overwritten(store: Path, tmp_path: Path, write: Write) -> None:
    write()
    before = content(tmp_path / "out")
    with pytest.raises(InputError, match=r"vllm\.tar\.zst is there already"):
        write()
    with pytest.raises(InputError, match="SHA256SUMS is there already"):
        write("out/other.tar.zst")
    assert content(tmp_path / "out") == before

    root = tmp_path / "root"
    assert unpack(tmp_path / "out", root).returncode == 0
    again = unpack(tmp_path / "out", root)
    assert (again.returncode, "opt/vllm-tiny is there already" in again.stderr) == (1, True)
    # Paths that another bundle had as well stay as they are; the rest comes.
    (root / "opt/vllm-tiny").unlink()
    new = Path(f"{root}{store}")
    clear(root)
    shutil.rmtree(new / TOP)
    mark = new / ("b" * 32 + "-library/mark")
    mark.touch()
    assert unpack(tmp_path / "out", root).returncode == 0
    assert mark.exists() and (new / TOP / "bin/vllm").is_file()
    assert not list(new.glob(".*"))
    clear(root)


@pytest.mark.parametrize("harm", ["changed", "lost", "Nix", "another run"])
def test_a_damaged_bundle_leaves_nothing(
    store: Path, tmp_path: Path, write: Write, harm: str
) -> None:
    done = write(split=70_000)
    root = tmp_path / "root"
    if harm == "changed":
        done.parts[1].write_bytes(done.parts[1].read_bytes()[:-1] + b"!")
    elif harm == "lost":
        done.parts[1].unlink()
    elif harm == "Nix":
        Path(f"{root}{tmp_path}/nix/var/nix/db").mkdir(parents=True)
        Path(f"{root}{store}").mkdir()
    else:
        Path(f"{root}{store}/.vllm-tiny.new").mkdir(parents=True)
    result = unpack(tmp_path / "out", root)
    assert result.returncode == 1
    assert {
        "Nix": "use nix copy",
        "another run": "another run is at work, or left",
    }.get(harm, "damaged, or missing: vllm.tar.zst.0001\n") in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list((root / "opt").glob("*"))


def test_a_full_disk_where_it_is_unpacked(
    store: Path, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tar says it of each of thousands of files, and goes on."""
    write()
    tar = tmp_path / "bin/tar"
    tar.parent.mkdir()
    tar.write_text(
        "#!/bin/sh\ncat >/dev/null\nfor i in 1 2 3; do echo tar: $i: full >&2; done\nexit 2\n"
    )
    tar.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tar.parent}:{os.environ['PATH']}")
    result = unpack(tmp_path / "out", tmp_path / "root")
    assert (result.returncode, result.stderr) == (1, "unpack.sh: not unpacked: tar: 1: full\n")
    tar.write_text("#!/bin/sh\nexit 2\n")
    result = unpack(tmp_path / "out", tmp_path / "root")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert not list(Path(f"{tmp_path}/root{store}").iterdir())


def test_a_folder_that_is_not_there(tmp_path: Path, write: Write) -> None:
    write()
    words = ["sh", str(tmp_path / "out/unpack.sh"), "gone"]
    done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "unpack.sh: gone is not a folder\n")


def test_a_full_disk_leaves_no_bundle(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 100_000
    original = bundle._Parts.write

    def full(self: bundle._Parts, data: bytes) -> None:
        if self.size + len(data) > room:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(bundle._Parts, "write", full)
        with pytest.raises(Unavailable, match=r"no room left on the disk; .* goes on from there"):
            write()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["vllm.tar.zst.partial"]
    assert write().kept > 0


def test_two_runs_do_not_write_one_file(tmp_path: Path, write: Write) -> None:
    def second(done: int, total: int) -> None:
        with pytest.raises(InputError, match="is being written by another process"):
            write()
        raise Interrupted

    with pytest.raises(Interrupted):
        write(progress=second)


@pytest.mark.parametrize(
    ("environment", "out", "message"),
    [
        ("venv", "x.tar.zst", "not in the Nix store, so nothing says what it needs; .*pip freeze"),
        ("gone", "x.tar.zst", "gone is not there; build one"),
        (f"nix/store/{TOP}/bin", "x.tar.zst", f"name the whole: .*{TOP}$"),
        ("nix/store", "x.tar.zst", "is the whole Nix store; name what"),
        ("nix/store/x.drv", "x.tar.zst", "is not built; build it: nix-store --realise"),
        ("nix/store/file", "x.tar.zst", "expected a folder of the store"),
        (f"nix/store/{TOP}", "x.zip", r"ends in \.tar\.zst or \.tar\.xz"),
        (f"nix/store/{TOP}", "a b.tar.zst", "expected a plain file name"),
        (f"nix/store/{TOP}", "-x.tar.zst", "expected a plain file name"),
    ],
)
def test_bad_input(store: Path, tmp_path: Path, environment: str, out: str, message: str) -> None:
    (tmp_path / "venv").mkdir()
    for name in ("x.drv", "file"):
        (store / name).touch()
    with pytest.raises(InputError, match=message):
        write_bundle(tmp_path / environment, tmp_path / "out" / out, paths=[])
    assert not (tmp_path / "out").exists()


def test_a_folder_of_somebody_else_stays(tmp_path: Path, write: Write) -> None:
    mine = tmp_path / "out/vllm.tar.zst.partial/mine"
    mine.parent.mkdir(parents=True)
    mine.touch()
    with pytest.raises(InputError, match="no run left it; name another -o"):
        write()
    assert mine.exists()


@pytest.mark.parametrize("text", ["0", "", "-1", "1.5G", "60MB", "60 M", "1T", "٣", "9" * 99])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="expected a size such as 60M or 2G"):
        split_size(text)


def test_sizes() -> None:
    assert [split_size(text) for text in ("60M", "2G", "7")] == [60 << 20, 2 << 30, 7]


def test_parts_that_are_too_many(write: Write) -> None:
    with pytest.raises(InputError, match=r"more than 9999 parts; it must be at least \d+$"):
        write(split=7)


def test_a_program_that_fails_before_it_has_read_all(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin/zstd"
    fake.write_text("#!/bin/sh\n[ $1 = --version ] && exit\necho no memory >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    with pytest.raises(Unavailable, match="zstd failed: no memory"):
        write()
    assert not (tmp_path / "out/vllm.tar.zst").exists()


def test_a_store_that_is_damaged(
    store: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = bundle._frames

    def shorten(entries: object) -> object:
        found = list(real(entries))  # type: ignore[arg-type]
        (store / ("b" * 32 + "-library/code.bin")).write_bytes(b"short")
        return found

    monkeypatch.setattr(bundle, "_frames", shorten)
    with pytest.raises(Error, match="changed while it was read"):
        write()


def test_a_pipe_in_the_store(store: Path, write: Write) -> None:
    os.mkfifo(store / TOP / "pipe")
    with pytest.raises(Error, match="neither a file, a folder nor a link"):
        write()


def test_the_command(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = tmp_path / "closure"
    paths.write_text("".join(f"{path}\n" for path in store.iterdir()))
    (tmp_path / "result").symlink_to(store / TOP)
    words = ["bundle", str(tmp_path / "result"), "-o", str(tmp_path / "out/vllm.tar.zst")]
    assert cli.main([*words, "--split", "70000", "--store-paths", str(paths)]) == 0
    said = capsys.readouterr().out
    assert "5 files" in said and said.endswith("unpack.sh unpacks to /opt/vllm-tiny\n")
    for lines, message in (("/etc\n", "is not a path of the store"), ("", "itself is missing")):
        paths.write_text(lines)
        assert cli.main([*words, "--store-paths", str(paths)]) == 2
        assert message in capsys.readouterr().err
    assert cli.main([*words, "--store-paths", "/dev/zero"]) == 2
    assert "larger than 16 MiB" in capsys.readouterr().err
    assert cli.main([*words, "--store-paths", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"vllm-nix: --store-paths {tmp_path}: Is a directory\n"


def test_without_the_compressor(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unavailable, match="zstd is not on PATH; apt-get install zstd"):
        write()
