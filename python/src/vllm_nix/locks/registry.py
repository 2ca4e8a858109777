"""pip, as the user configured it: which one, and where it looks for packages."""

import ast
import importlib.util
import re
import shutil
import sys
from collections.abc import Mapping

from vllm_nix.errors import Error, Unavailable
from vllm_nix.process import ask

# What pip says of a registry that it cannot reach, before it says that there is no such package.
NO_NETWORK = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError"
    r"|IncompleteRead|Connection (?:aborted|broken|refused|reset)|Network is unreachable"
)
# A pip.py in the working directory is not pip; Python's -P is newer than 3.10.
_PIP = "import runpy, sys; del sys.path[0]; runpy.run_module('pip', run_name='__main__')"


def pip_command() -> list[str]:
    """The command line of a pip: this interpreter's own, else the one on PATH."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-c", _PIP]
    for name in ("pip3", "pip"):
        if program := shutil.which(name):
            return [program]
    raise Unavailable("pip is missing; `apt-get install python3-pip` or your own way installs it")


def pip_configuration() -> dict[str, str]:
    """pip's settings for downloads, from its files and the environment, as pip ranks them.

    Empty without pip: there is nothing to honour then. Raises `Error` if pip cannot read its files.
    """
    try:
        command = pip_command()
    except Unavailable:
        return {}
    result = ask([*command, "config", "list"], limit=60)
    if result.status:
        raise Error(f"pip cannot read its configuration: {' '.join(result.stderr.split())}")
    return parse_configuration(result.stdout)


def parse_configuration(listing: str) -> dict[str, str]:
    """Reads the output of `pip config list`: `section.key='value'` lines, `:env:` for variables.

    Raises `Error`.
    """
    sections: dict[str, dict[str, str]] = {}
    for line in listing.splitlines():
        key, equals, value = line.partition("=")
        if not equals:
            continue
        section, _, name = key.rpartition(".")
        try:
            sections.setdefault(section, {})[name] = str(ast.literal_eval(value))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise Error(f"`pip config list` says what cannot be read: {line[:200]}") from None
    merged: dict[str, str] = {}
    for section in ("global", "download", ":env:"):
        merged |= sections.get(section, {})
    return merged


def uv_options(configuration: Mapping[str, str]) -> list[str]:
    """How uv chooses among the places of `uv_environment`: as pip does."""
    # pip ranks all its indexes alike and takes the best version, wherever it is.
    options = ["--index-strategy", "unsafe-best-match"]
    if configuration.get("no-index", "").lower() in ("1", "on", "true", "yes"):
        options.append("--no-index")
    return options


def uv_environment(configuration: Mapping[str, str]) -> dict[str, str]:
    """The variables by which uv looks where pip looks; uv does not read pip's configuration.

    Not options: an address may hold a password, and a process list shows command lines.
    """
    variables = {
        "index-url": ("UV_DEFAULT_INDEX", " "),
        "extra-index-url": ("UV_EXTRA_INDEX_URL", " "),
        "find-links": ("UV_FIND_LINKS", ","),
        "trusted-host": ("UV_INSECURE_HOST", " "),
        "cert": ("SSL_CERT_FILE", " "),
        "proxy": ("ALL_PROXY", " "),
    }
    return {
        name: separator.join(configuration[key].split())
        for key, (name, separator) in variables.items()
        if key in configuration
    }
