"""Pictures of performance: growth, drawdown, rolling Sharpe ratio, months."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from ordinis.evaluation import statistics
from ordinis.monitoring.axes import Name, by_date, days, name_ends, percent_axis, unit
from ordinis.monitoring.drawing import COLOURS, DASHES, FONT, LINES, NAMES, Picture, Sheet, panels
from ordinis.monitoring.report_data import ReportData, Track
from ordinis.monitoring.wording import number, percent, plural
from ordinis.ports import FloatArray

LOG_FROM = 3.0
"""A path that spans more than this factor is drawn on a logarithmic scale."""
WINDOWS = ((252, "year"), (126, "six months"), (63, "three months"), (21, "month"))
NAME_ROOM = 30
"""Pixels of height for each name beside a picture: two lines of text."""
MOST_TOLD = 4
"""Baselines whose numbers a caption tells; the table at the top has them all."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def performance_pictures(data: ReportData) -> Iterator[Picture]:
    yield growth(data)
    yield drawdown(data)
    yield rolling_sharpe(data)
    yield monthly_returns(data)


def growth(data: ReportData) -> Picture:
    logarithmic = _spans(data) > LOG_FROM
    told = data.tracks if len(data.baselines) <= MOST_TOLD else (data.book,)
    last = "; ".join(f"{track.name}: {number(float(track.growth[-1]), 1)}" for track in told if len(track.returns))
    scale = "Logarithmic scale. " if logarithmic else ""
    caption = f"{scale}100 invested at the first open was worth at the last close: {last}."

    def draw(sheet: Sheet) -> Figure:
        figure, axes = _line_panel(data, sheet, 300)
        unit(axes, "Value of 100")
        names = []
        for place, track in _drawn(data):
            axes.plot(*_path(track, 100.0, track.growth), **_pen(place, track, sheet))
            names.append(_name(place, track, float(track.growth[-1])))
        if logarithmic:
            _logarithmic(axes)
        else:
            axes.axhline(100.0, color=COLOURS["soft"], linewidth=0.8)
        name_ends(axes, sorted(names, key=lambda name: name.colour != "book"), sheet)
        return figure

    return Picture("equity", "Growth of 100", caption, draw)


def drawdown(data: ReportData) -> Picture:
    fall = data.book.drawdown
    deepest = int(fall.argmax())
    recovered = np.flatnonzero(data.book.growth[deepest:] >= data.book.growth[: deepest + 1].max(initial=100.0))
    caption = f"The book never fell below an earlier high in {plural(len(fall), 'session')}."
    if fall[deepest] > 0:
        back = f"regained on {data.sessions[deepest + recovered[0]]}" if len(recovered) else "not regained yet"
        caption = f"The book's deepest fall from a high: {percent(fall[deepest])}, on {data.sessions[deepest]}; {back}."
    if 0 < len(data.baselines) <= MOST_TOLD:
        others = "; ".join(f"{t.name}: {percent(float(t.drawdown.max(initial=0.0)))}" for t in data.baselines)
        caption += f" Others at their deepest: {others}."

    def draw(sheet: Sheet) -> Figure:
        figure, axes = _line_panel(data, sheet, 220)
        unit(axes, "Below the highest value so far")
        names = []
        for place, track in _drawn(data):
            path = _path(track, 0.0, -track.drawdown)
            if track is data.book:
                axes.fill_between(*path, color=COLOURS["book"], alpha=0.16, linewidth=0)
            axes.plot(*path, **_pen(place, track, sheet))
            names.append(_name(place, track, float(-track.drawdown[-1])))
        axes.set_ylim(top=0.0)
        percent_axis(axes)
        name_ends(axes, sorted(names, key=lambda name: name.colour != "book"), sheet)
        return figure

    return Picture("drawdown", "Drawdown", caption, draw)


def rolling_sharpe(data: ReportData) -> Picture:
    count = len(data.sessions)
    fitting = [(window, words) for window, words in WINDOWS if 3 * window <= 2 * count]
    if not fitting:
        least = 3 * WINDOWS[-1][0] // 2
        why = f"Not drawn: {plural(count, 'session')} of history; the shortest window used needs {least}."
        return Picture("rolling-sharpe", "Rolling Sharpe ratio", why, None)
    window, words = fitting[0]
    caption = f"Sharpe ratio a year, of the {words} up to each session; no risk-free rate is taken off."
    if window != WINDOWS[0][0]:
        caption += f" The window is this short because {count} sessions are too few for a year's."

    def draw(sheet: Sheet) -> Figure:
        figure, axes = _line_panel(data, sheet, 220)
        unit(axes, f"Sharpe ratio, rolling {window} sessions")
        axes.axhline(0.0, color=COLOURS["soft"], linewidth=0.8)
        names = []
        for place, track in _drawn(data):
            ratio = statistics.rolling_sharpe(track.returns, window)
            axes.plot(days(track.sessions), ratio, **_pen(place, track, sheet))
            known = ratio[np.isfinite(ratio)]
            if len(known):
                names.append(_name(place, track, float(known[-1])))
        name_ends(axes, sorted(names, key=lambda name: name.colour != "book"), sheet)
        return figure

    return Picture("rolling-sharpe", "Rolling Sharpe ratio", caption, draw)


