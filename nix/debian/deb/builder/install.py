"""Install Debian packages into one store path: the builder of every group.

/usr and the multiarch folders are merged away ($out/bin, $out/lib, $out/include, $out/share).
Links and scripts point into the store, and so does every library that an ELF file needs; nothing
looks into a library folder of the host. What nobody in the store owns is left out.
"""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# The bootstrap interpreter runs isolated: it does not look beside the program by itself.
sys.path.insert(0, str(Path(__file__).parent))

import hooks
from elf import Elf

ATTRIBUTES = json.loads(Path(os.environ["NIX_BUILD_TOP"], ".attrs.json").read_text())
OUT = Path(ATTRIBUTES["outputs"]["out"])
TRIPLET = ATTRIBUTES["triplet"]
LOADER = ATTRIBUTES["loader"]
BELOW = [Path(path) for path in ATTRIBUTES["below"]]
ROOT = Path("root").absolute()

UNUSED = re.compile(
    r"(etc|var|lib32|libx32|lib/(debug|udev|systemd|tmpfiles\.d|sysusers\.d|pam\.d|security|mime)"
    r"|share/(applications|apport|bash-completion|bug|debhelper|doc|doc-base|emacs|gcc|gdb|icons"
    r"|info|initramfs-tools|lintian|locale|man|menu|metainfo|mime|mime-info|pixmaps|vim|zsh))(/.*)?"
)


def place(path: str) -> str:
    """Where a file of the packages goes, both as paths without a leading slash."""
    path = re.sub(r"^(\./)?(usr/)?", "", path)
    path = re.sub(r"^sbin/", "bin/", path)
    path = re.sub(r"^lib64(/|$)", r"lib\1", path)
    return re.sub(rf"^(lib|include)/{TRIPLET}(/|$)", r"\1\2", path)


def owner(path: str) -> Path | None:
    """The file of this group, or of one below it, that holds a placed path."""
    for group in [OUT, *BELOW]:
        if os.path.lexists(group / path):
            return group / path
    return None


def unpack() -> None:
    for deb in ATTRIBUTES["debs"]:
        subprocess.run([ATTRIBUTES["busybox"], "dpkg-deb", "-x", deb, str(ROOT)], check=True)


def install_files() -> list[tuple[str, str]]:
    """Move the files; return the links as (placed path, target in the packages' own tree)."""
    links = []
    for folder, folders, names in os.walk(ROOT):
        inside = os.path.relpath(folder, ROOT)
        for name in sorted(folders + names):
            source = Path(folder, name)
            path = os.path.normpath(f"{inside}/{name}")
            target = place(path)
            if UNUSED.fullmatch(target):
                continue
            if source.is_symlink():
                links.append((target, str(Path("/", inside, source.readlink()))))
            elif source.is_file():
                install_file(source, target, f"/{TRIPLET}/" in f"/{path}")
    return links


def install_file(source: Path, target: str, is_specific: bool) -> None:
    file = OUT / target
    file.parent.mkdir(parents=True, exist_ok=True)
    # Debian's generic header may only choose among the architectures' own: those win.
    if file.exists() and file.read_bytes() != source.read_bytes() and not is_specific:
        return
    shutil.move(source, file)
    file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)


def install_links(links: list[tuple[str, str]]) -> None:
    """Links whose target exists in the store; a link may point to another link."""
    waiting = list(links)
    while waiting:
        later = [each for each in waiting if not link(*each)]
        if len(later) == len(waiting):
            return
        waiting = later


