"""The environment under test, and how a program of it is started."""

import os
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vllm_nix import process as child
from vllm_nix.errors import InputError
from vllm_nix.process import Outcome

PROBES = Path(__file__).parent / "probes"
# Settings of the caller's shell that would have us test something else than the environment.
_FOREIGN = ("PYTHON", "VLLM_", "HF_", "XDG_", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class Environment:
    """A folder with `bin/python`, or packages alone. Children write below `scratch`, may be silent for `limit` s, end
    when `stop` is set, and are given the variables `settings`. Their home is empty but for `homes`: links,
    by name, to what of the user's own they are to find there."""

    root: Path
    scratch: Path
    limit: float
    settings: Mapping[str, str] = field(default_factory=dict)
    homes: Mapping[str, Path] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        if not (os.path.lexists(self.python) or self.is_bare):
            raise InputError(
                f"{self.root} is no environment: it has no bin/python; give the folder of a "
                "virtual environment or of a Nix build (`result`), or a site-packages folder"
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

    def run(self, *command: str | Path, answers: int = 1) -> Outcome:
        """Runs a program of the environment, offline, that may take `limit` s for each of so many
        answers. Raises OSError if it cannot be started."""
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        for name, place in self.homes.items():
            (folder / name).symlink_to(place)
        return child.run(
            command,
            folder=folder,
            environment={**_variables(folder), **self.settings},
            limit=self.limit,
            total=self.limit * answers,
            stop=self.stop,
        )

    def probe(self, name: str, *arguments: str, answers: int = 1) -> Outcome:
        """Runs `probes/<name>.py`; its first argument is the descriptor that takes its answers."""
        # -B as well, because -I ignores the variable that says the same.
        program = str(PROBES / f"{name}.py")
        words = ("-I", "-B", program, "{answers}", *arguments)
        return self.run(self.python, *words, answers=answers)


def _variables(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return kept | {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",  # looking at an environment must not change it
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; its default is half of the machine's memory
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
