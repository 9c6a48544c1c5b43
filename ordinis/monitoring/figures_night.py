"""Pictures of what a night found: where the session's profit came from, what the book could lose, what carries risk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ordinis.evaluation.statistics import SESSIONS_A_YEAR
from ordinis.monitoring.axes import Name, by_date, name_ends, named_rows, percent_axis, unit
from ordinis.monitoring.drawing import COLOURS, NAMES, Picture, Sheet, panels
from ordinis.monitoring.findings import Night
from ordinis.monitoring.pnl import SessionProfit
from ordinis.monitoring.report_data import NO_SECTOR, ReportData
from ordinis.monitoring.wording import number, percent, plural
from ordinis.ports import FloatArray
from ordinis.risk.attribution import FactorRisk, by_group

LARGEST = 5
"""Symbols that are named one by one."""
Row = tuple[str, float]


def night_pictures(data: ReportData) -> Iterator[Picture]:
    night = data.night
    if night is None:
        return
    if night.profit is not None:
        yield session_profit(night.profit, data.currency)
    profits = {session: found.profit for session, found in data.nights.items() if found.profit is not None}
    if len(profits) > 1:
        yield profit_so_far(profits, data.currency)
    if night.stress:
        yield stress(night)
    if night.factor_risk is not None and night.factor_risk.volatility > 0.0:
        yield risk_by_factor(night.factor_risk)
    if night.risk is not None and night.risk.volatility > 0.0:
        yield risk_by_sector(night.risk.parts, night.risk.volatility, data.sectors)


def session_profit(profit: SessionProfit, currency: str) -> Picture:
    """Bars in currency, what was gained to the right."""
    rows = _largest({name: float(part) for name, part in profit.factors.items()})
    by_symbol = {symbol: float(part) for symbol, part in profit.specific.items()}
    largest = _largest(by_symbol)
    named, rest = largest[:LARGEST], largest[LARGEST:]
    rows += [(f"{symbol} alone" if profit.factors else symbol, part) for symbol, part in named]
    if rest:
        rows.append((f"{len(rest)} others", sum(part for _, part in rest)))
    rows.append(("timing", float(sum(profit.timing.values(), Decimal(0)))))
    rows.append(("shortfall", -float(profit.shortfall)))
    rows.append(("fees", -float(profit.fees)))
    rows.append(("dividends, interest", float(profit.other)))
    kept = [row for row in rows if abs(row[1]) >= 0.005]
    caption = (
        f"{profit.session}: {money(profit.profit)} {currency} in all. What was held made {money(profit.held)}, "
        f"timing of trades {money(sum(profit.timing.values(), Decimal(0)))}; shortfall cost {money(profit.shortfall)} "
        f"and fees {money(profit.fees)}. Timing is what it was worth to trade at the plan rather than at the close."
    )
    if abs(profit.unexplained) >= Decimal("0.005"):
        why = "the ledger was valued at other prices, or a fill was told after it"
        caption += f" {money(profit.unexplained)} is unexplained: {why}."
    if not kept:
        return Picture("session-profit", "Where the session's profit came from", "Not drawn: nothing changed.", None)

    def draw(sheet: Sheet) -> Figure:
        return _signed(sheet, kept, f"Profit, {currency}", [number(value, 0) for _, value in kept])

    return Picture("session-profit", "Where the session's profit came from", caption, draw)


def profit_so_far(profits: Mapping[date, SessionProfit], currency: str) -> Picture:
    """Lines of what each source brought since the first night that took its profit apart."""
    sessions = tuple(profits)
    parts = {
        "factors": _path([sum(p.factors.values(), Decimal(0)) for p in profits.values()]),
        "specific": _path([sum(p.specific.values(), Decimal(0)) for p in profits.values()]),
        "timing": _path([sum(p.timing.values(), Decimal(0)) for p in profits.values()]),
        "cost": _path([-p.shortfall - p.fees for p in profits.values()]),
    }
    whole = _path([p.profit for p in profits.values()])
    told = ", ".join(f"{name} {number(float(path[-1]), 0)}" for name, path in parts.items())
    caption = (
        f"Since {sessions[0]}, {plural(len(sessions), 'night')}: {number(float(whole[-1]), 0)} {currency}; {told}."
    )

    def draw(sheet: Sheet) -> Figure:
        lines = [
            ("profit", whole, "book"),
            *zip(parts, parts.values(), ("line-1", "line-2", "line-3", "line-4"), strict=True),
        ]
        figure, (axes,) = panels(sheet, [240], left=64, right=16 if sheet.narrow else NAMES, names=len(lines))
        unit(axes, f"Profit since the start, {currency}")
        x = by_date(axes, sessions, sheet.narrow)
        for name, path, colour in lines:
            axes.plot(x, path, color=COLOURS[colour], linewidth=2.2 if name == "profit" else 1.5)
        axes.axhline(0.0, color=COLOURS["soft"], linewidth=0.8)
        axes.yaxis.set_major_formatter(lambda value, _: number(value, 0))
        name_ends(axes, [Name(float(path[-1]), name, colour) for name, path, colour in lines], sheet)
        return figure

    return Picture("profit-by-source", "Profit by source", caption, draw)


def stress(night: Night) -> Picture:
    worst = sorted(night.stress, key=lambda result: (-result.loss, result.name))
    guessed = [result for result in worst if result.guessed]
    caption = (
        f"What today's holdings would have lost if each crisis came again, and in shocks; nothing is traded "
        f"meanwhile. The worst is {worst[0].name}: {percent(worst[0].loss)} of equity."
    )
    if guessed:
        caption += " Light bars rest on market betas where prices of the time are not in the store."

    def draw(sheet: Sheet) -> Figure:
        left = 150 if sheet.narrow else 230
        figure, (axes,) = panels(sheet, [22 * len(worst)], left=left, right=64)
        unit(axes, "Loss, share of equity")
        colours = [COLOURS["touch"] if result.guessed else COLOURS["loss"] for result in worst]
        axes.barh(range(len(worst)), [result.loss for result in worst], height=0.6, color=colours, linewidth=0)
        named_rows(axes, [_short(result.name, sheet) for result in worst], [percent(r.loss) for r in worst])
        axes.axvline(0.0, color=COLOURS["soft"], linewidth=0.8)
        percent_axis(axes, "x")
        return figure

    return Picture("stress", "What crises and shocks would cost", caption, draw)


def risk_by_factor(risk: FactorRisk) -> Picture:
    specific = sum(risk.specific.values())
    rows = _largest({name: part / risk.volatility for name, part in risk.factors.items()})
    rows.append(("specific", specific / risk.volatility))
    annual = percent(risk.volatility * SESSIONS_A_YEAR**0.5)
    caption = (
        f"Share of the volatility that the factor model finds in today's holdings ({annual} a year); the parts sum to "
        f"the whole. {percent(1.0 - specific / risk.volatility, 0)} of it is of factors; below zero a factor hedges."
    )

    def draw(sheet: Sheet) -> Figure:
        return _signed(sheet, rows, "Share of volatility", [percent(value) for _, value in rows], shares=True)

    return Picture("risk-by-factor", "Risk by factor", caption, draw)


def risk_by_sector(parts: Mapping[str, float], volatility: float, sectors: Mapping[str, str]) -> Picture:
    rows = _largest({name: part / volatility for name, part in by_group(parts, sectors, NO_SECTOR).items()})
    caption = f"Share of the book's volatility by sector; the largest is {rows[0][0]} with {percent(rows[0][1])}."

    def draw(sheet: Sheet) -> Figure:
        return _signed(sheet, rows, "Share of volatility", [percent(value) for _, value in rows], shares=True)

    return Picture("risk-by-sector", "Risk by sector", caption, draw)


def _largest(values: Mapping[str, float]) -> list[Row]:
    return sorted(values.items(), key=lambda row: (-abs(row[1]), row[0]))


def money(amount: Decimal) -> str:
    return number(float(amount), 2)


def _path(amounts: Sequence[Decimal]) -> FloatArray:
    return np.cumsum(np.array([float(amount) for amount in amounts]))


def _signed(sheet: Sheet, rows: Sequence[Row], what: str, told: Sequence[str], *, shares: bool = False) -> Figure:
    """A bar for each row, to the right above zero and to the left below."""
    figure, (axes,) = panels(sheet, [22 * len(rows)], left=142 if sheet.narrow else 170, right=80)
    unit(axes, what)
    values = [value for _, value in rows]
    colours = [COLOURS["gain" if value >= 0.0 else "loss"] if not shares else COLOURS["book"] for value in values]
    axes.barh(range(len(rows)), values, height=0.6, color=colours, linewidth=0)
    named_rows(axes, [name for name, _ in rows], told)
    axes.axvline(0.0, color=COLOURS["soft"], linewidth=0.8)
    if shares:
        percent_axis(axes, "x")
    else:
        axes.xaxis.set_major_formatter(lambda value, _: number(value, 0))
        axes.xaxis.set_major_locator(MaxNLocator(2 if sheet.narrow else 8))
    return figure


def _short(name: str, sheet: Sheet) -> str:
    return name if not sheet.narrow or len(name) <= 22 else f"{name[:21]}…"
