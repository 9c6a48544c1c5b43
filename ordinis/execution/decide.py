"""From an answer to a decision: rulebook, certificate, plan. A pure function, so that a replay can repeat it.

Everything that the decision depends on goes into its inputs, whose hash is part of its id. What the allocator
answered is kept beside it, symbol by symbol, with the verdict of every rule and the certificate of what will be
traded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, is_dataclass, replace
from datetime import date
from textwrap import shorten
from typing import Any

from ordinis.clock import TradingCalendar
from ordinis.costs.conditions import MarketConditions
from ordinis.domain.canonical import canonical, digest
from ordinis.domain.decisions import (
    WHOLE,
    Allocation,
    Decision,
    DecisionStatus,
    Review,
    Rung,
    Source,
    Verdict,
    decision_id,
)
from ordinis.domain.exposures import FactorExposures
from ordinis.domain.limits import TradingState
from ordinis.domain.orders import PlannedOrder
from ordinis.domain.overrides import Override, OverrideKind, overridden
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.errors import AllocationRefused, AllocationUnavailable, InfeasibleLimits, SolverFailed, StaleView
from ordinis.execution.rebalance import Planner
from ordinis.governance.rulebook import Rulebook
from ordinis.optimize.certificate import certify
from ordinis.ports import Allocator, MarketView, RuleContext

REGIME_AXES = ("volatility", "trend", "correlation", "liquidity")
NO_ANSWER = (AllocationUnavailable, AllocationRefused, InfeasibleLimits, SolverFailed, StaleView)
CUT = 1e-9
"""A rule that moves a weight by less has not demanded a trade."""
LONGEST_REASON = 500
"""Characters of an allocator's reason that a decision keeps."""


@dataclass(frozen=True)
class Controls:
    """What people and breakers have said at the moment of a decision."""

    state: TradingState = TradingState.ACTIVE
    by: str = ""
    """Who set the state; empty where nobody ever did."""
    overrides: tuple[Override, ...] = ()


NOTHING_SAID = Controls()


@dataclass(frozen=True)
class Draft:
    """A decision with everything that is stored beside it."""

    decision: Decision
    inputs: str
    verdicts: tuple[Verdict, ...]
    parts: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True)
