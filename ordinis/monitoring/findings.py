"""What a night found out about the book: one document for each account and session, kept as text.

The text is JSON with sorted keys, so that a night that is done again over the same data writes the same bytes. A number
that is not known is NaN, as it is in the arrays that it comes from, and what could not be found out at all is None with
a remark that says why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Protocol

from pydantic import TypeAdapter

from ordinis.domain.canonical import plain
from ordinis.monitoring.pnl import SessionProfit
from ordinis.risk.attribution import FactorAttribution, FactorRisk, RiskAttribution
from ordinis.risk.factor_forecast import FactorForecast
from ordinis.risk.stress import StressResult

TOPIC = "attribution"


@dataclass(frozen=True)
class Losses:
    """What today's holdings may lose in one session, as fractions of equity; losses are positive."""

    level: float
    sessions: int
    """Of history behind the first two."""
    value_at_risk: float
    cvar: float
    cornish_fisher: tuple[float, float] | None
    """The same two from four moments; None where these are beyond the expansion."""
    simulated_value_at_risk: float
    simulated_cvar: float
    """Of the history at today's volatility."""
    parts: Mapping[str, float]
    """Of the CVaR, by symbol."""
    drawdown_at_risk: float
    """Of the book's own path so far."""


@dataclass(frozen=True)
class Night:
    """Where return and risk came from, as of the close of a session."""

    session: date
    factor_source: str
    factors_through: date | None
    """The last factor returns that were known."""
    remarks: tuple[str, ...] = ()
    """What could not be found out, and why: a night with one is degraded."""
    factors: FactorAttribution | None = None
    risk: RiskAttribution | None = None
    marginal: Mapping[str, float] = field(default_factory=dict)
    """By symbol, how much volatility grows for each unit of weight bought with cash."""
    incremental: Mapping[str, float] = field(default_factory=dict)
    """By symbol, the volatility that goes when the position is sold whole."""
    exposures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Of each symbol that is held or may be, by factor."""
    factor_risk: FactorRisk | None = None
    losses: Losses | None = None
    stress: tuple[StressResult, ...] = ()
    forecast: FactorForecast | None = None
    profit: SessionProfit | None = None


class Findings(Protocol):
    """Where documents are kept."""

    def keep_finding(self, account: str, session: date, topic: str, body: str) -> None: ...

    def findings(self, account: str, topic: str, first: date, last: date) -> Mapping[date, str]: ...


def text_of(night: Night) -> str:
    return json.dumps(plain(night), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def night_of(text: str) -> Night:
    return _reader().validate_python(json.loads(text))


@cache
def _reader() -> TypeAdapter[Night]:
    return TypeAdapter(Night)


def save(records: Findings, account: str, night: Night) -> None:
    """Keep what a night found; it replaces what an earlier run of the same night kept."""
    records.keep_finding(account, night.session, TOPIC, text_of(night))


def nights(records: Findings, account: str, first: date, last: date) -> dict[date, Night]:
    """What was kept of the sessions from `first` to `last`, oldest first."""
    found = records.findings(account, TOPIC, first, last)
    return {session: night_of(found[session]) for session in sorted(found)}
