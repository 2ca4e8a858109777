"""The command that serves a profile: shown, or become; and the environment that it is of."""

import errno
import json
import os
import socket
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from packaging.version import Version

from vllm_nix.errors import InputError, Unavailable
from vllm_nix.hosts.likeness import Facts
from vllm_nix.paths import read_text
from vllm_nix.serve.flags import in_background
from vllm_nix.serve.group import Host
from vllm_nix.text import quoted

# vLLM of every release takes it from there, so that no process list has it.
API_KEY = "VLLM_API_KEY"
# What asks for it on every path, which vLLM itself does not: a module in a folder of its own.
GATE_MODULE = "vllm_nix_gate"
GATE = ("--middleware", f"{GATE_MODULE}.Gate")
_LONGEST_KEY = 1 << 16  # bytes that are read


@dataclass(frozen=True, slots=True)
class Command:
    """Words to execute, the variables to set before, and the file with the clients' API key.

    Of several hosts (`group`), the head alone has clients. `first` is what must run before, on others too.
    """

    words: tuple[str, ...]
    variables: Mapping[str, str]
    api_key_file: Path
    host: str
    port: int
    group: Host | None = None
    first: tuple[str, ...] = ()

    @property
    def has_clients(self) -> bool:
        """Whether it answers requests, and so reads the API key."""
        return self.group is None or self.group.rank == 0

    def line(self) -> str:
        """A line for a shell, which reads the API key when it runs, and stops without one.

        With an empty key, vLLM would serve everybody.
        """
        assignments = [f"{name}={quoted(value)}" for name, value in self.variables.items()]
        if not self.has_clients:
            return " ".join([*assignments, quoted(*self.words)])
        before = [*assignments, quoted(*in_background(self.first)), "&&"] if self.first else []
        read = f"key=$(cat {quoted(str(self.api_key_file))}) &&"
        key = f'{API_KEY}="${{key:?the API key file is empty}}"'
        return " ".join([*before, read, *assignments, key, quoted(*self.words)])

    def to_json(self) -> dict[str, object]:
        """The same for a program; the API key itself is not in it."""
        return {
            "command": list(self.words),
            "env": dict(self.variables),
            "api-key-file": str(self.api_key_file) if self.has_clients else None,
            "api-key-variable": API_KEY,
            "host": self.host,
            "port": self.port,
            **({"first": list(self.first)} if self.first else {}),
            **({"group": self.group.to_json()} if self.group else {}),
        }

    def run(self, environment: str | os.PathLike[str]) -> None:
        """Becomes the server: replaces this process by it. Raises `InputError`, `Unavailable`."""
        program = _program(environment, self.words[0])
        variables = {**os.environ, **self.variables, **gate_variables(environment)}
        variables[API_KEY] = read_api_key(self.api_key_file)
        check_port(self.host, self.port)
        try:
            os.execve(program, [str(program), *self.words[1:], *GATE], variables)
        except OSError as error:
            raise Unavailable(f"{program} does not start: {error.strerror}") from error

    def run_in_group(
        self,
        environment: str | os.PathLike[str],
        facts: Facts,
        wait: float,
        say: Callable[[str], None],
    ) -> None:
        """Serves with the other hosts, for as long as all are there. Raises `Error` and its kinds."""
        from vllm_nix.hosts.together import Programs, run_together  # takes long to import

        assert self.group
        place, port = self.group.place, self.group.port
        words, first = (
            [str(_program(environment, words[0])), *words[1:]] if words else []
            for words in (self.words, self.first)
        )
        variables = dict(self.variables)
        if self.has_clients:
            words += GATE
            variables |= gate_variables(environment) | {API_KEY: read_api_key(self.api_key_file)}
            check_port(self.host, self.port)
            check_port(place.address, port, "--master-port")
        programs = Programs(words, first, (self.group.head, port))
        run_together(place, facts, programs, variables, wait, say)


