"""Pages in a real browser, at several widths, in both colour schemes: what it makes of them, measured.

The measuring page has each page in a frame of its own, so that their policy holds as it does elsewhere.
"""

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from typing import Any

WIDTHS, SCHEMES = (360, 1280), ("light", "dark")

# Of each element with text of its own: its contrast with what is behind it (WCAG 2.2, "contrast ratio").
_MEASURE = """
const channels = colour => colour.match(/[0-9.]+/g).map(Number);
const luminance = colour => channels(colour).slice(0, 3)
  .map(one => one / 255).map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
  .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
const behind = (element, view) => {
  for (let one = element; one; one = one.parentElement) {
    const colour = view.getComputedStyle(one).backgroundColor;
    if ((channels(colour)[3] ?? 1) > 0) return colour;
  }
  return "rgb(255, 255, 255)";
};
const measure = frame => {
  const view = frame.contentWindow, page = frame.contentDocument, ratios = [];
  const closed = page.documentElement.scrollWidth;
  for (const one of page.querySelectorAll("details")) { one.removeAttribute("name"); one.open = true; }
  for (const element of page.body.querySelectorAll("*")) {
    if (![...element.childNodes].some(one => one.nodeType === 3 && one.data.trim())) continue;
    if (["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const style = view.getComputedStyle(element);
    const [light, dark] = [luminance(style.color), luminance(behind(element, view))].sort((a, b) => b - a);
    ratios.push([(light + 0.05) / (dark + 0.05), element.tagName, element.className]);
  }
  ratios.sort((a, b) => a[0] - b[0]);
  return {
    width: closed, opened: page.documentElement.scrollWidth, contrast: ratios[0], texts: ratios.length,
    background: view.getComputedStyle(page.body).backgroundColor, text: page.body.innerText,
    buttons: page.querySelectorAll("button").length,
    loaded: view.performance.getEntriesByType("resource").map(one => one.name),
    alerts: view.injected ?? null,
    narrowest: Math.min(...[...page.querySelectorAll("caption, h1, h2, .verdict")].map(one => one.offsetWidth)),
  };
};
addEventListener("load", () => {
  const found = {};
  for (const frame of document.querySelectorAll("iframe")) found[frame.id] = measure(frame);
  document.body.innerHTML = "";
  document.body.append(Object.assign(document.createElement("pre"), {textContent: JSON.stringify(found)}));
});
"""


@dataclass(frozen=True)
class Seen:
    """What the browser made of a page in a frame."""

    width: int
    opened: int
    contrast: tuple[float, str, str]
    texts: int
    background: str
    text: str
    buttons: int
    loaded: list[str]
    alerts: object
    narrowest: int


def look(browser: str, pages: Mapping[str, str], folder: Path) -> dict[str, Seen]:
    """By name, width and scheme, as in "archs 360 dark"; without scripts, "archs still"."""
    frames = [
        _frame(f"{name} {width} {scheme}", page, width, scheme, "allow-same-origin allow-scripts")
        for name, page in pages.items()
        for width in WIDTHS
        for scheme in SCHEMES
    ]
    frames += [
        _frame(f"{name} still", page, 360, "light", "allow-same-origin")
        for name, page in pages.items()
    ]
    measuring = folder / "measuring.html"
    measuring.write_text(
        f"<!doctype html><meta charset=utf-8><body>{''.join(frames)}<script>{_MEASURE}</script>"
    )
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}"]
    command += ["--disable-background-networking", "--dump-dom", measuring.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    answer = re.search("<pre>(.*)</pre>", done.stdout, re.DOTALL)
    assert answer, done.stderr
    found: dict[str, Any] = json.loads(unescape(answer[1]))
    return {name: Seen(**seen) for name, seen in found.items()}


def _frame(name: str, page: str, width: int, scheme: str, sandbox: str) -> str:
    style = f"width:{width}px;height:900px;border:0;color-scheme:{scheme}"
    return (
        f'<iframe id="{name}" style="{style}" sandbox="{sandbox}" srcdoc="{escape(page)}"></iframe>'
    )
