"""Pictures of trading and of its risk: turnover, cost against expectation, risk by symbol, factor exposures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ordinis.evaluation.statistics import SESSIONS_A_YEAR
from ordinis.monitoring.axes import Name, bars, by_date, name_ends, named_rows, percent_axis, periods, unit
from ordinis.monitoring.drawing import COLOURS, NAMES, Picture, Sheet, panels
from ordinis.monitoring.figures_calibration import calibration_picture
from ordinis.monitoring.report_data import ReportData
from ordinis.monitoring.wording import number, percent
from ordinis.ports import FloatArray
from ordinis.risk.attribution import FactorAttribution, RiskAttribution
from ordinis.risk.factor_forecast import FactorForecast

MOST_ROWS = 25
MARKET = "market"


def trading_pictures(data: ReportData) -> Iterator[Picture]:
    yield turnover_and_cost(data)
    if data.calibration is not None:
        yield calibration_picture(*data.calibration)
    if data.night is not None and data.night.risk is not None:
        yield component_risk(data, data.night.risk)
    if data.night is not None and data.night.factors is not None:
        yield factor_exposures(data.night.factors, data.night.forecast)


def turnover_and_cost(data: ReportData) -> Picture:
    turnover, rate = data.book.turnover, data.book.cost
    if not data.fills or turnover is None or rate is None:
        return Picture("turnover-and-cost", "Turnover and cost", "Not drawn: nothing was traded.", None)
    costs = data.costs
    paid, slippage, fees = (number(float(part.sum()), 0) for part in (costs.paid, costs.slippage, costs.fees))
    caption = f"Paid in all {paid} {data.currency}: slippage {slippage}, fees {fees}."
    if costs.expected is not None and costs.expected.sum() > 0:
        ratio = float(costs.paid.sum() / costs.expected.sum())
        expected = number(float(costs.expected.sum()), 0)
        caption += f" The cost model expected {expected} of the same orders; paid is {percent(ratio, 0)} of that."
    caption += " Turnover is one-way and counts the first purchase."
    before = data.equity / (1.0 + data.book.returns)
    lines: list[tuple[str, str, tuple[float, ...] | None, FloatArray]] = [("paid", "book", None, costs.paid)]
    if costs.expected is not None:
        lines.append(("expected by the model", "line-1", (5.0, 2.0), costs.expected))
    lines.append(("fees, part of paid", "line-2", (2.0, 1.6), costs.fees))

    def draw(sheet: Sheet) -> Figure:
        right = 16 if sheet.narrow else NAMES
        figure, (upper, lower) = panels(sheet, [120, 190], right=right, names=len(lines))
        gathered = periods(data.sessions)
        unit(upper, f"Turnover a {gathered.word}, share of equity")
        by_date(upper, data.sessions, sheet.narrow)
        bars(upper, gathered.edges, gathered.sums(turnover), "book")
        upper.set_ylim(bottom=0.0)
        percent_axis(upper)
        unit(lower, "Cost since the start, basis points of equity")
        x = by_date(lower, data.sessions, sheet.narrow)
        names = []
        for text, colour, dash, cost in lines:
            path = 1e4 * np.cumsum(cost / before)
            style, width = ((0, dash), 1.5) if dash else ("-", 2.2)
            lower.plot(x, path, color=COLOURS[colour], linewidth=width, linestyle=style)
            names.append(Name(float(path[-1]), text, colour, dash))
        for axes in (upper, lower):
            axes.set_xlim(gathered.edges[0], gathered.edges[-1])
        lower.set_ylim(bottom=min(0.0, lower.get_ylim()[0]))
        name_ends(lower, names, sheet)
        return figure

    return Picture("turnover-and-cost", "Turnover and cost", caption, draw)


def component_risk(data: ReportData, risk: RiskAttribution) -> Picture:
    title = "Where the risk comes from"
    if risk.volatility <= 0.0:
        return Picture("component-risk", title, "Not drawn: the book has no risk.", None)
    parts = sorted(risk.parts.items(), key=lambda item: (-abs(item[1]), item[0]))
    parts = [(symbol, part / risk.volatility) for symbol, part in parts if abs(part) >= 5e-4 * risk.volatility]
    shown, rest = parts[:MOST_ROWS], parts[MOST_ROWS:]
    held = dict(zip(data.symbols, data.weights[-1].tolist(), strict=True)) if len(data.sessions) else {}
    invested = sum(abs(weight) for weight in held.values())
    annual = risk.volatility * SESSIONS_A_YEAR**0.5
    caption = (
        f"Bar: share of the book's volatility ({percent(annual)} a year on today's weights). Dot: share of what is "
        "invested. A bar beyond its dot carries more risk than capital; a bar below zero hedges."
    )
    if rest:
        caption += f" {len(rest)} smaller positions, {percent(sum(part for _, part in rest))} together, are left out."

    def draw(sheet: Sheet) -> Figure:
        right = 60 if sheet.narrow else NAMES
        figure, (axes,) = panels(sheet, [22 * len(shown)], left=64, right=right)
        unit(axes, "Share of volatility")
        values = [value for _, value in shown]
        axes.barh(range(len(shown)), values, height=0.6, color=COLOURS["book"], linewidth=0)
        if invested > 0.0:
            dots = [abs(held.get(symbol, 0.0)) / invested for symbol, _ in shown]
            mark: dict[str, Any] = {"markersize": 7, "color": COLOURS["line-1"], "markeredgecolor": COLOURS["paper"]}
            axes.plot(dots, range(len(shown)), "o", **mark)
        named_rows(axes, [symbol for symbol, _ in shown], [percent(value) for value in values])
        axes.axvline(0.0, color=COLOURS["soft"], linewidth=0.8)
        percent_axis(axes, "x")
        return figure

    return Picture("component-risk", title, caption, draw)


def _forecast(forecast: FactorForecast) -> str:
    judged = f"skill {percent(forecast.skill)} over {forecast.judged} sessions"
    if not any(forecast.returns.values()):
        return f"No forecast of the factors would have been better than none ({judged}), so none is made."
    told = ", ".join(f"{name} {percent(r * SESSIONS_A_YEAR)}" for name, r in forecast.returns.items())
    return f"Forecast a year, which would have been better than none ({judged}): {told}."


def factor_exposures(factors: FactorAttribution, forecast: FactorForecast | None = None) -> Picture:
    names = [name for name, beta in factors.factor_exposures.items() if np.isfinite(beta)]
    names.sort(key=lambda name: (name != MARKET, -abs(factors.factor_exposures[name])))
    betas = np.array([factors.factor_exposures[name] for name in names])
    t_values = np.array([factors.t[name] for name in names])
    told = np.isfinite(t_values) & (t_values != 0.0)
    errors = np.abs(np.divide(betas, t_values, out=np.zeros_like(betas), where=told))
    alpha = percent(factors.alpha * SESSIONS_A_YEAR)
    caption = (
        f"Exposure of the book's returns to each factor; the line is two standard errors either way. The factors "
        f"explain {percent(factors.r_squared, 0)} of the variance (R²) over {factors.sessions:,} sessions; what they "
        f"leave is {alpha} a year (t {number(factors.alpha_t, 1)})."
    )
    if forecast is not None:
        caption += f" {_forecast(forecast)}"

    def draw(sheet: Sheet) -> Figure:
        right = 92 if sheet.narrow else NAMES
        figure, (axes,) = panels(sheet, [28 * len(names)], left=92 if sheet.narrow else 128, right=right)
        unit(axes, "Exposure (beta)")
        rows = np.arange(len(names))
        axes.hlines(rows, betas - 2 * errors, betas + 2 * errors, color=COLOURS["book"], linewidth=2.0)
        axes.plot(betas, rows, "o", markersize=7, color=COLOURS["book"], markeredgewidth=0)
        named_rows(axes, names, [f"{number(b)} (t {number(t, 1)})" for b, t in zip(betas, t_values, strict=True)])
        axes.axvline(0.0, color=COLOURS["soft"], linewidth=0.8)
        return figure

    return Picture("factor-exposures", "Factor exposures", caption, draw)