class Desk:
    """The fixed part of every decision."""

    rulebook: Rulebook
    planner: Planner
    calendar: TradingCalendar
    exposures: FactorExposures | None = None
    """Those in force, where the rulebook caps any."""

    def asks(self, view: MarketView, portfolio: PortfolioSnapshot) -> bool:
        """Whether an allocator is needed: without bands only the calendar's sessions can lead to a trade."""
        return self.planner.watches_drift or self.planner.due(portfolio, view.session, view.sessions[-1])

    def age_of_exposures(self, session: date) -> int:
        """Sessions from that of the exposures in force to `session`; below one where they are not of the past."""
        return 0 if self.exposures is None else len(self.calendar.between(self.exposures.session, session)) - 1

    def hold(self, portfolio: PortfolioSnapshot, view: MarketView) -> Allocation:
        """The answer of a session on which nobody is asked: the book as it is. Rules may still shrink it."""
        weights = portfolio.weights
        return Allocation(
            weights=weights,
            cash=1.0 - sum(weights.values()),
            allocator="calendar",
            version="1",
            rung=Rung.HOLD,
            certificate=certify(weights, self.rulebook.limits),
            view_sha=view.sha,
        )

    def fall_back(self, baseline: Allocator, view: MarketView, portfolio: PortfolioSnapshot) -> tuple[Allocation, str]:
        """The baseline's answer; where it has none either, the book as it is and the code of the problem."""
        try:
            return checked(baseline.allocate(view, portfolio)), ""
        except NO_ANSWER as error:
            return self.hold(portfolio, view), error.code

    def decide(
        self,
        view: MarketView,
        portfolio: PortfolioSnapshot,
        answer: Allocation,
        source: Source,
        note: str = "",
        control: Controls = NOTHING_SAID,
    ) -> Draft:
        """Review `answer`, fix the plan, and name the decision by its content."""
        context = RuleContext(
            session=view.session,
            session_open=self.calendar.is_open(view.as_of),
            sectors=self.rulebook.limits.sectors,
            state=control.state,
            exposures=self.exposures,
            exposures_age=self.age_of_exposures(view.session),
        )
        wished, override = overridden(answer.weights, portfolio.weights, control.overrides)
        proposed = self.rulebook.review(wished, portfolio, context)
        # Bands may leave drift alone, so the book as it stands goes before the rules too.
        standing = self.rulebook.review(portfolio.weights, portfolio, context)
        over = {s for s, weight in portfolio.weights.items() if standing.weights.get(s, 0.0) < weight - CUT}
        review = self.rulebook.once_more(_both(proposed, standing, over), portfolio, context)
        if control.overrides:
            review = replace(review, verdicts=(override, *review.verdicts))
        orders = self._plan(view, portfolio, answer, review, over, control)
        inputs = canonical(self.inputs(view, portfolio, answer, control))
        model = f"{answer.allocator}@{answer.version}"
        decision = Decision(
            id=decision_id(portfolio.account, view.as_of, source, digest(inputs), self.rulebook.sha, model),
            account=portfolio.account,
            source=source,
            model_sha=model,
            inputs_sha=digest(inputs),
            limits_sha=self.rulebook.sha,
            as_of=view.as_of,
            expires_at=self.calendar.closes(view.session),
            weights=review.weights,
            orders=orders,
            status=DecisionStatus.REFUSED if review.refused else DecisionStatus.APPROVED,
            approved_by=f"rulebook {self.rulebook.profile}",
            reason="; ".join(text for text in (note, why_held(answer), review.reason) if text),
        )
        verdicts = (*review.verdicts, self._certified(review, answer))
        parts = tuple((answer.allocator, symbol, weight) for symbol, weight in sorted(answer.weights.items()))
        return Draft(decision, inputs, verdicts, parts)

    def inputs(
        self, view: MarketView, portfolio: PortfolioSnapshot, answer: Allocation, control: Controls = NOTHING_SAID
    ) -> dict[str, Any]:
        """What was asked: enough, with the bar store, to ask it again."""
        costs = self.planner.costs
        judged_by = {"exposures": self.exposures} if self.rulebook.factor_caps else {}
        return judged_by | {
            "allocator": {"name": answer.allocator, "version": answer.version},
            "as_of": view.as_of,
            "costs": {type(costs).__name__: asdict(costs) if is_dataclass(costs) else {}},
            "limits_sha": self.rulebook.sha,
            "overrides": control.overrides,
            "portfolio": portfolio,
            "profile": self.rulebook.profile,
            "regime": {axis: getattr(view.regime, axis) for axis in REGIME_AXES},
            "session": view.session,
            "state": control.state,
            "state_by": control.by,
            "view": {"sha": view.sha, "symbols": view.symbols, "through": view.sessions[-1]},
        }

    def _plan(
        self,
        view: MarketView,
        portfolio: PortfolioSnapshot,
        answer: Allocation,
        review: Review,
        over: Set[str],
        control: Controls,
    ) -> tuple[PlannedOrder, ...]:
        held = portfolio.weights
        wished = {row.symbol for row in control.overrides if row.unmet(held.get(row.symbol, 0.0))}
        if any(row.kind is OverrideKind.FLAT for row in control.overrides):
            wished |= held.keys()
        frozen = {row.symbol for row in control.overrides if row.kind is OverrideKind.NO_TRADE}
        asked = over | wished
        if review.refused or (answer.rung is Rung.HOLD and not asked):
            return ()
        plan = self.planner.plan(
            review.weights,
            portfolio,
            session=view.session,
            previous_session=view.sessions[-1],
            conditions=MarketConditions.measured(view),
            demanded=portfolio.holdings if self.planner.takes_risk_off(answer.weights, portfolio) else asked,
            wished=wished,
        )
        return tuple(o for o in plan if o.symbol not in frozen and (answer.rung is not Rung.HOLD or o.symbol in asked))

    def _certified(self, review: Review, answer: Allocation) -> Verdict:
        """The certificate of what will be traded, as one more verdict."""
        certificate = certify(review.weights, self.rulebook.limits)
        broken = sorted(name for name, slack in certificate.slacks.items() if slack < -certificate.tolerance)
        detail = f"rung {answer.rung}; binding: {', '.join(certificate.binding) or 'none'}"
        if broken:
            detail += f"; carried past by prices: {', '.join(broken)}"
        return Verdict("certificate", -certificate.tolerance, certificate.worst, certificate.holds, detail)


def why_held(answer: Allocation) -> str:
    """What an allocator that holds the book says of it, in at most a few lines; empty for one that does not."""
    told = answer.trace.get("hold") if answer.rung is Rung.HOLD else None
    # It may come from another program: no database takes every character.
    printable = "".join(letter if letter.isprintable() else " " for letter in str(told or ""))
    reason = shorten(printable, LONGEST_REASON)
    return f"hold: {reason}" if reason else ""


def checked(answer: Allocation) -> Allocation:
    """`answer`, whose weights are numbers and sum, with cash, to one; AllocationRefused otherwise."""
    numbers: Mapping[str, float] = answer.weights
    wrong = sorted(symbol for symbol, weight in numbers.items() if not math.isfinite(weight) or weight < 0.0)
    if wrong:
        raise AllocationRefused(f"weights of {', '.join(wrong)} are negative or not finite")
    # Written so that a cash that is no number fails too.
    if not abs(sum(numbers.values()) + answer.cash - 1.0) <= WHOLE:
        raise AllocationRefused(f"weights and cash sum to {sum(numbers.values()) + answer.cash}")
    return answer


def _both(proposed: Review, standing: Review, over: Set[str]) -> Review:
    """What the rules leave of a proposal, and, for the symbols in `over`, of the book as it stands."""
    if proposed.refused:
        return proposed
    weights = {
        symbol: min(weight, standing.weights.get(symbol, 0.0)) if symbol in over else weight
        for symbol, weight in proposed.weights.items()
    }
    failed = {verdict.rule for verdict in proposed.verdicts if not verdict.passed}
    more = tuple(
        replace(verdict, rule=f"{verdict.rule}, held")
        for verdict in standing.verdicts
        if not verdict.passed and verdict.rule not in failed
    )
    return Review(weights, (*proposed.verdicts, *more))
