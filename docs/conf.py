"""The documents as a site: `nix build .#docs`. Sphinx reads this; every warning fails the build."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "python/src"))

import vllm_nix

project = "vllm-nix"
copyright = "the vllm-nix maintainers"
version = release = vllm_nix.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinxarg.ext"]
# Headings get the anchors that GitHub gives them, which the documents link to.
myst_heading_anchors = 6
exclude_patterns = ["_build"]

smartquotes = False  # `--option` is not a dash
default_role = "code"  # docstrings write `names` as Markdown does
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = "vllm-nix"
html_extra_path = ["wheels-by-library.html"]
html_copy_source = html_show_sourcelink = False
_fonts = {
    "font-stack": "system-ui, sans-serif",
    "font-stack--monospace": "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace",
}
html_theme_options = {"light_css_variables": _fonts, "dark_css_variables": _fonts}
