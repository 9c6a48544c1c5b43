"""How pictures are drawn: one palette, one kind of axes, labels at the things themselves.

A picture is drawn by matplotlib at one unit a pixel, once for a wide page, once for a phone and once as a PNG. In the
page it is SVG whose colours are the page's own variables, so that light, dark and print share one drawing. The
colours keep apart under the common kinds of colour blindness (after Okabe and Ito, and Paul Tol), and no meaning
rests on colour alone: lines and areas are named where they end. Nothing depends on the clock, on chance or on
the fonts of the machine, so the same numbers give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PIXELS_AN_INCH = 72
FONT = 12.0
"""Pixels, on wide and narrow sheets alike."""
NAMES = 190
"""Pixels on the right of a wide picture for the names of its lines."""
NAME_HEIGHT = 19

COLOURS = {
    "paper": "#fefefd",
    "ink": "#1c2228",
    "soft": "#5c6670",
    "rule": "#e2e5e8",
    "book": "#0b5fa5",
    "line-1": "#d5631c",
    "line-2": "#0a6650",
    "line-3": "#b064a4",
    "line-4": "#857310",
    "line-5": "#4a9cc4",
    "line-6": "#7d4b32",
    "area-1": "#4a78a8",
    "area-2": "#dcb45a",
    "area-3": "#3b8a72",
    "area-4": "#c8737c",
    "area-5": "#93c6de",
    "area-6": "#8c74b4",
    "area-7": "#b3b266",
    "area-8": "#a0664a",
    "area-9": "#a3b4bd",
    "cash": "#e1e4e7",
    "gain": "#2a6fb0",
    "loss": "#cf5f1f",
    "warn": "#b4430f",
    "touch": "#e7b797",
}
"""Light colours by role. No two roles may share one: in the page the SVG is recoloured by value."""
DARK = {
    "paper": "#14181c",
    "ink": "#e4e7ea",
    "soft": "#98a3ad",
    "rule": "#2a3137",
    "book": "#5fb0f2",
    "line-1": "#f0894a",
    "line-2": "#4fc3a1",
    "line-3": "#d79bcd",
    "line-4": "#d3c04f",
    "line-5": "#2f86b5",
    "line-6": "#b98364",
    "area-1": "#4677a8",
    "area-2": "#c29a45",
    "area-3": "#35806a",
    "area-4": "#b5626c",
    "area-5": "#7fb4cd",
    "area-6": "#7d66a6",
    "area-7": "#989750",
    "area-8": "#8c5940",
    "area-9": "#7d8f99",
    "cash": "#2b3238",
    "gain": "#4a94dc",
    "loss": "#e2762f",
    "warn": "#f0834a",
    "touch": "#7b4a30",
}
LINES = ("line-1", "line-2", "line-3", "line-4", "line-5", "line-6")
DASHES: tuple[tuple[float, ...] | None, ...] = (None, None, None, (5, 2), (2, 1.6), (7, 2, 1.5, 2))
"""Of the lines beside the book's: the first three need none."""
AREAS = tuple(f"area-{number}" for number in range(1, 10))

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": FONT,
    "svg.fonttype": "none",
    "path.simplify": True,
    "path.simplify_threshold": 0.4,
    "axes.unicode_minus": True,
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Sheet:
    """What a picture is drawn on."""

    width: int
    """Pixels."""
    title: str = ""
    """Set where no page says it: on the PNG."""

    @property
    def narrow(self) -> bool:
        return self.width < 600


WIDE, NARROW = Sheet(840), Sheet(360)


@dataclass(frozen=True)
class Picture:
    """One figure of the report."""

    name: str
    """Its file is `name`.png."""
    title: str
    caption: str
    """What it shows, with the numbers worth remembering; the text for those who cannot see it."""
    draw: Callable[[Sheet], Figure] | None
    """None when there is nothing to draw: the caption then says why."""

    def svg(self, sheet: Sheet) -> str:
        return _inline(self._figure(sheet), f"{self.name}-{'narrow' if sheet.narrow else 'wide'}")

    def write_png(self, folder: Path) -> Path:
        path = folder / f"{self.name}.png"
        path.write_bytes(self.png())
        return path

    def png(self, scale: float = 2.0) -> bytes:
        """With the title, at so many pixels for each unit."""
        written = io.BytesIO()
        with mpl.rc_context(_STYLE):
            figure = self._figure(Sheet(WIDE.width, self.title))
            dpi = scale * PIXELS_AN_INCH
            figure.savefig(written, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
        return written.getvalue()

    def _figure(self, sheet: Sheet) -> Figure:
        if self.draw is None:
            raise ValueError(f"figure {self.name} has nothing to draw: {self.caption}")
        with mpl.rc_context(_STYLE):
            return self.draw(sheet)


def panels(
    sheet: Sheet,
    heights: Sequence[int],
    *,
    left: int | Sequence[int] = 52,
    right: int = 16,
    names: int = 0,
    names_at: int = -1,
    above: int = 36,
) -> tuple[Figure, list[Axes]]:
    """A figure with one axes below the other, each of `heights` pixels high between fixed margins.

    On a narrow sheet there is room for `names` names below the axes number `names_at`. Margins are fixed, not fitted to
    the text, so that they depend on no font.
    """
    head = 34 if sheet.title else 0
    below = [26] * len(heights)
    below[names_at] += NAME_HEIGHT * names + 8 if sheet.narrow and names else 0
    height = head + sum(heights) + above * len(heights) + sum(below)
    figure = Figure(figsize=(sheet.width / PIXELS_AN_INCH, height / PIXELS_AN_INCH), dpi=PIXELS_AN_INCH)
    FigureCanvasAgg(figure)
    if sheet.title:
        figure.text(8 / sheet.width, 1 - 22 / height, sheet.title, fontsize=14, fontweight="bold", color=COLOURS["ink"])
    top, made = height - head, []
    lefts = [left] * len(heights) if isinstance(left, int) else left
    for each, start, room in zip(heights, lefts, below, strict=True):
        box = (start / sheet.width, (top - above - each) / height)
        axes = figure.add_axes((*box, (sheet.width - start - right) / sheet.width, each / height))
        _quiet(axes)
        made.append(axes)
        top -= above + each + room
    return figure, made


def _quiet(axes: Axes) -> None:
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(COLOURS["soft"])
    axes.spines["bottom"].set_linewidth(0.8)
    axes.grid(axis="y", color=COLOURS["rule"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="both", length=0, labelsize=FONT, labelcolor=COLOURS["soft"], pad=5)
    axes.tick_params(axis="x", length=3, color=COLOURS["soft"], width=0.8)


_COORDINATES = re.compile(r' (?:d|x|y|points)="[^"]*"|(?:translate|rotate)\([^)]*\)')
_LONG_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_FONT = re.compile(r"(font: (?:bold )?[\d.]+px) [^;\"]+")
_UNREFERENCED_ID = re.compile(r'<g id="[^"]*"')


def _inline(figure: Figure, name: str) -> str:
    """The figure as SVG that may stand in a page: page colours, page fonts, ids of its own, no outside address."""
    buffer = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text, count=1)
    text = _UNREFERENCED_ID.sub("<g", text)
    text = _FONT.sub(r"\1 var(--sans)", text)
    text = _COORDINATES.sub(lambda part: _LONG_NUMBER.sub(_short, part[0]), text)
    for role, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{role})")
    return re.sub(r"\s*\n\s*", "\n", text).strip()


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")
