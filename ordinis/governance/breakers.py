"""Breakers: facts of the book and the broker that stop trading by themselves.

A breaker only ever lowers the trading state; a person raises it again, after a clean reconciliation. The one
exception is the daily loss, which counts from the last close and so ends with its session. A drawdown past its limit
first lets the book be sold, and halts when nothing is held any more: to halt at once would freeze the very positions
that lose. A person who resumes after it accepts the loss: the peak counts from there.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from ordinis.domain.limits import Breakers, TradingState
from ordinis.domain.orders import OrderState
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.ports import Control, ControlRow, UnitOfWork

logger = logging.getLogger(__name__)
MINUTE = timedelta(minutes=1)
DAILY_LOSS, DRAWDOWN = "the daily loss breaker", "the drawdown breaker"
REJECTS, PACE = "the reject breaker", "the pace gate"
RECONCILIATION, CLOCK = "the reconciliation breaker", "the clock breaker"
"""Who lowered the trading state when no person did."""


def lower(unit: UnitOfWork, state: TradingState, reason: str, *, by: str, at: datetime) -> bool:
    """Lower the account's trading state to `state`; False when it is there or further down already."""
    row = unit.control.state()
    if not state.below(TradingState.ACTIVE if row is None else row.state):
        return False
    unit.control.set(ControlRow(state, reason, by, at))
    logger.error("trading %s by %s: %s", state, by, reason)
    return True


def judge_book(unit: UnitOfWork, breakers: Breakers, portfolio: PortfolioSnapshot) -> bool:
    """Daily loss and drawdown; True when the state was lowered."""
    now, lowered = portfolio.as_of, False
    loss, drawdown = -portfolio.daily_return, portfolio.drawdown
    if breakers.daily_loss is not None and loss >= breakers.daily_loss:
        reason = f"down {loss:.2%} since the last close, the limit is {breakers.daily_loss:.2%}"
        lowered = lower(unit, TradingState.REDUCING, reason, by=DAILY_LOSS, at=now)
    if breakers.drawdown is not None and drawdown >= breakers.drawdown:
        state = TradingState.REDUCING if portfolio.holdings else TradingState.HALTED
        reason = f"{drawdown:.2%} below the peak, the limit is {breakers.drawdown:.2%}"
        # The daily loss ends with its day, a drawdown does not: it must be on record though both say REDUCING.
        row = unit.control.state()
        if row is not None and row.state is state is TradingState.REDUCING and row.by == DAILY_LOSS:
            unit.control.set(ControlRow(state, reason, DRAWDOWN, now))
            lowered = True
        lowered = lower(unit, state, reason, by=DRAWDOWN, at=now) or lowered
    return lowered


def a_new_day(unit: UnitOfWork, opened: datetime, now: datetime) -> bool:
    """End what the daily loss began in an earlier session; the caller has reconciled. True when it ended.

    Args:
        opened: when the session of `now` opened.
    """
    row = unit.control.state()
    if row is None or row.state is not TradingState.REDUCING or row.by != DAILY_LOSS or row.at >= opened:
        return False
    unit.control.set(ControlRow(TradingState.ACTIVE, "a new session", DAILY_LOSS, now))
    return True


def restarted(control: Control) -> datetime | None:
    """When a person last resumed after a drawdown had stopped trading; None when that never was."""
    return next((row.at for row in control.since(DRAWDOWN) if row.state is TradingState.ACTIVE), None)


def judge_rejects(unit: UnitOfWork, breakers: Breakers, now: datetime) -> bool:
    """Orders that the broker refused within a minute; True when the state was lowered."""
    refused = [i for i in unit.orders.sent_since(now - MINUTE) if i.state is OrderState.REJECTED]
    if breakers.rejects_per_minute is None or len(refused) < breakers.rejects_per_minute:
        return False
    symbols = ", ".join(sorted({intent.symbol for intent in refused}))
    reason = f"the broker refused {len(refused)} orders within a minute ({symbols})"
    return lower(unit, TradingState.HALTED, reason, by=REJECTS, at=now)
