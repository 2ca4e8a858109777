"""Draws docs/demo.svg, the picture in README.md, from docs/demo.txt.

python -m docs.recording

The text is what `make demo` printed on a bare Debian 12; to record it anew, on such a machine:
`make demo | tee docs/demo.txt`.
"""

from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

RECORDING = Path(__file__).parent / "demo.txt"
PICTURE = RECORDING.with_suffix(".svg")
COLUMNS = 96
# GitHub's dark colours, which are readable on a light page too: the window has a ground of its own.
THEME = TerminalTheme(
    (13, 17, 23),
    (201, 209, 217),
    [
        *((139, 148, 158), (255, 123, 114), (63, 185, 80), (210, 153, 34)),
        *((88, 166, 255), (188, 140, 255), (57, 197, 207), (177, 186, 196)),
    ],
)
# rich's own asks another host for its font, which a picture may not.
FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img" xml:space="preserve">
<title>make demo</title>
<style>
.{unique_id}-matrix {{ font: {char_height}px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }}
.{unique_id}-title {{ font: bold 18px system-ui, sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def coloured(line: str) -> Text:
    """A line of the demo, with what one looks for first in colour."""
    text = Text(line)
    text.highlight_regex(r"^\$ .*", "bold")
    text.highlight_regex(r"^ *\d+ s +\.\.\. .*", "black")
    text.highlight_regex(r"^ *\d+ s(?=  )", "cyan")
    text.highlight_regex(r"^  (You|vLLM)(?=  )", "bold green")
    text.highlight_regex(r"#.*|^setup: .*|^ {8}\(.*", "black")
    return text


def picture(recording: str) -> str:
    """The recording as an SVG that loads nothing."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    for line in recording.splitlines():
        console.print(coloured(line), soft_wrap=False, no_wrap=True, overflow="ellipsis")
    return console.export_svg(
        title="vllm-nix", theme=THEME, code_format=FORMAT, unique_id="demo", font_aspect_ratio=0.602
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(RECORDING.read_text(encoding="utf-8")), encoding="utf-8")
