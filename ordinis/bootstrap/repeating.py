"""Stored decisions made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING

from ordinis.bootstrap.deciding import allocators, costs, rulebook
from ordinis.bootstrap.market import bar_store, history, instruments, universe
from ordinis.bootstrap.trading import _assembled, ledger, simulated_broker

if TYPE_CHECKING:
    from ordinis.domain.decisions import Decision, Source
    from ordinis.execution.replay import Answering, Recomputed
    from ordinis.ports import Allocator, CostModel
    from ordinis.settings import Settings


def answering(settings: Settings) -> Answering:
    """Who answers to which source of a decision, while a cost model is in force."""
    from ordinis.domain.decisions import Source

    asked = allocators(settings)
    made: dict[str, Mapping[Source, Allocator]] = {}

    def by(model: CostModel) -> Mapping[Source, Allocator]:
        # Hundreds of decisions were made by one model.
        name = repr(model)
        if name not in made:
            made[name] = {
                Source.MODEL: asked(settings.allocator, model),
                Source.BASELINE: asked(settings.baseline, model),
            }
        return made[name]

    return by


def recompute(settings: Settings, decision: str) -> Recomputed:
    """Make one stored decision again; ReplayDiffers says what is not as it was."""
    from ordinis.clock import trading_calendar
    from ordinis.execution.decide import Desk
    from ordinis.execution.rebalance import Planner
    from ordinis.execution.replay import replay_decision

    rules = rulebook(settings)
    planner = Planner(instruments(settings), rules.trading, costs(settings), rules.limits)
    return replay_decision(
        decision,
        ledger(settings),
        Desk(rules, planner, trading_calendar()),
        answering(settings),
        lambda as_of, session: history(settings, as_of, session),
    )


def replay_ledger(settings: Settings, on_decision: Callable[[Decision], None] = lambda decision: None) -> str:
    """Repeat the whole ledger at a fresh venue; its canonical text, which is the same to the byte."""
    from ordinis.clock import ReplayClock, trading_calendar
    from ordinis.domain.market import SessionClosed
    from ordinis.execution.replay import replay_ledger as repeat
    from ordinis.persistence.unit_of_work import SqlLedger

    calendar = trading_calendar()
    clock = ReplayClock(calendar.opens(settings.replay_first))
    answers, model = answering(settings), costs(settings)
    fresh = _assembled(
        settings.model_copy(update={"home": settings.home / "replay"}),
        clock,
        SqlLedger("sqlite://", settings.account),
        simulated_broker(settings, clock, ":memory:"),
        next(iter(answers(model).values())),
        None,
    )
    symbols, store = universe(settings), bar_store(settings)

    def closes(session: date) -> SessionClosed:
        return SessionClosed(session, calendar.closes(session), store.bars(symbols, session, calendar.closes(session)))

    return repeat(
        ledger(settings),
        fresh,
        clock,
        answers,
        lambda as_of, session: history(settings, as_of, session),
        closes,
        on_decision,
    )