def gate_folder() -> Path:
    """The folder that has what `GATE` names."""
    return Path(str(resources.files("vllm_nix.serve").joinpath("gate")))


def gate_variables(environment: str | os.PathLike[str]) -> dict[str, str]:
    """By which its vLLM imports that; a launcher of ours takes no PYTHONPATH."""
    ours = (Path(environment) / "share/vllm-nix/target.json").is_file()
    name = "VLLM_NIX_PYTHONPATH" if ours else "PYTHONPATH"
    return {name: os.pathsep.join(filter(None, [str(gate_folder()), os.environ.get(name)]))}


def _program(environment: str | os.PathLike[str], name: str) -> Path:
    program = Path(environment).absolute() / "bin" / name
    if os.access(program, os.X_OK):
        return program
    if name == "ray":
        raise InputError(
            f"{environment} has no {program}: its vLLM goes to other hosts by Ray; add it to the"
            ' target\'s wheels: add.wheels.require = ["ray"]'
        )
    raise InputError(f"{environment} is not an environment with vLLM: it has no {program}")


def release_of(environment: Path) -> str:
    """The vLLM release in an environment, without a local label. Raises `InputError`."""
    if release := distribution_of(environment, "vllm"):
        return release
    raise InputError(f"{environment} has no vLLM in lib/python3*/site-packages")


def distribution_of(environment: Path, name: str) -> str | None:
    """The release of a distribution there, if it has it."""
    for info in sorted(environment.glob(f"lib/python3*/site-packages/{name}-*.dist-info")):
        text = info.name.removeprefix(f"{name}-").removesuffix(".dist-info")
        try:
            return Version(text).public
        except ValueError:  # another distribution: vllm-something
            continue
    return None


def check_target_of(environment: Path, target: str) -> None:
    """Checks that an environment which we built is that target's. Raises `InputError`."""
    manifest = environment / "share/vllm-nix/target.json"
    if not manifest.is_file():
        return  # somebody else's virtual environment
    try:
        built = json.loads(read_text(manifest))["target"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{manifest} is damaged: {error}") from error
    if built != target:
        raise InputError(f"{environment} is of target '{built}', not '{target}'")


def read_api_key(file: Path) -> str:
    """The key in a file that its owner alone may read. Raises `InputError`."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # a pipe may wait for ever
        try:
            mode = os.fstat(descriptor).st_mode  # of what is read, whatever its name is now
            if not stat.S_ISREG(mode):
                raise InputError(f"the API key file {file} is not a regular file")
            text = os.read(descriptor, _LONGEST_KEY).decode()
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise InputError(
            f"the API key file {file} was not found; make one: (umask 077; mkdir -p"
            f" {quoted(str(file.parent))}; openssl rand -hex 32 > {quoted(str(file))})"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the API key file {file} cannot be read: {error}") from error
    # systemd gives a service its credentials by an access list, which shows as the group's right.
    others = stat.S_IRWXO if _is_credential(file) else stat.S_IRWXO | stat.S_IRWXG
    if mode & others:
        raise InputError(f"others can read the API key file {file}; chmod 600 {file}")
    words = text.split()
    if len(words) != 1:
        fault = "is empty" if not words else "holds more than one word"
        raise InputError(f"the API key file {file} {fault}; it is to hold the key alone")
    return words[0]


def check_port(host: str, port: int, option: str = "--port") -> None:
    """Checks that a server can listen there. Raises `InputError`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            probe.bind(address)
    except (socket.gaierror, UnicodeError) as error:  # the latter of a name that cannot be one
        reason = getattr(error, "strerror", None) or "it is not a host's name"
        raise InputError(f"host '{host}' is not an address: {reason}") from error
    except OSError as error:
        reason = (
            "is in use" if error.errno == errno.EADDRINUSE else f"is not ours: {error.strerror}"
        )
        raise InputError(f"port {port} of {host} {reason}; give another: {option}") from error


def _is_credential(file: Path) -> bool:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return folder is not None and file.is_relative_to(folder)
