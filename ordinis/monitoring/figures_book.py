"""Pictures of the book: what it held, and how that stood against its limits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ordinis.monitoring.axes import Name, bars, by_date, name_ends, named_rows, percent_axis, periods, thinned, unit
from ordinis.monitoring.drawing import AREAS, COLOURS, FONT, NAMES, Picture, Sheet, panels
from ordinis.monitoring.report_data import Effect, ReportData
from ordinis.monitoring.wording import percent, plural
from ordinis.ports import FloatArray

AREA_POINTS = 300
"""Points along a stacked area: one every two pixels."""
CAP = (5.0, 2.0)
DECIDED = (2.0, 1.6)


def book_pictures(data: ReportData) -> Iterator[Picture]:
    yield weights(data)
    yield exposures(data)
    yield limits(data)


def weights(data: ReportData) -> Picture:
    """By symbol while they are few, else by sector; cash on top."""
    if not data.symbols:
        return Picture("weights", "Weights over time", "Not drawn: nothing was decided or held.", None)
    few = len(data.symbols) < len(AREAS)
    groups = _largest(dict(zip(data.symbols, data.weights.T, strict=True)) if few else data.by_sector())
    cash = data.cash / data.equity if data.weights_are_held else 1.0 - data.weights.sum(axis=1)
    parts = [*zip(groups, groups.values(), AREAS, strict=False), ("cash", cash, "cash")]
    now = ", ".join(f"{name} {percent(path[-1])}" for name, path, _ in parts if abs(path[-1]) >= 0.0005)
    what = "held at each close" if data.weights_are_held else "last decided"
    caption = f"Share of equity {what}, by {'symbol' if few else 'sector'}. At the end: {now}."

    def draw(sheet: Sheet) -> Figure:
        figure, (axes,) = panels(sheet, [300], right=16 if sheet.narrow else NAMES, names=len(parts))
        unit(axes, "Share of equity")
        rows = thinned(len(data.sessions), AREA_POINTS)
        x = by_date(axes, data.sessions, sheet.narrow)[rows]
        floor, names = np.zeros(len(rows)), []
        for name, path, colour in parts:
            top = floor + path[rows]
            axes.fill_between(x, floor, top, color=COLOURS[colour], linewidth=0)
            names.append(Name(float(floor[-1] + top[-1]) / 2, name, colour, area=True))
            floor = top
        axes.set_ylim(0.0, max(1.0, float(floor.max())))
        axes.grid(visible=False)
        percent_axis(axes)
        name_ends(axes, names[::-1] if sheet.narrow else names, sheet)
        return figure

    return Picture("weights", "Weights over time", caption, draw)


def _largest(groups: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """As many groups as there are colours, the largest on average first, the rest in one."""
    ordered = sorted(groups.items(), key=lambda item: (-float(item[1].sum()), item[0]))
    if len(ordered) <= len(AREAS):
        return dict(ordered)
    shown, rest = ordered[: len(AREAS) - 1], ordered[len(AREAS) - 1 :]
    return {**dict(shown), f"{len(rest)} others": np.sum([path for _, path in rest], axis=0)}


def exposures(data: ReportData) -> Picture:
    sectors, cap = data.by_sector(), float(data.gross_cap[-1])
    against = f"against a cap of {percent(cap)}" if np.isfinite(cap) else "the ledger names no cap"
    highest = f"highest {percent(data.gross.max())} on {data.sessions[int(data.gross.argmax())]}"
    caption = f"Invested at the last close: {percent(data.gross[-1])} of equity, {against}; {highest}."
    if sectors:
        caption += " Sectors: the bar is the last close, the thin line the range over the period."
    above = [f"{name} on {plural(count, 'session')} ({percent(most)})" for name, count, most in data.above_caps()]
    if above:
        caption += f" Above its cap at a close, and at most: {'; '.join(above)}."

    def draw(sheet: Sheet) -> Figure:
        names = [Name(float(data.gross[-1]), "held at the close", "book")]
        if np.isfinite(data.decided[-1]):
            names.append(Name(float(data.decided[-1]), "decided", "line-1", DECIDED))
        if np.isfinite(cap):
            names.append(Name(cap, "cap", "warn", CAP))
        heights = [190, 24 * len(sectors)] if sectors else [190]
        lefts = [52, 142 if sheet.narrow else 170]
        figure, made = panels(
            sheet, heights, left=lefts[: len(heights)], right=60 if sheet.narrow else NAMES,
            names=len(names), names_at=0,
        )  # fmt: skip
        axes = made[0]
        unit(axes, "Gross exposure, share of equity")
        x = by_date(axes, data.sessions, sheet.narrow)
        step: dict[str, Any] = {"drawstyle": "steps-post"}
        axes.plot(x, data.gross_cap, color=COLOURS["warn"], linewidth=1.4, linestyle=(0, CAP), **step)
        axes.plot(x, data.decided, color=COLOURS["line-1"], linewidth=1.2, linestyle=(0, DECIDED), **step)
        axes.plot(x, data.gross, color=COLOURS["book"], linewidth=2.0)
        axes.set_ylim(0.0, 1.05 * max(1.0, float(data.gross.max())))
        percent_axis(axes)
        name_ends(axes, names, sheet)
        if sectors:
            _sector_bars(made[1], sectors, float(data.sector_cap[-1]))
        return figure

    return Picture("exposures", "Exposures against their caps", caption, draw)


def _sector_bars(axes: Axes, sectors: dict[str, FloatArray], cap: float) -> None:
    unit(axes, "By sector, share of equity")
    last = [float(path[-1]) for path in sectors.values()]
    axes.barh(range(len(sectors)), last, height=0.56, color=COLOURS["book"], linewidth=0)
    for row, path in enumerate(sectors.values()):
        axes.plot([float(path.min()), float(path.max())], [row, row], color=COLOURS["ink"], linewidth=1.0)
    named_rows(axes, list(sectors), [percent(value) for value in last])
    widest = max(0.05, *(float(path.max()) for path in sectors.values()))
    if np.isfinite(cap):
        widest = max(widest, cap)
        axes.axvline(cap, color=COLOURS["warn"], linewidth=1.4, linestyle=(0, CAP))
        axes.annotate(
            f"cap {percent(cap, 0)}", (cap, 1), (0, 6), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="center", color=COLOURS["warn"], fontsize=FONT,
        )  # fmt: skip
    axes.set_xlim(0.0, 1.03 * widest)
    percent_axis(axes, "x")


def _times(cut: int, bound: int) -> str:
    return ", ".join(f"{word} {count:,}" for word, count in (("cut", cut), ("bound", bound)) if count)


def limits(data: ReportData) -> Picture:
    """One row a rule: the share of each period's sessions in which it cut (dark) or only bound (light)."""
    valued = set(data.sessions)
    events = [event for event in data.limit_events if event.session in valued]
    if not events:
        why = "no limit bound, cut or denied anything" if data.decisions else "there are no decisions"
        return Picture("limits", "Limits that bound", f"Not drawn: {why}.", None)
    acted = {(event.rule, event.session) for event in events}
    cut = {(event.rule, event.session) for event in events if event.effect in (Effect.CUT, Effect.DENIED)}
    count = {rule: (sum(r == rule for r, _ in cut), sum(r == rule for r, _ in acted - cut)) for rule, _ in acted}
    rules = sorted(count, key=lambda rule: (-count[rule][0], -count[rule][1], rule))
    gathered = periods(data.sessions)
    told = "; ".join(f"{rule} {_times(*count[rule])}" for rule in rules)
    height = "" if gathered.word == "session" else f" A bar as high as its row is a {gathered.word} of such sessions."
    caption = f"Sessions in which a limit cut or denied something, or in which a decision sat on it: {told}.{height}"
    lengths = gathered.sums(np.ones(len(data.sessions)))

    def share(of: set[tuple[str, date]], rule: str) -> FloatArray:
        return gathered.sums(np.array([(rule, session) in of for session in data.sessions], dtype=np.float64)) / lengths

    def draw(sheet: Sheet) -> Figure:
        height, full, left = (44, 0.56, 16) if sheet.narrow else (34, 0.78, 128)
        right = 16 if sheet.narrow else NAMES
        figure, (axes,) = panels(sheet, [height * len(rules)], left=left, right=right, names=2, above=14)
        by_date(axes, data.sessions, sheet.narrow)
        for base, rule in enumerate(reversed(rules)):
            axes.axhline(base, color=COLOURS["rule"], linewidth=0.8)
            bars(axes, gathered.edges, full * share(acted, rule), "touch", base)
            bars(axes, gathered.edges, full * share(cut, rule), "warn", base)
            if sheet.narrow:
                at = (0, base + full + 0.1)
                axes.annotate(rule, at, xycoords=("axes fraction", "data"), color=COLOURS["ink"], fontsize=FONT)
        axes.set_xlim(gathered.edges[0], gathered.edges[-1])
        axes.set_ylim(0, len(rules))
        axes.grid(visible=False)
        places = [] if sheet.narrow else [base + full / 2 for base in range(len(rules))]
        axes.set_yticks(places, list(reversed(rules))[: len(places)])
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
        top, low = 0.7 * len(rules), 0.4 * len(rules)
        keys = [Name(top, "cut or denied", "warn", area=True), Name(low, "bound", "touch", area=True)]
        name_ends(axes, keys, sheet)
        return figure

    return Picture("limits", "Limits that bound", caption, draw)
