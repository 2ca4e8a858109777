"""What the lock of a target holds that is compiled for the most part: wheels that go together, as one would
otherwise learn when all is compiled. Needs `vllm-nix fetch --system aarch64-linux debian jetson`; emulated, some
twenty minutes from nothing.
"""

import pytest

from tests.builds.test_vllm_source import PACKAGES
from tests.conftest import Nix, emulated

pytestmark = [pytest.mark.nix, pytest.mark.slow, emulated]

ASSEMBLED = f"""let {PACKAGES.replace("./nix/debian {", './nix/debian { system = "aarch64-linux";')}
  assemble = {{ environment, lockedWheels, target }}: environment {{
    inherit target;
    wheels = lockedWheels;
  }};
in vllmPackages.jetson.callPackage assemble {{ }}"""


def test_jetsons_locked_wheels_go_together(nix: Nix) -> None:
    options = ("--option", "extra-platforms", "aarch64-linux")
    result = nix("nix-build", "--no-out-link", *options, "--expr", ASSEMBLED)
    assert result.stdout.strip().endswith("-vllm-jetson")
