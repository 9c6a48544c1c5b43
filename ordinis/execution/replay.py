"""Do it again: stored decisions recomputed from their stored inputs, and their orders traded again.

A decision's inputs say what was asked (portfolio, session, instant, hash of the market view, allocator and its
version, limits). With the bar store as of that instant the same view comes back, the allocator is asked again, and
what it answers passes the same rulebook and planner. The result is the same to the byte, or the differences are
named. Replaying a whole ledger also sends the recomputed plans to a fresh simulated venue and compares the ledgers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from ordinis.clock import ReplayClock
from ordinis.costs.models import stored_costs
from ordinis.domain.canonical import canonical, parse_instant, plain
from ordinis.domain.decisions import Decision, Source
from ordinis.domain.exposures import FactorExposures
from ordinis.domain.limits import TradingState
from ordinis.domain.market import SessionClosed
from ordinis.domain.overrides import Override, OverrideKind
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.errors import NotFound, ReplayDiffers
from ordinis.execution.actor import Actor
from ordinis.execution.canonical import canonical_ledger
from ordinis.execution.decide import Controls, Desk, Draft
from ordinis.features.view import market_view
from ordinis.governance.exposures import stored_exposures
from ordinis.ports import Allocator, CostModel, Ledger, MarketView, PriceHistory

BEFORE, SHOWN = 40, 160
"""How many characters of a difference are shown before it, and in all."""
History = Callable[[datetime, date], PriceHistory]
"""The sessions before a session, as they were known at an instant."""
Answering = Callable[[CostModel], Mapping[Source, Allocator]]
"""Who answers to which source of a decision, while a cost model is in force."""


@dataclass(frozen=True)
class Question:
    """What a stored decision was asked."""

    as_of: datetime
    session: date
    view_sha: str
    allocator: str
    version: str
    portfolio: PortfolioSnapshot
    controls: Controls
    """What people and breakers had said."""
    costs: CostModel
    """What trading was expected to cost."""
    exposures: FactorExposures | None
    """What its factor exposures were judged by."""


@dataclass(frozen=True)
class Recomputed:
    """A decision made again, with the view that it was made from."""

    draft: Draft
    view: MarketView
    question: Question


def question(inputs: str) -> Question:
    """Read stored inputs back."""
    body = json.loads(inputs)
    return Question(
        as_of=parse_instant(body["as_of"]),
        session=date.fromisoformat(body["session"]),
        view_sha=body["view"]["sha"],
        allocator=body["allocator"]["name"],
        version=body["allocator"]["version"],
        portfolio=_portfolio(body["portfolio"]),
        controls=Controls(
            TradingState(body["state"]), body["state_by"], tuple(_override(row) for row in body["overrides"])
        ),
        costs=stored_costs(inputs),
        exposures=stored_exposures(inputs),
    )


def recompute(stored: Decision, inputs: str, desk: Desk, allocators: Answering, history: History) -> Recomputed:
    """Make `stored` again, by the cost model and the exposures of then.

    Raises:
        ReplayDiffers: the data, the allocator, the limits or the result are not what they were.
    """
    asked = question(inputs)
    planner, answering = replace(desk.planner, costs=asked.costs), allocators(asked.costs)
    desk = replace(desk, planner=planner, exposures=asked.exposures)
    if desk.rulebook.sha != stored.limits_sha:
        raise ReplayDiffers(stored.id, [f"it was made under other limits than profile {desk.rulebook.profile}"])
    view = market_view(history(asked.as_of, asked.session), asked.as_of, asked.session)
    if view.sha != asked.view_sha:
        raise ReplayDiffers(stored.id, ["the bar store shows another market at that instant than was seen then"])
    if stored.source is Source.BASELINE:
        answer, _ = desk.fall_back(answering[Source.BASELINE], view, asked.portfolio)
    elif desk.asks(view, asked.portfolio):
        answer = answering[stored.source].allocate(view, asked.portfolio)
    else:
        answer = desk.hold(asked.portfolio, view)
    if (answer.allocator, answer.version) != (asked.allocator, asked.version):
        mine, theirs = f"{answer.allocator} {answer.version}", f"{asked.allocator} {asked.version}"
        raise ReplayDiffers(stored.id, [f"it was made by {theirs}, this is {mine}"])
    note = stored.reason.split("; ")[0] if stored.source is Source.BASELINE else ""
    draft = desk.decide(view, asked.portfolio, answer, stored.source, note, asked.controls)
    differences = _differences(plain(draft.decision), plain(stored))
    if draft.inputs != inputs:
        differences += _differences(json.loads(draft.inputs), json.loads(inputs))
    if differences:
        raise ReplayDiffers(stored.id, differences)
    return Recomputed(draft, view, asked)


def replay_decision(
    decision_id: str, ledger: Ledger, desk: Desk, allocators: Answering, history: History
) -> Recomputed:
    """Recompute the stored decision whose id starts with `decision_id`."""
    with ledger.begin(write=False) as unit:
        found = [row for row in unit.decisions.all() if row.id.startswith(decision_id)]
        if len(found) != 1:
            raise NotFound("decision", decision_id, f"{len(found)} decisions begin like that")
        inputs = unit.decisions.inputs(found[0].inputs_sha)
    return recompute(found[0], inputs, desk, allocators, history)


def replay_ledger(
    ledger: Ledger,
    fresh: Actor,
    clock: ReplayClock,
    allocators: Answering,
    history: History,
    closes: Callable[[date], SessionClosed],
    on_decision: Callable[[Decision], None] = lambda decision: None,
) -> str:
    """Recompute every decision of `ledger`, trade each plan in the book of `fresh`, and return its canonical ledger.

    Args:
        fresh: an actor on an empty ledger and a new venue, whose clock is `clock`.
        closes: the close of a session with its bars.

    Raises:
        ReplayDiffers: a decision, or the ledger as a whole, comes out otherwise.
    """
    with ledger.begin(write=False) as unit:
        stored = [(row, unit.decisions.inputs(row.inputs_sha)) for row in unit.decisions.all()]
        valued = {row.session for row in unit.book.valuations()}
    if not stored:
        raise NotFound("decision", ledger.account, "nothing was decided yet; `ordinis trade` decides")
    asked = {question(inputs).session: (decision, inputs) for decision, inputs in stored}
    fresh.start()
    # A session without a decision, while trading was stopped, was valued all the same.
    for session in sorted(valued | asked.keys()):
        if session in asked:
            decision, inputs = asked[session]
            clock.advance(decision.as_of)
            fresh.believe(question(inputs).costs)
            again = recompute(decision, inputs, fresh.desk, allocators, history)
            fresh.carry_out(again.draft, again.view, again.question.portfolio, again.question.controls)
            on_decision(decision)
        if session in valued:
            event = closes(session)
            clock.advance(event.at)
            fresh.close(event)
    before, after = canonical_ledger(ledger), canonical_ledger(fresh.engine.ledger)
    if before != after:
        raise ReplayDiffers("ledger", _first_difference(before, after))
    return after


def _portfolio(body: Mapping[str, Any]) -> PortfolioSnapshot:
    return PortfolioSnapshot(
        account=body["account"],
        as_of=parse_instant(body["as_of"]),
        cash=Decimal(body["cash"]),
        holdings={symbol: Decimal(units) for symbol, units in body["holdings"].items()},
        prices={symbol: Decimal(price) for symbol, price in body["prices"].items()},
        peak_equity=Decimal(body["peak_equity"]),
        previous_equity=Decimal(body["previous_equity"]),
        last_traded={symbol: date.fromisoformat(day) for symbol, day in body["last_traded"].items()},
    )


def _override(body: Mapping[str, Any]) -> Override:
    at, expires_at = parse_instant(body["at"]), parse_instant(body["expires_at"])
    kind = OverrideKind(body["kind"])
    return Override(body["symbol"], kind, body["value"], body["by"], body["reason"], at, expires_at)


def _differences(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: {_apart(canonical(then.get(name)), canonical(now.get(name)))}"
        for name in sorted(now.keys() | then.keys())
        if canonical(now.get(name)) != canonical(then.get(name))
    ]


def _first_difference(before: str, after: str) -> list[str]:
    old, new = before.splitlines(), after.splitlines()
    for number, (then, now) in enumerate(zip(old, new, strict=False), start=1):
        if then != now:
            return [f"line {number}: {_apart(then, now)}"]
    return [f"{len(old)} lines then, {len(new)} now"]


def _apart(then: str, now: str) -> str:
    """Two texts from shortly before they part."""
    first = next((at for at, (a, b) in enumerate(zip(then, now, strict=False)) if a != b), min(len(then), len(now)))
    begin = max(0, first - BEFORE)
    dots = "..." if begin else ""
    return f"{dots}{then[begin : begin + SHOWN]} then, {dots}{now[begin : begin + SHOWN]} now"
