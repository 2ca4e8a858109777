"""The environment under test: its folder and how its programs are started, the Python in it, and
the manifest that a Nix build has."""

import json
import os
import re
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from packaging.utils import canonicalize_name

from vllm_nix import process as child
from vllm_nix.binaries import elf
from vllm_nix.binaries.elf import ElfError
from vllm_nix.binaries.files import open_regular
from vllm_nix.errors import InputError
from vllm_nix.paths import expand, real
from vllm_nix.process import Outcome
from vllm_nix.targets import check_recorded

PROBES = Path(__file__).parent / "probes"
MANIFEST = Path("share/vllm-nix/target.json")
# Settings of the caller's shell that would have us test something else than the environment.
_FOREIGN = ("BASH_ENV", "PYTHON", "VLLM_", "HF_", "XDG_", "VIRTUAL_ENV")
# Of the memory that is free when a program starts; vLLM and torch take some 2 GB here.
_SHARE = 0.75
_LARGEST = 1 << 24  # bytes of a manifest; real ones have about 50 kB
_MOST_PRELOADED = 100
_MOST_FOLDERS = 1_000  # of sys.path; each is searched for metadata
# As its user starts this Python (-I would leave out his packages), but for the working directory's modules.
START = (
    "import sys; sys.path[:] = filter(None, sys.path); del sys.argv[0]; "
    "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
)
T = TypeVar("T")


class NotRun(Exception):
    """What was not to be run: all of the environment, or what imports torch or vLLM."""

    def __init__(self, reason: str = "nothing of the environment is run (--files-only)") -> None:
        super().__init__(reason)


class Running:
    """How many programs run, to be waited for."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Until there is none, but no longer than that."""
        with self._changed:
            self._changed.wait_for(lambda: not self._count, seconds)


# Where projects and containers have an environment.
_WITHIN = (".venv", "venv", "result", "opt/venv", "opt/conda", "usr/local", "usr")


def _has_python(folder: Path) -> bool:
    return any(os.path.lexists(folder / "bin" / name) for name in ("python", "python3"))


@dataclass(frozen=True, slots=True)
class Environment:
    """A folder with `bin/python`, or packages alone. Children write below `scratch`, may be silent
    for `limit` s, end when `stop` is set, and are given the variables `settings`. Their home is
    empty but for `homes`: links, by name, to what of the user's own they are to find there. With
    `files_only`, none is started, and with `quick` none that imports torch or vLLM."""

    root: Path
    scratch: Path
    limit: float
    settings: Mapping[str, str] = field(default_factory=dict)
    homes: Mapping[str, Path] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    files_only: bool = False
    quick: bool = False
    running: Running = field(default_factory=Running)

    def __post_init__(self) -> None:
        if not (os.path.lexists(self.python) or self.is_bare):
            try:
                self.python.lstat()
            except PermissionError:
                raise InputError(f"{self.root} may not be looked into by this user") from None
            except OSError:
                pass
            inside = next(filter(_has_python, (self.root / place for place in _WITHIN)), None)
            folder = str(
                inside or "the folder of a virtual environment or of a Nix build (`result`)"
            )
            for command in (self.root, real(self.root)):  # pipx and uv link to theirs
                if command.parent.name == "bin" and any(command.parent.glob("python*")):
                    folder = str(command.parent.parent)
                    break
            raise InputError(
                f"{self.root} is not an environment: it has no bin/python; give {folder}, or a "
                "site-packages folder"
            )
        # Of a whole system, as in a container, /bin is a link to /usr/bin, whose Python's folder is /usr.
        if (self.root / "usr").is_dir() and real(self.root / "bin") == real(self.root / "usr/bin"):
            inside = next(filter(_has_python, (self.root / place for place in _WITHIN)), self.root)
            raise InputError(
                f"{self.root} is a whole system; give the folder of its Python: {inside}"
            )

    @property
    def is_bare(self) -> bool:
        """Whether this is a folder of packages alone, such as one unpacked from a container."""
        return not os.path.lexists(self.python) and any(self.root.glob("*.dist-info"))

    @property
    def python(self) -> Path:
        """Always started by this name: in a Nix-built environment it is a launcher."""
        names = [self.root / "bin" / name for name in ("python", "python3")]
        return next((name for name in names if os.path.lexists(name)), names[0])

    def check_imports(self) -> None:
        """Raises `NotRun` if nothing is to be imported."""
        if self.quick and not self.files_only:
            raise NotRun("torch and vLLM are not imported (--quick)")

    def run(self, *command: str | Path, answers: int = 1) -> Outcome:
        """Runs a program of the environment, offline, that may take `limit` s for each of so many
        answers. Raises OSError if it cannot be started, and `NotRun` where nothing of the
        environment is to be run."""
        if self.files_only:
            raise NotRun
        if self.stop.is_set():
            raise InterruptedError("stopped")
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        for name, place in self.homes.items():
            (folder / name).symlink_to(place)
        with self.running:
            return child.run(
                command,
                folder=folder,
                environment={**_variables(folder), **self.settings},
                limit=self.limit,
                total=self.limit * answers,
                stop=self.stop,
                memory=int(_SHARE * child.free_memory()),
            )

    def probe(self, name: str, *arguments: str, answers: int = 1) -> Outcome:
        """Runs `probes/<name>.py`; its first argument is the descriptor that takes its answers."""
        if name == "survey":
            self.check_imports()
        program = str(PROBES / f"{name}.py")
        words = ("-c", START, program, "{answers}", *arguments)
        return self.run(self.python, *words, answers=answers)


