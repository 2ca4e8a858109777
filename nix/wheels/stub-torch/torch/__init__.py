"""What vLLM's setup.py asks torch before it builds anything."""

from types import SimpleNamespace

version = SimpleNamespace(cuda=None, hip=None, xpu=None)
_C = SimpleNamespace(_GLIBCXX_USE_CXX11_ABI=True)
