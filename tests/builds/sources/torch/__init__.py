"""As much of torch as configuring an extension looks at."""

from types import SimpleNamespace

from torch import utils as utils

__version__ = "2.5.1"
version = SimpleNamespace(cuda="13.2", hip=None, xpu=None)
cuda = SimpleNamespace(device_count=lambda: 0)
_C = SimpleNamespace(_GLIBCXX_USE_CXX11_ABI=True)
