# Type: AttrSet -> [ Derivation ]
# What the library's tests import, of a base's Python packages; pyelftools is compared with where it is there.
packages: [
  packages.hypothesis
  packages.installer
  packages.packaging
  packages.pytest
  packages.rich
  packages.setuptools
  packages.tomli-w
  packages.wheel
]
