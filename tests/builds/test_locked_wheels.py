"""What the lock of a target holds that is compiled for the most part: wheels that go together, as one would
otherwise learn when all is compiled. Needs `vllm-nix fetch --system aarch64-linux debian jetson
jetson_0_13`; emulated, some twenty minutes each from nothing.
"""

import pytest

from tests.builds.test_vllm_source import PACKAGES
from tests.conftest import Nix, emulated

pytestmark = [pytest.mark.nix, pytest.mark.slow, emulated]

ASSEMBLED = f"""target: let {PACKAGES.replace("./nix/debian {", './nix/debian { system = "aarch64-linux";')}
  assemble = {{ environment, lockedWheels, target }}: environment {{
    inherit target;
    wheels = lockedWheels;
  }};
in vllmPackages.${{target}}.callPackage assemble {{ }}"""


@pytest.mark.parametrize("target", ["jetson", "jetson_0_13"])
def test_jetsons_locked_wheels_go_together(nix: Nix, target: str) -> None:
    options = ("--option", "extra-platforms", "aarch64-linux")
    expression = f'({ASSEMBLED}) "{target}"'
    result = nix("nix-build", "--no-out-link", *options, "--expr", expression)
    assert result.stdout.strip().endswith(f"-vllm-{target}")
