"""What a night leaves in the scheduler's pages: Markdown that a person reads in a minute, tables, and a picture.

An artefact has a key, under which the pages keep the history of all nights, and says what the report says of the
session, from the same findings.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from ordinis.costs.models import BASIS_POINT
from ordinis.evaluation.statistics import SESSIONS_A_YEAR
from ordinis.feedback.cost_fit import CostFit, Estimate
from ordinis.feedback.executions import Quality
from ordinis.feedback.nightly import Version
from ordinis.feedback.paid import Paid
from ordinis.monitoring.drawing import Picture
from ordinis.monitoring.figures_calibration import calibration_picture
from ordinis.monitoring.figures_night import session_profit, stress
from ordinis.monitoring.findings import Night
from ordinis.monitoring.wording import number, percent

Row = dict[str, str]


@dataclass(frozen=True)
class Artefacts:
    """Of one step of a night."""

    key: str
    session: date
    markdown: str
    table: Sequence[Row]
    pictures: Mapping[str, str]
    """As data URLs, by the words that describe them."""
    warning: str = ""
    """Markdown of what could not be done; empty where all could."""


def of_attribution(night: Night, currency: str) -> Artefacts:
    lines = [f"# Attribution of {night.session}", ""]
    if night.profit is not None:
        p = night.profit
        lines += [
            f"Profit **{number(float(p.profit))} {currency}**: held {number(float(p.held))}, "
            f"timing {number(float(sum(p.timing.values())))}, shortfall {number(-float(p.shortfall))}, "
            f"fees {number(-float(p.fees))}, other {number(float(p.other))}.",
            "",
        ]
    if night.losses is not None:
        lines += [
            f"Next session at {percent(night.losses.level, 0)}: value at risk "
            f"**{percent(night.losses.value_at_risk, 2)}**, CVaR **{percent(night.losses.cvar, 2)}** of equity.",
            "",
        ]
    if night.stress:
        worst = max(night.stress, key=lambda result: result.loss)
        lines += [f"Worst crisis or shock: {worst.name}, {percent(worst.loss)} of equity.", ""]
    if night.factors is not None:
        lines += [f"| factor ({night.factor_source}) | exposure | t |", "|---|---:|---:|"]
        for name, beta in night.factors.factor_exposures.items():
            lines.append(f"| {name} | {number(beta)} | {number(night.factors.t[name], 1)} |")
        lines += ["", f"R² {percent(night.factors.r_squared, 0)} over {night.factors.sessions} sessions."]
    pictures: list[Picture] = []
    if night.profit is not None:
        pictures.append(session_profit(night.profit, currency))
    if night.stress:
        pictures.append(stress(night))
    heading = f"# Incomplete: attribution of {night.session}"
    warning = "\n".join([heading, "", *(f"- {remark}" for remark in night.remarks)]) if night.remarks else ""
    return Artefacts("attribution", night.session, "\n".join(lines), _risk_table(night), _drawn(pictures), warning)


def _risk_table(night: Night) -> list[Row]:
    if night.risk is None or night.risk.volatility <= 0.0:
        return []
    tail = {} if night.losses is None else night.losses.parts
    whole = sum(tail.values())
    year = SESSIONS_A_YEAR**0.5
    return [
        {
            "symbol": symbol,
            "share of volatility": percent(part / night.risk.volatility),
            "share of CVaR": percent(tail[symbol] / whole) if whole and symbol in tail else "",
            "volatility a year if sold": percent((night.risk.volatility - night.incremental[symbol]) * year),
        }
        for symbol, part in sorted(night.risk.parts.items(), key=lambda item: -abs(item[1]))
    ]


def of_calibration(version: Version, paid: Paid, quality: Mapping[str, Quality], in_force: date | None) -> Artefacts:
    made = version.calibration
    verdict = "**Promoted**" if made.promoted else "**Not promoted**"
    since = f"the version of {in_force}" if in_force is not None else "the model that everything starts from"
    lines = [
        f"# What trading costs, {version.session}",
        "",
        f"{verdict}: {made.reason}. In force until now: {since}.",
        "",
        f"From {version.orders} orders; of {version.left_out} the cost or the market then is not known.",
        "",
        "| | half spread, bp | eta | delta | permanent | noise, bp | fills |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    fits = [("book", made.book), *((f"bucket {place}", fit) for place, fit in enumerate(made.buckets))]
    lines += [_fit_line(name, fit) for name, fit in fits]
    table = [
        {
            "symbol": symbol,
            "orders": str(found.orders),
            "filled": percent(found.fill_rate, 0),
            "shortfall p50, bp": number(found.shortfall_p50, 1),
            "shortfall p95, bp": number(found.shortfall_p95, 1),
            "fees, bp": number(found.fees, 1),
            "seconds to fill, p95": number(found.latency_p95, 1),
        }
        for symbol, found in quality.items()
    ]
    pictures = [calibration_picture(version, paid)] if version.orders else []
    return Artefacts("calibration", version.session, "\n".join(lines), table, _drawn(pictures))


def _fit_line(name: str, fit: CostFit) -> str:
    def told(estimate: Estimate, scale: float = 1.0) -> str:
        low, high = number(estimate.low / scale, 2), number(estimate.high / scale, 2)
        return f"{number(estimate.value / scale, 2)} ({low} to {high})"

    cells = [told(fit.half_spread, BASIS_POINT), told(fit.eta), told(fit.delta), told(fit.permanent)]
    return f"| {name} | {' | '.join(cells)} | {number(fit.noise / BASIS_POINT, 1)} | {fit.fills} |"


def _drawn(pictures: Sequence[Picture]) -> dict[str, str]:
    return {
        picture.caption: "data:image/png;base64," + base64.b64encode(picture.png(1.0)).decode("ascii")
        for picture in pictures
        if picture.draw is not None
    }
