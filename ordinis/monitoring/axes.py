"""Axes of the report's pictures: dates, percent, named rows, bars by period, and names where lines end.

Everything is placed in pixels of the sheet or in data, never by the size of a text, so that no picture depends on the
fonts of a machine.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ordinis.monitoring import wording
from ordinis.monitoring.drawing import COLOURS, FONT, NAME_HEIGHT, Sheet
from ordinis.ports import FloatArray

FEW_SESSIONS = 10
"""Up to here every session has its tick."""


def unit(axes: Axes, text: str) -> None:
    """Say above the axis what it measures, where one reads first; nothing is turned on its side."""
    axes.annotate(
        text, (0, 1), (8 - axes.bbox.x0, 13), xycoords="axes fraction", textcoords="offset points",
        color=COLOURS["soft"], fontsize=FONT,
    )  # fmt: skip


def days(sessions: Sequence[date]) -> FloatArray:
    """Dates as numbers of an axis `by_date`."""
    return np.asarray(date2num(list(sessions)), dtype=np.float64)  # type: ignore[no-untyped-call]


def by_date(axes: Axes, sessions: Sequence[date], narrow: bool) -> FloatArray:
    """Make the x axis one of dates from the first to the last of two or more sessions; return them as its numbers."""
    numbers = days(sessions)
    if len(numbers) <= FEW_SESSIONS:
        step = 2 if narrow and len(numbers) > 5 else 1
        axes.set_xticks(numbers[::step], [f"{session:%b} {session.day}" for session in sessions[::step]])
    else:
        locator = AutoDateLocator(minticks=3 if narrow else 5, maxticks=5 if narrow else 10)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))  # type: ignore[no-untyped-call]
    axes.set_xlim(numbers[0], numbers[-1])
    return numbers


def percent_axis(axes: Axes, which: Literal["x", "y"] = "y") -> None:
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_formatter(lambda value, _: wording.signed(f"{round(100 * value, 6):g} %"))


def named_rows(axes: Axes, names: Sequence[str], values: Sequence[str]) -> None:
    """Rows 0, 1, ... from the top, with a name on the left and what it comes to on the right; no grid but the zero."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
    axes.grid(visible=False)
    axes.grid(axis="x", color=COLOURS["rule"], linewidth=0.8)
    for row, value in enumerate(values):
        axes.annotate(
            value, (1, row), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center_baseline", color=COLOURS["ink"], fontsize=FONT,
        )  # fmt: skip


def bars(axes: Axes, edges: FloatArray, heights: FloatArray, colour: str, base: float = 0.0) -> None:
    """Bars between K + 1 edges as one shape: a long history has thousands."""
    gap = 0.12 * np.diff(edges)
    left, right = edges[:-1] + gap, edges[1:] - gap
    x = np.column_stack([left, left, right, right]).ravel()
    floor = np.full(len(heights), base)
    y = np.column_stack([floor, base + heights, base + heights, floor]).ravel()
    axes.fill(x, y, color=COLOURS[colour], linewidth=0)


@dataclass(frozen=True)
class Periods:
    """Sessions gathered into weeks, months or quarters, so that a long history stays readable."""

    word: str
    starts: NDArray[np.intp]
    """(K,) row of the first session of each."""
    edges: FloatArray
    """(K + 1,) on an axis `by_date`."""

    def sums(self, values: FloatArray) -> FloatArray:
        """(K,) of (T,) values."""
        return np.asarray(np.add.reduceat(values, self.starts), dtype=np.float64)


def periods(sessions: Sequence[date]) -> Periods:
    """Sessions themselves up to about a quarter, weeks up to two years, months up to twelve, then quarters."""
    count = len(sessions)
    if count <= 70:
        word, keys = "session", list(range(count))
    elif count <= 504:
        word, keys = "week", [session.toordinal() // 7 for session in sessions]
    elif count <= 12 * 252:
        word, keys = "month", [12 * session.year + session.month for session in sessions]
    else:
        word, keys = "quarter", [4 * session.year + (session.month - 1) // 3 for session in sessions]
    starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
    ends = days(sessions)
    return Periods(word, starts, np.append(ends[starts], ends[-1] + 1.0))


def thinned(count: int, most: int) -> NDArray[np.intp]:
    """At most about `most` of the rows 0 to count - 1, evenly, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


@dataclass(frozen=True)
class Name:
    """The name of a line or an area, and the key that goes with it."""

    y: float
    """Where it ends, in data."""
    text: str
    colour: str
    """A role."""
    dash: tuple[float, ...] | None = None
    area: bool = False


def name_ends(axes: Axes, names: Sequence[Name], sheet: Sheet) -> None:
    """Name each line where it ends; on a phone, in rows below the axes, for which `panels` makes room."""
    if sheet.narrow:
        for number, name in enumerate(names):
            _name(axes, name, -axes.bbox.x0 + 8, -40 - NAME_HEIGHT * number, [name.text])
        return
    wrapped = [textwrap.wrap(name.text, 24) or [""] for name in names]
    ends = [float(axes.transData.transform((axes.get_xlim()[1], name.y))[1] - axes.bbox.y0) for name in names]
    places = spread(ends, [14.0 * len(lines) + 4 for lines in wrapped], axes.bbox.height)
    for name, lines, place in zip(names, wrapped, places, strict=True):
        _name(axes, name, axes.bbox.width + 8, place, lines)


def _name(axes: Axes, name: Name, x: float, y: float, lines: Sequence[str]) -> None:
    """Key and text at pixels counted from the lower left corner of the axes."""
    figure, colour = axes.figure, COLOURS[name.colour]
    width, height = figure.bbox.width, figure.bbox.height
    x, y = x + axes.bbox.x0, y + axes.bbox.y0
    key = Line2D(
        [x / width, (x + (10 if name.area else 18)) / width], [y / height, y / height], color=colour,
        linewidth=10 if name.area else 2.0, linestyle=(0, name.dash) if name.dash else "-", solid_capstyle="butt",
    )  # fmt: skip
    figure.add_artist(key)
    shift = 7.0 * (len(lines) - 1)
    for number, line in enumerate(lines):
        at = ((x + (16 if name.area else 24)) / width, (y + shift - 14 * number) / height)
        figure.text(*at, line, va="center_baseline", color=COLOURS["ink"], fontsize=FONT)


def spread(wanted: Sequence[float], heights: Sequence[float], room: float) -> list[float]:
    """Places as near to `wanted` as they can be without overlap, between 0 and `room` where that is enough.

    Labels that would overlap form a block around the mean of where they want to be.
    """
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], i))
    blocks: list[tuple[float, float, list[int]]] = []
    for i in order:
        centre, height, members = min(max(wanted[i], heights[i] / 2), room - heights[i] / 2), heights[i], [i]
        while blocks and blocks[-1][0] + blocks[-1][1] / 2 > centre - height / 2:
            below, tall, others = blocks.pop()
            centre = (below * len(others) + centre * len(members)) / (len(others) + len(members))
            height, members = height + tall, others + members
            centre = max(min(centre, room - height / 2), height / 2)
        blocks.append((centre, height, members))
    places = [0.0] * len(wanted)
    for centre, height, members in blocks:
        at = centre - height / 2
        for i in members:
            places[i] = at + heights[i] / 2
            at += heights[i]
    return places