def monthly_returns(data: ReportData) -> Picture:
    table = months(data.book)
    whole = table[np.isfinite(table[:, :12]).any(axis=1)]
    known = whole[:, :12][np.isfinite(whole[:, :12])]
    caption = (
        f"Return of the book by calendar month and year, in percent; {np.sum(known > 0)} of "
        f"{plural(len(known), 'month')} gained, the best {percent(float(known.max()))}, the worst "
        f"{percent(float(known.min()))}. The first and the last month may be partial."
    )
    first = data.sessions[0].year

    def draw(sheet: Sheet) -> Figure:
        row, left = (27, 46) if not sheet.narrow else (25, 38)
        figure, (axes,) = panels(sheet, [row * len(table)], left=left, right=8, above=32)
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        strongest = max(float(np.abs(known).max()), 1e-9)
        for (line, month), value in np.ndenumerate(table):
            if not np.isfinite(value):
                continue
            if month < 12:
                shade = COLOURS["gain" if value >= 0 else "loss"]
                strength = 0.06 + 0.62 * abs(value) / strongest
                cell = Rectangle((month + 0.03, line + 0.05), 0.94, 0.9, color=shade, alpha=strength, linewidth=0)
                axes.add_patch(cell)
            text = number(100 * value, 0 if sheet.narrow else 1)
            weight = "bold" if month == 12 else "normal"
            axes.text(
                month + 0.5 + (0.15 if month == 12 else 0.0), line + 0.52, text, ha="center", va="center_baseline",
                fontsize=10.5 if sheet.narrow else FONT, color=COLOURS["ink"], fontweight=weight,
            )  # fmt: skip
        axes.set_xlim(0, 13.3)
        axes.set_ylim(len(table), 0)
        names = [month[0] if sheet.narrow else month for month in MONTHS]
        axes.set_xticks([*(np.arange(12) + 0.5), 12.65], [*names, "Year"])
        axes.set_yticks(np.arange(len(table)) + 0.5, [str(first + line) for line in range(len(table))])
        axes.tick_params(axis="x", length=0, labeltop=True, labelbottom=False)
        return figure

    return Picture("monthly-returns", "Monthly returns", caption, draw)


def months(track: Track) -> FloatArray:
    """(years, 13) compound return of each calendar month, and of the year last; NaN where there is no session."""
    first, last = track.sessions[0].year, track.sessions[-1].year
    grown = np.ones((last - first + 1, 13))
    seen = np.zeros(grown.shape, dtype=bool)
    for session, value in zip(track.sessions, track.returns, strict=True):
        for column in (session.month - 1, 12):
            grown[session.year - first, column] *= 1.0 + value
            seen[session.year - first, column] = True
    return np.where(seen, grown - 1.0, np.nan)


def _line_panel(data: ReportData, sheet: Sheet, height: int) -> tuple[Figure, Axes]:
    right = 16 if sheet.narrow else NAMES
    if not sheet.narrow:
        height = max(height, NAME_ROOM * len(data.tracks))
    figure, (axes,) = panels(sheet, [height], right=right, names=len(data.tracks))
    by_date(axes, data.sessions, sheet.narrow)
    return figure, axes


def _drawn(data: ReportData) -> list[tuple[int, Track]]:
    """Tracks with their place in the palette, the book last so that it lies on top."""
    numbered = [(place, track) for place, track in enumerate(data.tracks) if len(track.returns)]
    return [*numbered[1:], numbered[0]]


def _path(track: Track, opening: float, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A line that starts at its opening value: the first session's close is no start."""
    return days([track.sessions[0], *track.sessions]), np.concatenate([[opening], values])


def _style(place: int) -> tuple[str, tuple[float, ...] | None]:
    """Colour and dash; place 0 is the book's, and after six others the colours come again, dotted."""
    if place == 0:
        return "book", None
    again, which = divmod(place - 1, len(LINES))
    return LINES[which], (1.0, 1.4) if again else DASHES[which]


def _pen(place: int, track: Track, sheet: Sheet) -> dict[str, Any]:
    colour, dash = _style(place)
    fine = sheet.narrow or len(track.sessions) > 4 * statistics.SESSIONS_A_YEAR
    return {
        "color": COLOURS[colour],
        "linewidth": (2.2 if place == 0 else 1.2) * (0.72 if fine else 1.0),
        "linestyle": (0, dash) if dash else "-",
        "solid_joinstyle": "round",
    }


def _name(place: int, track: Track, end: float) -> Name:
    colour, dash = _style(place)
    return Name(end, track.name, colour, dash)


def _spans(data: ReportData) -> float:
    return max(float(t.growth.max(initial=100.0) / t.growth.min(initial=100.0)) for t in data.tracks)


def _logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    steps = [step * 10.0**power for power in range(-3, 9) for step in (1, 2, 5)]
    axes.yaxis.set_major_locator(FixedLocator([step for step in steps if low <= step <= high]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
