"""What single groups need beyond the common rules. Each replacement must find what it expects."""

import py_compile
import re
import sys
from collections.abc import Callable
from pathlib import Path

Owner = Callable[[str], Path | None]


def replace(file: Path, old: bytes, new: bytes, times: int | None = 1) -> None:
    content = file.read_bytes()
    found = content.count(old)
    if found == 0 or (times is not None and found != times):
        sys.exit(f"{file}: expected {old!r} {times or 'some'} time(s), found it {found} time(s)")
    file.write_bytes(content.replace(old, new))


def existing(owner: Owner, path: str) -> Path:
    if file := owner(path):
        return file
    sys.exit(f"no group below holds {path}; name one in uses")


def host_certificates(out: Path, owner: Owner) -> None:
    """Certificates and settings are where most distributions have them, in as many letters."""
    replace(out / "lib/libcrypto.so.3", b"\0/usr/lib/ssl", b"\0/etc/././ssl", times=None)


def refuse_host_libraries(out: Path, owner: Owner) -> None:
    """The loader reads no cache, no preload list and no default folder of the host.

    Every string keeps its length, and names a place below /nix that does not exist.
    """
    [loader] = [file for file in (out / "lib").glob("ld-linux-*") if not file.is_symlink()]
    for name in (b"cache", b"preload"):
        replace(loader, b"\0/etc/ld.so.%s\0" % name, b"\0/nix/ld.so.%s\0" % name)
    [triplet] = set(re.findall(rb"/usr/lib/([\w-]+)/\0", loader.read_bytes()))
    names = (triplet, triplet)
    folders = b"/lib/%s/\0/usr/lib/%s/\0/lib/\0/usr/lib/\0" % names
    hidden = b"/nix/%s/\0/nix/lib/%s/\0/nix/\0/nix/lib/\0" % names
    replace(loader, folders, hidden, times=2)
    replace(out / "lib/libc.so.6", b"/usr/lib/locale", b"/nix/lib/locale", times=2)


def site_packages(out: Path, owner: Owner) -> None:
    """Undo Debian's dist-packages. site is frozen into the programs; the names are equally long."""
    library = out / "lib/python3.11"
    for file in (out / "bin/python3.11", *(out / "lib").glob("libpython3.11.so.1.0")):
        replace(file, b"dist-packages", b"site-packages", times=4)
    replace(library / "site.py", b"dist-packages", b"site-packages", times=6)
    replace(
        library / "sysconfig.py",
        b"os.environ.get('DEB_PYTHON_INSTALL_LAYOUT', 'posix_local')",
        b"'posix_prefix'",
    )
    replace(
        library / "sysconfig.py", b"prefix_scheme = 'posix_local'", b"prefix_scheme = deb_build"
    )
    (library / "_distutils_system_mod.py").unlink()
    replace(library / "distutils/command/install.py", b'"unix_local"', b'"unix_prefix"')
    replace(
        library / "distutils/sysconfig.py",
        b'"lib", "python3", "dist-packages"',
        b'"lib", "python3.11", "site-packages"',
    )
    (library / "site-packages").mkdir()
    (library / "site-packages/README.txt").write_text("Packages live in their own store paths.\n")
    build_variables(out, [*library.glob("_sysconfigdata_*.py"), *library.glob("config-*/Makefile")])


def build_variables(out: Path, files: list[Path]) -> None:
    """sysconfig's record of how Python was built: compilers by their plain names, our prefix."""
    for file in files:
        text = file.read_text()
        text = re.sub(r"\b(?:x86_64|aarch64)-linux-gnu-(gcc-ar|gcc|g\+\+)", r"\1", text)
        text = re.sub(r"/usr/lib/(?:x86_64|aarch64)-linux-gnu\b", f"{out}/lib", text)
        text = re.sub(r"(?<![\w./-])/usr\b", str(out), text)
        file.write_text(text)


def no_bin_sh(out: Path, owner: Owner) -> None:
    """A build has no /bin/sh: subprocess with shell=True uses the base's own shell."""
    file = out / "lib/python3.11/subprocess.py"
    shell = bytes(existing(owner, "bin/sh"))
    replace(
        file, b"'getandroidapilevel') else '/bin/sh')", b"'getandroidapilevel') else '%s')" % shell
    )


def compile_python(out: Path, owner: Owner) -> None:
    """Bytecode that is valid whatever the files' times are."""
    for file in sorted((out / "lib/python3.11").rglob("*.py")):
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(file), doraise=True, invalidation_mode=mode)
