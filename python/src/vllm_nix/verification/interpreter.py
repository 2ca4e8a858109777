"""What the environment's interpreter says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vllm_nix.verification.environment import Environment


@dataclass(frozen=True, slots=True)
class Interpreter:
    """`binary` is the ELF file that really runs; `scripts` is where commands are installed, which
    Debian has at /usr/local/bin for its /usr; `path` is where modules are looked for; `markers` are the
    variables of PEP 508."""

    version: str
    implementation: str
    prefix: Path
    binary: Path
    site_packages: Path
    scripts: Path
    path: tuple[Path, ...]
    markers: Mapping[str, str]

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
    except OSError as error:
        return _why_not(environment.python, error)
    if outcome.end or len(outcome.answers) != 1:
        return f"{outcome.end or 'no answer'}: {outcome.last_words() or 'no output'}"
    answer = outcome.answers[0]
    try:
        return Interpreter(
            version=str(answer["version"]),
            implementation=str(answer["implementation"]),
            prefix=Path(answer["prefix"]),
            binary=Path(answer["binary"]),
            site_packages=Path(answer["site-packages"]),
            scripts=Path(answer["scripts"]),
            path=tuple(map(Path, answer["path"])),
            markers=answer["markers"],
        )
    except (KeyError, TypeError):
        return f"it is no Python: it answers {answer}"


def _why_not(python: Path, error: OSError) -> str:
    """ENOENT alone does not say what is missing: a link's end, an ELF loader, a script's shell."""
    target = python.resolve()
    if not target.exists():
        return f"it links to {target}, which is gone"
    if isinstance(error, FileNotFoundError):
        return "the loader or the shell that it names is missing"
    return str(error.strerror or error)
