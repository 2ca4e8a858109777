"""The target files, the embedded base's locks, the packages' sources: links, copied in when packaged."""

from pathlib import Path

TARGETS = Path(__file__).parent / "targets"
DEBIAN = Path(__file__).parent / "debian"
PACKAGES = Path(__file__).parent / "packages"
