"""The rulebook: a file becomes limits, breakers and trading rules, once, at the door.

Every profile says every value, so that reading one profile is enough. A fraction above one, an unknown key or a
missing one is refused with the file, the profile and the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ordinis.domain.canonical import sha256
from ordinis.domain.decisions import Review, Verdict
from ordinis.domain.limits import Breakers, Limits, OrderLimits, TradingRules
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.errors import ConfigurationError
from ordinis.governance.approvals import limits_of
from ordinis.governance.rules import (
    DailyLoss,
    DrawdownCurve,
    FactorExposure,
    GrossCap,
    MarketHours,
    PositionCap,
    ReduceOnly,
    SectorCap,
)
from ordinis.ports import Rule, RuleContext

SHIPPED = Path(__file__).with_name("rulebook.yaml")
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^\S(.*\S)?$")]
ExposureCap = Annotated[float, Field(ge=0.0, le=10.0, strict=True, allow_inf_nan=False)]
"""A book without leverage may have an exposure somewhat above one; thirty is a slip for 0.30."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Limits(_Section):
    position_cap: Fraction
    gross_cap: Fraction
    cash_buffer: Fraction
    sector_cap: Fraction
    passive_excess: Fraction
    factor_exposure_caps: Mapping[Name, ExposureCap] | None = None


class _Breakers(_Section):
    daily_loss: Fraction | None
    drawdown_start: Fraction | None
    drawdown_stop: Fraction | None
    rejects_per_minute: Count | None
    failed_reconciliations: Count | None
    locks: Count | None
    unexplained: Fraction | None
    skew_seconds: Annotated[float, Field(gt=0)]


class _Orders(_Section):
    price_age_seconds: Annotated[float, Field(gt=0)]
    spread_cap: Fraction | None
    buy_collar: Fraction | None
    sell_collar: Fraction | None
    orders_per_minute: Count | None
    bought_per_minute: Annotated[float, Field(gt=0, le=1)] | None
    repeats_per_hour: Count | None
    participation_cap: Annotated[float, Field(gt=0, le=1)] | None
    day_trades: Count | None
    reconciled_within_seconds: Annotated[float, Field(gt=0)]
    skew_seconds: Annotated[float, Field(gt=0)]
    free_disk_mb: Annotated[int, Field(ge=0)]


class _Trading(_Section):
    calendar: str | None
    absolute_band: Fraction | None
    relative_band: Fraction | None
    cooldown_days: Annotated[int, Field(ge=0)]
    minimum_order: Annotated[Decimal, Field(ge=0)]
    minimum_invest_cash: Annotated[Decimal, Field(ge=0)]
    turnover_cap: Fraction | None
    cost_aversion: Annotated[float, Field(gt=0.0, le=1000.0)] | None = None


class _Profile(_Section):
    limits: _Limits
    breakers: _Breakers
    orders: _Orders
    trading: _Trading


@dataclass(frozen=True)
class LimitInForce:
    """One line of `ordinis limits`."""

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class Rulebook:
    profile: str
    limits: Limits
    trading: TradingRules
    orders: OrderLimits
    breakers: Breakers
    rules: tuple[Rule, ...]
    in_force: tuple[LimitInForce, ...]
    values: Mapping[str, Any]
    """Each limit's value by name, and each symbol's sector: what may not be loosened without approval."""
    factor_caps: Mapping[str, float]
    """The largest exposure of the book, either way, by factor; empty where none is capped."""
    sha: str
    """Hash of every value in force, the sector map included: stored with each decision."""

    def review(self, weights: Mapping[str, float], portfolio: PortfolioSnapshot, context: RuleContext) -> Review:
        """Pass a proposal through every rule; no position comes out larger than it went in."""
        verdicts: list[Verdict] = []
        refused = False
        for rule in self.rules:
            weights, verdict = rule.review(weights, portfolio, context)
            verdicts.append(verdict)
            refused = refused or (isinstance(rule, MarketHours) and not verdict.passed)
        return Review(dict(weights), tuple(verdicts), refused)

    def once_more(self, review: Review, portfolio: PortfolioSnapshot, context: RuleContext) -> Review:
        """`review` of weights some of which were cut since: every cap bears that but one on what offsets each other."""
        verdicts, weights = list(review.verdicts), review.weights
        for rule in self.rules:
            if isinstance(rule, FactorExposure) and not review.refused:
                weights, verdict = rule.review(weights, portfolio, context)
                verdicts += [] if verdict.passed else [replace(verdict, rule=f"{verdict.rule}, once more")]
        return replace(review, weights=dict(weights), verdicts=tuple(verdicts))


