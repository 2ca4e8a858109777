"""A host that others log in to, with keys of their own."""

import base64
import subprocess
from pathlib import Path

from tests.fleet.hosts import Host, need

SSHD = """
HostKey {home}/host
AuthorizedKeysFile {home}/client.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
# Not root's own here, where Nix remembers what caches of this name had.
SetEnv XDG_CACHE_HOME={home}/.cache
"""


class Builder:
    """An ssh server; `line` is how a client's `builders` names it, host key included."""

    def __init__(self, host: Host) -> None:
        need("sshd", "ssh", "ssh-keygen")
        self.host = host
        self.key = make_key(host.home / "client")
        make_key(host.home / "host")
        host.run("mkdir", "/run/sshd")
        config = host.write("sshd_config", SSHD.format(home=host.home))
        host.start("/usr/sbin/sshd", "-D", "-e", "-f", config)
        host.reach("127.0.0.1", 22)

    def line(
        self,
        scheme: str = "ssh",
        systems: str = "x86_64-linux",
        features: str = "-",
        key: Path | None = None,
        host_key: Path | None = None,
    ) -> str:
        public = (host_key or self.host.home / "host").with_suffix(".pub")
        known = base64.b64encode(public.read_bytes()).decode()
        place = f"{scheme}://root@{self.host.name}"
        return f"{place} {systems} {key or self.key} 2 1 {features} - {known}"


def make_key(path: Path) -> Path:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(words, check=True)
    return path
