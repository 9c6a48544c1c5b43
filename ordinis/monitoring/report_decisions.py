"""Decisions as lines for people, and the limits that bound, cut or denied them.

The rung and the limits that a decision sits on are told by its certificate's verdict, in words; the other verdicts
are the rulebook's, one a rule. What a gate did to an order is told by the order's own events.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from ordinis.domain.decisions import Decision, Verdict
from ordinis.domain.orders import OrderState, Side
from ordinis.monitoring.report_data import DecisionLine, Effect, LimitEvent
from ordinis.monitoring.report_trading import SessionIndex
from ordinis.ports import FloatArray, UnitOfWork

CERTIFICATE = "certificate"
GROSS, SECTOR, POSITION, GATES = "gross exposure", "sector cap", "position cap", "order gates"
_RULES = {"position": POSITION, "sector": SECTOR, "gross": GROSS, "cash": GROSS}
"""The rule behind a constraint of the certificate, by the first word of the constraint's name."""
_CERTIFIED = re.compile(r"rung (?P<rung>\w+); binding: (?P<binding>.*?)(; carried past by prices: (?P<past>.*))?")


@dataclass(frozen=True)
class Decided:
    lines: tuple[DecisionLine, ...]
    verdicts: tuple[Sequence[Verdict], ...]
    """Of each line."""
    limit_events: tuple[LimitEvent, ...]


def read_decisions(unit: UnitOfWork, index: SessionIndex, last: date | None = None) -> Decided:
    """Every decision up to session `last` in the order of its commit, and every limit that was felt."""
    lines, verdicts, events = dict[str, DecisionLine](), list[Sequence[Verdict]](), list[LimitEvent]()
    later = set()
    for decision in unit.decisions.all():
        if last is not None and decision.expires_at.date() > last:
            later.add(decision.id)
            continue
        found = unit.decisions.verdicts(decision.id)
        line = _line(decision, found, index)
        lines[decision.id] = line
        verdicts.append(found)
        events += _felt(line.session, found)
    for intent in unit.orders.all():
        if intent.state is OrderState.DENIED and intent.decision_id not in later:
            payload = unit.orders.events(intent.client_order_id)[-1]["payload"]
            detail = f"{intent.side} {intent.symbol}: {payload.get('reason', 'no reason kept')}"
            events.append(LimitEvent(lines[intent.decision_id].session, GATES, Effect.DENIED, detail))
    return Decided(tuple(lines.values()), tuple(verdicts), tuple(events))


def limit_in_force(rule: str, decided: Decided, index: SessionIndex) -> FloatArray:
    """(T,) the limit of `rule` by which the latest decision was judged; NaN before the first."""
    told = {
        line.session: verdict.limit
        for line, verdicts in zip(decided.lines, decided.verdicts, strict=True)
        for verdict in verdicts
        if verdict.rule == rule
    }
    return carried_forward(told, index)


def carried_forward(values: Mapping[date, float], index: SessionIndex) -> FloatArray:
    """(T,) the latest of `values` (by session) up to each session; NaN before the first."""
    result, latest = np.full(len(index), np.nan), np.nan
    for row, session in enumerate(index.sessions):
        latest = values.get(session, latest)
        result[row] = latest
    return result


def _line(decision: Decision, verdicts: Sequence[Verdict], index: SessionIndex) -> DecisionLine:
    row = index.row(decision.as_of)
    certified = _certified(verdicts)
    return DecisionLine(
        # A decision after the last close is of a session that nobody has valued yet.
        session=decision.as_of.date() if row is None else index.sessions[row],
        source=decision.source.value,
        allocator=decision.model_sha.partition("@")[0],
        rung=certified["rung"] if certified else "",
        invested=float(sum(decision.weights.values())),
        sells=sum(order.side is Side.SELL for order in decision.orders),
        buys=sum(order.side is Side.BUY for order in decision.orders),
        cuts=tuple(verdict.rule for verdict in verdicts if not verdict.passed and verdict.rule != CERTIFICATE),
        reason=decision.reason,
        weights=decision.weights,
    )


def _felt(session: date, verdicts: Sequence[Verdict]) -> Iterator[LimitEvent]:
    """What the rulebook did to one decision; a rule that cut it is not told again as binding."""
    cut = set()
    for verdict in verdicts:
        if not verdict.passed and verdict.rule != CERTIFICATE:
            cut.add(verdict.rule)
            yield LimitEvent(session, verdict.rule, Effect.CUT, verdict.detail)
    certified = _certified(verdicts)
    if certified is None:
        return
    for effect, names in ((Effect.PASSED, certified["past"]), (Effect.BOUND, certified["binding"])):
        touched: dict[str, list[str]] = {}
        for name in (names or "").split(", "):
            rule = _RULES.get(name.split(" ")[0])
            if rule is not None and rule not in cut:
                touched.setdefault(rule, []).append(name)
        for rule, constraints in touched.items():
            cut.add(rule)
            yield LimitEvent(session, rule, effect, ", ".join(constraints))


def _certified(verdicts: Sequence[Verdict]) -> re.Match[str] | None:
    for verdict in verdicts:
        if verdict.rule == CERTIFICATE:
            return _CERTIFIED.fullmatch(verdict.detail)
    return None