def load_rulebook(profile: str, sectors: Mapping[str, str], path: Path | None = None) -> Rulebook:
    """Read `profile` from the rulebook file at `path`, or from the one that ships.

    Raises:
        ConfigurationError: no such file or profile, or a value in it is wrong.
    """
    source = path or SHIPPED
    try:
        profiles = yaml.safe_load(source.read_text(encoding="utf-8"))["profiles"]
    except (OSError, yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(source), f"is not a rulebook: {error}") from error
    if not isinstance(profiles, dict):
        raise ConfigurationError(str(source), "is not a rulebook: `profiles` must map names to profiles")
    if profile not in profiles:
        raise ConfigurationError(str(source), f"has no profile {profile!r}; it has {', '.join(sorted(profiles))}")
    try:
        read = _Profile.model_validate(profiles[profile])
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{source}, profile {profile}", f"{key}: {first['msg']}") from error
    limits = Limits(
        position_cap=read.limits.position_cap,
        gross_cap=read.limits.gross_cap,
        cash_buffer=read.limits.cash_buffer,
        sector_cap=read.limits.sector_cap,
        sectors=dict(sectors),
    )
    values = read.model_dump()
    if values["trading"]["cost_aversion"] is None:
        # A book that does not weigh costs has the values, and the hash, of before it could.
        del values["trading"]["cost_aversion"]
    # Each cap is a limit of its own, with a name of its own; a book that names none has the values that it had.
    caps = values["limits"].pop("factor_exposure_caps") or {}
    values["limits"] |= {f"factor_exposure_caps.{factor}": cap for factor, cap in caps.items()}
    in_force = tuple(
        LimitInForce(f"{section}.{key}", "off" if value is None else str(value), f"{source.name}, profile {profile}")
        for section, entries in values.items()
        for key, value in entries.items()
    )
    return Rulebook(
        profile=profile,
        limits=limits,
        trading=TradingRules(**values["trading"]),
        orders=OrderLimits(**values["orders"]),
        breakers=_breakers(read.breakers),
        rules=_rules(read, limits, caps),
        in_force=in_force,
        values=limits_of(values, sectors),
        factor_caps=caps,
        sha=sha256({"values": values, "sectors": dict(sectors)}),
    )


def _breakers(read: _Breakers) -> Breakers:
    """The drawdown at which nothing may be held any more is the one past which a person must resume."""
    same = read.model_dump(exclude={"drawdown_start", "drawdown_stop"})
    return Breakers(drawdown=read.drawdown_stop, **same)


def _rules(read: _Profile, limits: Limits, factor_caps: Mapping[str, float]) -> tuple[Rule, ...]:
    excess, breakers = read.limits.passive_excess, read.breakers
    rules: list[Rule] = [
        PositionCap(limits.position_cap, excess),
        SectorCap(limits.sector_cap, excess),
        GrossCap(limits.invested_cap, excess),
    ]
    if breakers.drawdown_start is not None and breakers.drawdown_stop is not None:
        if breakers.drawdown_start >= breakers.drawdown_stop:
            raise ConfigurationError("rulebook", "drawdown_start must be below drawdown_stop")
        curve = DrawdownCurve(breakers.drawdown_start, breakers.drawdown_stop, limits.invested_cap, excess)
        rules.append(curve)
    if breakers.daily_loss is not None:
        rules.append(DailyLoss(breakers.daily_loss))
    rules.append(ReduceOnly())
    if factor_caps:
        # After every rule that cuts one symbol and not another, which may have offset it. The caps before are on
        # weights and sums of them, and hold for smaller ones too.
        rules.append(FactorExposure(factor_caps))
    return (*rules, MarketHours())
