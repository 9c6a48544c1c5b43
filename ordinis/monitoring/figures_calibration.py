"""A picture of what orders paid against their size, and of what the model expects of them."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ordinis.costs.models import BASIS_POINT
from ordinis.feedback.nightly import Version
from ordinis.feedback.paid import Paid
from ordinis.monitoring.axes import Name, name_ends, unit
from ordinis.monitoring.drawing import COLOURS, LINES, NAMES, Picture, Sheet, panels
from ordinis.monitoring.wording import number, percent

GROUPS = 12
"""Orders of similar size whose mean is one dot."""


def calibration_picture(version: Version, paid: Paid) -> Picture:
    """Means of orders of similar size with two standard errors, and a line for each bucket's fit."""
    costs, made = paid.costs, version.calibration
    title = "What orders paid, and what is expected of them"
    if len(costs) < GROUPS:
        return Picture("calibration", title, f"Not drawn: {len(costs)} orders say too little.", None)
    order = np.argsort(costs.participation, kind="stable")
    groups = [group for group in np.array_split(order, GROUPS) if len(group)]
    sizes = np.array([float(np.exp(np.log(costs.participation[group]).mean())) for group in groups])
    means = np.array([float(costs.paid[group].mean()) for group in groups]) / BASIS_POINT
    errors = np.array([float(costs.paid[g].std(ddof=1)) / len(g) ** 0.5 if len(g) > 1 else 0.0 for g in groups])
    sigma = float(np.median(costs.volatility))
    grid = np.geomspace(float(costs.participation.min()), float(costs.participation.max()), 60)
    lines = [("book", made.book), *((f"bucket {place}", fit) for place, fit in enumerate(made.buckets))]
    half_spread = number(made.book.half_spread.value / BASIS_POINT, 2)
    caption = (
        f"Dots: mean shortfall of orders of similar size, with two standard errors. Lines: the fit, at the median "
        f"volatility of {percent(sigma, 2)} a session. The book: half spread {half_spread} bp, eta "
        f"{number(made.book.eta.value, 3)}, delta {number(made.book.delta.value, 2)}; bucket 0 is the most liquid. "
        f"{'Promoted' if made.promoted else 'Not promoted'}: {made.reason}."
    )

    def draw(sheet: Sheet) -> Figure:
        right = 16 if sheet.narrow else NAMES
        figure, (axes,) = panels(sheet, [260], left=52, right=right, names=len(lines))
        unit(axes, "Shortfall, basis points, by share of a day's volume")
        axes.set_xscale("log")
        axes.errorbar(
            sizes, means, yerr=2.0 * errors / BASIS_POINT, fmt="o", markersize=6, color=COLOURS["book"], elinewidth=1.4
        )
        names = []
        for (name, fit), colour in zip(lines, LINES, strict=False):
            path = fit.predicted(grid, np.full(len(grid), sigma)) / BASIS_POINT
            axes.plot(grid, path, color=COLOURS[colour], linewidth=2.2 if name == "book" else 1.3)
            names.append(Name(float(path[-1]), name, colour))
        axes.set_xlim(grid[0], grid[-1])
        axes.xaxis.set_major_formatter(
            lambda value, _: f"{np.format_float_positional(100.0 * value, precision=7, trim='-')} %"
        )
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        name_ends(axes, names, sheet)
        return figure

    return Picture("calibration", title, caption, draw)