def link(path: str, target: str) -> bool:
    placed = place(os.path.normpath(target).lstrip("/"))
    found = owner(placed)
    if found is None:
        return False
    file = OUT / path
    if found != file and not os.path.lexists(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        mine = found.is_relative_to(OUT)
        file.symlink_to(os.path.relpath(found, file.parent) if mine else found)
    return True


def drop() -> None:
    for folder, folders, names in os.walk(OUT, topdown=False):
        for name in folders + names:
            file = Path(folder, name)
            path = str(file.relative_to(OUT))
            if any(fnmatch.fnmatchcase(path, pattern) for pattern in ATTRIBUTES["drop"]):
                shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink()
        if not any(Path(folder).iterdir()):
            Path(folder).rmdir()


def add_links() -> None:
    for path, target in ATTRIBUTES["links"].items():
        pairs = [(path, target)]
        if target.endswith("/*"):
            names = sorted(file.name for file in OUT.glob(target))
            pairs = [(f"{path}/{name}", target.replace("*", name)) for name in names]
        for name, inside in pairs:
            if not link(name, f"/{inside}") or not (OUT / name).exists():
                sys.exit(f"{OUT.name}: the link {name} needs {inside}, which no package holds")


def add_setup_hook() -> None:
    """What stdenv runs where this group is among the tools of a build."""
    if hook := ATTRIBUTES.get("setupHook"):
        (OUT / "nix-support").mkdir()
        shutil.copyfile(hook, OUT / "nix-support/setup-hook")


def is_text(file: Path) -> bool:
    with file.open("rb") as content:
        return b"\0" not in content.read(4096)


def rewrite_texts(files: list[Path]) -> None:
    """Re-point what other programs read: interpreters, linker scripts and pkg-config files."""
    for file in files:
        if file.suffix in (".pc", ".so", ".la") and is_text(file):
            edit(
                file, re.compile(r"/(?:usr/)?(?:lib|lib64|include|share)\b[\w+./-]*|/usr\b"), point
            )
            edit(file, re.compile(rf"(?<=lib|ude)/{TRIPLET}\b"), lambda found: "")
        elif file.stat().st_mode & 0o100 and file.open("rb").read(2) == b"#!":
            edit(file, re.compile(r"\A#! *(/usr/bin/env +)?(\S+)"), interpreter)


def edit(file: Path, pattern: re.Pattern[str], change: Callable[[re.Match[str]], str]) -> None:
    text = file.read_text(errors="surrogateescape")
    file.write_text(pattern.sub(change, text), errors="surrogateescape")


def point(found: re.Match[str]) -> str:
    if found.string[: found.start()].endswith("}"):
        return found[0]
    placed = place(found[0].strip("/"))
    return str(owner(placed) or OUT / placed).removesuffix("/usr")


def interpreter(found: re.Match[str]) -> str:
    return f"#!{owner(f'bin/{Path(found[2]).name}') or found[2]}"


def remove_foreign_scripts(files: list[Path]) -> None:
    """A program whose interpreter is not in the store would run the host's."""
    for file in files:
        start = file.open("rb").read(64)
        is_script = start.startswith(b"#!") and file.parent == OUT / "bin"
        if is_script and not start.startswith(f"#!{OUT.parent}/".encode()):
            file.unlink()


def own_files() -> list[Path]:
    walk = (Path(folder, name) for folder, _, names in os.walk(OUT) for name in names)
    return sorted(file for file in walk if file.is_file() and not file.is_symlink())


def patchelf(*arguments: str) -> str:
    command = [f"{ATTRIBUTES['patchelf']}/bin/patchelf", *arguments]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def link_names(elves: list[Elf]) -> dict[str, Path]:
    """What ldconfig would do: every library is found by the name that others ask for."""
    folders = {}
    for elf in elves:
        if ".so" in elf.path.name and (name := patchelf("--print-soname", str(elf.path)).strip()):
            folders[name] = elf.path.parent
            if not os.path.lexists(elf.path.parent / name):
                (elf.path.parent / name).symlink_to(elf.path.name)
    return folders


def library_folder(name: str, index: dict[str, Path], needed_by: Path) -> Path:
    for group in [OUT, *BELOW]:
        if (group / "lib" / name).exists():
            return group / "lib"
    if name in index:
        return index[name]
    sys.exit(f"{needed_by}: the library {name} is in none of: {OUT} {' '.join(map(str, BELOW))}")


def fix_elf(elf: Elf, index: dict[str, Path]) -> None:
    needed = patchelf("--print-needed", str(elf.path)).split()
    folders = [library_folder(name, index, elf.path) for name in needed]
    runpath = ":".join(map(str, dict.fromkeys(folders)))
    options = ["--set-rpath", runpath] if runpath else ["--remove-rpath"]
    if elf.has_interpreter:
        options += ["--set-interpreter", str(owner(f"lib/{LOADER}"))]
    patchelf(*options, str(elf.path))


def hide_host_libraries(file: Path) -> None:
    """Debian compiles its library folders into programs. /nix holds none, and is as long."""
    content = file.read_bytes()
    hidden = content.replace(b"/etc/ld.so.conf", b"/nix/ld.so.conf")
    hidden = hidden.replace(f"/usr/lib/{TRIPLET}".encode(), f"/nix/lib/{TRIPLET}".encode())
    hidden = re.sub(rb"(?<!nix)/lib/" + TRIPLET.encode(), b"/nix/" + TRIPLET.encode(), hidden)
    if hidden != content:
        file.write_bytes(hidden)


def main() -> None:
    unpack()
    OUT.mkdir()
    install_links(install_files())
    drop()
    add_links()
    add_setup_hook()
    run = [getattr(hooks, name) for name in ATTRIBUTES["hooks"]]
    rewrite_texts(own_files())
    remove_foreign_scripts(own_files())
    for hook in run:
        hook(OUT, owner)
    elves = [elf for file in own_files() if (elf := Elf.read(file))]
    index = {elf.path.name: elf.path.parent for elf in elves} | link_names(elves)
    for elf in elves:
        hide_host_libraries(elf.path)
        if elf.path.name != LOADER:
            fix_elf(elf, index)


main()