def _variables(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return kept | {
        **_users_packages(),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",  # looking at an environment must not change it
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; its default is half of the machine's memory
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }


def _users_packages() -> dict[str, str]:
    """Where `pip install --user` puts packages, which Python would look for below its empty home."""
    if os.environ.get("PYTHONNOUSERSITE"):
        return {"PYTHONNOUSERSITE": "1"}
    try:
        base = expand(os.environ.get("PYTHONUSERBASE") or "~/.local").absolute()
        return {"PYTHONUSERBASE": str(base)}
    except InputError:  # this user has no home
        return {}


@dataclass(frozen=True, slots=True)
class Interpreter:
    """`binary` is the ELF file that really runs; `scripts` is where commands are installed, which
    Debian has at /usr/local/bin for its /usr; `path` is where modules are looked for; `markers` are the
    variables of PEP 508; `library_path` are the folders of LD_LIBRARY_PATH, and `preload` the names in
    LD_PRELOAD, as it runs; `user_site` is the user's site-packages, if it looks there."""

    version: str
    implementation: str
    prefix: Path
    binary: Path
    site_packages: Path
    scripts: Path
    path: tuple[Path, ...]
    markers: Mapping[str, str]
    library_path: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    user_site: Path | None = None

    def below(self, root: Path, folder: Path) -> Path:
        """A folder of its own as a path below the environment's, for $ORIGIN depends on it."""
        if folder.is_relative_to(self.prefix):
            return root / folder.relative_to(self.prefix)
        return folder


def ask_interpreter(environment: Environment) -> Interpreter | str:
    """Starts the interpreter; if that fails, why."""
    if environment.is_bare:
        return "a folder of packages alone"
    try:
        outcome = environment.probe("interpreter")
    except NotRun as reason:
        return str(reason)
    except OSError as error:
        return _why_not(environment.python, error)
    if outcome.end or len(outcome.answers) != 1:
        return f"{outcome.end or 'no answer'}: {outcome.last_words() or 'no output'}"
    try:
        found = _interpreter(outcome.answers[0])
        elf.read(found.binary)
        return found
    except (KeyError, TypeError, ValueError, OSError, ElfError):
        return f"it is not a Python: it answers {str(outcome.answers[0])[:500]}"


def _interpreter(answer: Mapping[str, Any]) -> Interpreter:
    """What it says of itself, which is not trusted. Raises KeyError, TypeError or ValueError."""
    found = Interpreter(
        version=str(answer["version"]),
        implementation=str(answer["implementation"]),
        prefix=_folder(answer["prefix"]),
        binary=_folder(answer["binary"]),
        site_packages=_folder(answer["site-packages"]),
        scripts=_folder(answer["scripts"]),
        # Finders of editable installs put in names of their own, which are no folders.
        path=tuple(
            _folder(place) for place in answer["path"][:_MOST_FOLDERS] if str(place).startswith("/")
        ),
        markers={str(name): str(value) for name, value in dict(answer["markers"]).items()},
        library_path=tuple(filter(None, re.split("[:;]", str(answer.get("library-path", ""))))),
        preload=tuple(filter(None, re.split("[: ]", str(answer.get("preload", "")))))[
            :_MOST_PRELOADED
        ],
        user_site=_folder(answer["user-site"]) if answer.get("user-site") else None,
    )
    if found.prefix not in found.site_packages.parents:
        raise ValueError("its packages are not below its prefix")
    return found


def _folder(text: Any) -> Path:
    """An absolute path."""
    if not isinstance(text, str) or not text.startswith("/") or "\0" in text:
        raise ValueError(f"{text!r} is not an absolute path")
    return Path(text)


def _why_not(python: Path, error: OSError) -> str:
    """ENOENT alone does not say what is missing: a link's end, an ELF loader, a script's shell."""
    target = real(python)
    if target.is_symlink():
        return f"it is a link that leads to itself, {target}"
    if not target.exists():
        return f"it links to {target}, which is gone"
    if isinstance(error, FileNotFoundError):
        return "the loader or the shell that it names is missing"
    return str(error.strerror or error)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel of the environment; `name` is normalised, `path` is its folder in the store. `without`
    says what of it was left out as unused."""

    name: str
    version: str
    path: Path
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """`parameters` are the target's; `driver_libraries` are the sonames that the host provides."""

    target: str
    python: str
    parameters: Mapping[str, Any]
    driver_libraries: frozenset[str]
    wheels: tuple[Wheel, ...]


def read_manifest(root: Path) -> Manifest | None:
    """The manifest of the environment at `root`; None if it has none. Raises `InputError`."""
    file = root / MANIFEST
    try:
        with open_regular(file) as stream:
            text = stream.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise ValueError(f"larger than {_LARGEST} bytes")
        manifest = _manifest(json.loads(text))
        check_recorded("parameters", manifest.parameters)
        return manifest
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; build the environment again") from None
    except (InputError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{file}: {error}; build the environment again") from error


def lookup(data: Any, *keys: str) -> Any:
    """The value at the end of `keys`; None if there is none. A manifest is not trusted."""
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def texts(data: Any, *keys: str) -> list[str]:
    """The same of a list of texts; empty if there is none. Raises `InputError` for anything else."""
    found = lookup(data, *keys)
    found = [] if found is None else found
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InputError(f"the manifest's {'.'.join(keys)}: {found!r} is not a list of texts")
    return found


def _manifest(data: Any) -> Manifest:
    if _get(data, "schema", int) != 1:
        raise ValueError(f"schema {data['schema']} is not 1, the one that this program knows")
    return Manifest(
        target=_get(data, "target", str),
        python=_get(data, "python", str),
        parameters=_get(data, "parameters", dict),
        driver_libraries=frozenset(_texts(data, "driver-libraries")),
        wheels=tuple(_wheel(wheel) for wheel in _get(data, "wheels", list)),
    )


def _wheel(data: Any) -> Wheel:
    return Wheel(
        canonicalize_name(_get(data, "name", str)),
        _get(data, "version", str),
        Path(_get(data, "path", str)),
        tuple(_texts(data, "without") if "without" in data else ()),
    )


def _texts(data: Any, key: str) -> list[str]:
    values = _get(data, key, list)
    if not all(isinstance(value, str) for value in values):
        raise TypeError(f"'{key}' is not a list of texts")
    return list(values)


def _get(data: Any, key: str, kind: type[T]) -> T:
    if not isinstance(data, dict) or key not in data:
        raise ValueError(f"there is no '{key}'")
    value = data[key]
    if not isinstance(value, kind):
        raise TypeError(f"'{key}' is {type(value).__name__}, not {kind.__name__}")
    return value
