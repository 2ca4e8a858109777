"""All is in pyproject.toml, but for two faults of setuptools.

It would install what an earlier build has left, such as targets that are no more
(https://github.com/pypa/setuptools/issues/1871), and pack its archives with times and modes of the
checkout: here the same files give the same sdist.
"""

import gzip
import os
import shutil
import tarfile

from setuptools import setup
from setuptools.command.sdist import sdist

# The oldest time that a wheel, which is a zip file, can hold.
EPOCH = int(os.environ.setdefault("SOURCE_DATE_EPOCH", "315532800"))


class Sdist(sdist):
    def make_archive(self, base_name, format, root_dir=None, base_dir=None, **owners):
        if format != "gztar":
            return super().make_archive(base_name, format, root_dir, base_dir, **owners)
        file = f"{base_name}.tar.gz"
        with (
            open(file, "wb") as raw,  # noqa: PTH123
            gzip.GzipFile("", "wb", mtime=EPOCH, fileobj=raw) as packed,
            tarfile.open(mode="w", fileobj=packed) as archive,
        ):
            archive.add(base_dir, filter=_plain)
        return file


def _plain(member):
    member.mtime, member.uid, member.gid, member.uname, member.gname = EPOCH, 0, 0, "", ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


shutil.rmtree("build/lib", ignore_errors=True)
setup(cmdclass={"sdist": Sdist})
