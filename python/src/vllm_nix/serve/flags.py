"""What a profile asks for, in the words of one vLLM release: flags.toml, interpreted."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from packaging.version import Version

from vllm_nix.errors import InputError
from vllm_nix.hosts.network import with_port
from vllm_nix.paths import read_toml

Data = Mapping[str, Any]


def render(profile: Data, release: str, device: str) -> tuple[str, ...]:
    """The words of the command that serves `profile` with a vLLM `release` built for `device`.

    `profile` holds values by the keys of `serve.*` in data/targets/schema.toml; those that are not
    vLLM's own (its API key, its environment) are left out. Raises `InputError` with what the release
    cannot do.
    """
    version = Version(release)
    for rule in _table()["refuse"]:
        if _is_for(rule, version) and _is_refused(rule, profile, device):
            raise InputError(f"vLLM {release} cannot serve this: {rule['because']}")
    words: list[str] = []
    objects: dict[str, dict[str, Any]] = {}
    for key, rows in _table()["spelling"].items():
        if key not in profile:
            continue
        usable = [row for row in rows if device in row.get("devices", [device])]
        row = _row(key, usable, version, release, profile[key])
        if "field" in row:
            objects.setdefault(row["flag"], {}).update(
                {**row.get("also", {}), row["field"]: profile[key]}
            )
        else:
            words += _words(row, profile[key])
    for flag, value in objects.items():
        words += [flag, json.dumps(value, sort_keys=True)]
    return tuple(words)


def starts_by_ray(release: str, device: str) -> bool:
    """Whether it is Ray that starts this release on other hosts, instead of vLLM itself."""
    rows = [row for row in _table()["spelling"]["nodes"] if device in row.get("devices", [device])]
    return bool(_row("nodes", rows, Version(release), release, 2).get("ray", False))


def ray_words(rank: int, head: str, port: int, address: str | None) -> tuple[str, ...]:
    """The words that start Ray in the foreground, on the head at its `port` or on another host."""
    table = _table()["ray"]
    words = table["other" if rank else "first"]
    values = {"head": with_port(head, port), "address": address, "port": port}
    known = (word for word in words if address or "{address}" not in word)
    return (*(word.format(**values) for word in known), table["block"])


def check_ray(release: str | None, head: str) -> None:
    """Checks that a release of Ray reaches a head at this address. Raises `InputError`."""
    since = _table()["ray"]["ipv6-since"]
    if release and ":" in head and Version(release) < Version(since):
        raise InputError(
            f"Ray {release} has no IPv6, which {head} is: {since} has; give --head an IPv4 address"
        )


def ray_variables() -> dict[str, str]:
    """Further arguments of Ray's programs."""
    return dict(_table()["ray"]["variables"])


def in_background(words: Sequence[str]) -> tuple[str, ...]:
    """Ray's words for a shell, in which others follow."""
    return tuple(word for word in words if word != _table()["ray"]["block"])


def network_variables(
    release: str, device: str, address: str | None, interface: str | None
) -> dict[str, str]:
    """What sets, for this release and its libraries, by which address and interface others reach a host."""
    version = Version(release)
    values = {"address": address, "interface": interface}
    return {
        row["variable"]: row["value"].format(**values)
        for row in _table()["network"]
        if _is_for(row, version)
        and device in row.get("devices", [device])
        and not any(f"{{{name}}}" in row["value"] for name in values if not values[name])
    }


def check_arguments(arguments: Sequence[str], release: str) -> None:
    """Checks words of vLLM's own for flags that a `release` lacks. Raises `InputError`."""
    version = Version(release)
    for row in _table()["flag"]:
        if not _is_for(row, version):
            for word in arguments:
                if word.partition("=")[0] in row["names"]:
                    instead = row.get("instead", "")
                    hint = f"; it has {instead}" if _has(version, instead) else ""
                    raise InputError(f"vLLM {release} has no {word.partition('=')[0]}{hint}")


def _has(version: Version, words: str) -> bool:
    """Whether a release has every flag among the words."""
    rows = [row for row in _table()["flag"] if set(words.split()) & set(row["names"])]
    return bool(words) and all(_is_for(row, version) for row in rows)


def _row(key: str, rows: Sequence[Data], version: Version, release: str, value: object) -> Data:
    """The row of `rows` that says `value` in this release."""
    for row in rows:
        if _is_for(row, version):
            if _text(value) in row.get("values", ()):
                return row
            if "because" in row:
                raise InputError(f"vLLM {release} has no {key}: {row['because']}")
            if "values" in row:
                known = ", ".join(_firsts(rows, value)) or "no other release has"
                raise InputError(f"vLLM {release} has no {key} = {_text(value)}; {known}")
            return row
    raise InputError(f"vLLM {release} has no {key} that is known here")


def _firsts(rows: Iterable[Data], value: object) -> Iterator[str]:
    """From which release on `value` can be said."""
    for row in rows:
        if _text(value) in row.get("values", ()):
            yield f"{row['since']} has" if "since" in row else f"those before {row['before']} have"
            return


def _words(row: Data, value: object) -> list[str]:
    if "values" in row:
        return list(row["values"][_text(value)])
    return [word.replace("{}", _text(value)) for word in row["words"]]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_for(row: Data, version: Version) -> bool:
    return Version(row.get("since", "0")) <= version and (
        "before" not in row or version < Version(row["before"])
    )


def _is_refused(rule: Data, profile: Data, device: str) -> bool:
    unless = rule.get("unless", {})
    return (
        all(key in profile for key in rule.get("with", ()))
        and all(profile.get(key) == value for key, value in rule.get("when", {}).items())
        and not (unless and all(profile.get(key) == value for key, value in unless.items()))
        and device in rule.get("devices", [device])
    )


@cache
def _table() -> dict[str, Any]:
    return read_toml(Path(__file__).parent / "flags.toml")
