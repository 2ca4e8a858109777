# What `import torch` imports, from the base: for builds that need torch, not for environments, whose own
# wheels are locked.
packages: [
  packages.filelock
  packages.fsspec
  packages.jinja2
  packages.networkx
  packages.sympy
  packages.typing-extensions
]
