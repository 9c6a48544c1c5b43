"""The kill switch and its release, and what else a person may ask: they work with everything else dead.

Kill writes a flag file first, because a file needs neither database nor network; then the ledger's control row, then
the broker: cancel everything, suspend trading. Each step is tried whatever became of the others, and says how it
ended. Release is a person's act: it needs a reason and a clean reconciliation.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ordinis.domain.limits import TradingState
from ordinis.domain.orders import Known, QueryOutcome
from ordinis.domain.overrides import Override, OverrideKind
from ordinis.errors import NotFound, TradingStopped
from ordinis.governance.breakers import DAILY_LOSS
from ordinis.ports import Broker, ControlRow, Ledger


@dataclass(frozen=True)
class Step:
    """One step of a kill or a release, as it ended."""

    name: str
    done: bool
    detail: str


def kill(
    flag: Path,
    ledger: Callable[[], Ledger],
    broker: Callable[[], Broker | None],
    *,
    reason: str,
    by: str,
    at: datetime,
) -> list[Step]:
    """Stop trading now. The doors are opened here, one by one, so that one that is stuck does not stop the rest."""

    def raise_flag() -> str:
        flag.parent.mkdir(parents=True, exist_ok=True)
        with flag.open("w", encoding="utf-8") as file:
            file.write(f"{at.isoformat()} {by}: {reason}\n")
            file.flush()
            os.fsync(file.fileno())
        return str(flag)

    def write_row() -> str:
        with ledger().begin() as unit:
            unit.control.set(ControlRow(TradingState.KILLED, reason, by, at))
            unit.commit()
        return "KILLED"

    def cancel_all() -> str:
        return _ask_broker(broker, lambda door: door.cancel_all(), "orders cancelled")

    def suspend() -> str:
        return _ask_broker(broker, lambda door: door.suspend_trading(True), "suspended at the broker")

    return [
        _step("kill flag", raise_flag),
        _step("control row", write_row),
        _step("cancel all orders", cancel_all),
        _step("suspend trading", suspend),
    ]


def resume(
    flag: Path,
    ledger: Ledger,
    broker: Broker | None,
    reconcile: Callable[[], str],
    *,
    reason: str,
    by: str,
    at: datetime,
) -> list[Step]:
    """Trade again: reconcile, lift the broker's suspension, write the row, remove the flag; stops at a failure.

    A kill or a halt that comes meanwhile counts: what was not there when this began is not lifted.
    """
    raised, standing = _text(flag), _standing(ledger)

    def unchanged(row: ControlRow | None) -> None:
        if row != standing or _text(flag) != raised:
            newer = "somebody" if row is None else f"{row.by}, who said: {row.reason}"
            raise TradingStopped(TradingState.KILLED if row is None else row.state, "it was stopped meanwhile", newer)

    def lift() -> str:
        unchanged(_standing(ledger))
        return _ask_broker(lambda: broker, lambda door: door.suspend_trading(False), "trading at the broker")

    def write_row() -> str:
        with ledger.begin() as unit:
            unchanged(unit.control.state())
            unit.control.set(ControlRow(TradingState.ACTIVE, reason, by, at))
            unit.commit()
        return "ACTIVE"

    def lower_flag() -> str:
        if _text(flag) != raised:
            raise OSError(f"{flag} was written meanwhile: somebody has killed trading again")
        flag.unlink(missing_ok=True)
        return "removed"

    steps: list[Step] = []
    for name, act in (
        ("reconcile", reconcile),
        ("lift suspension", lift),
        ("control row", write_row),
        ("kill flag", lower_flag),
    ):
        steps.append(_step(name, act))
        if not steps[-1].done:
            break
    return steps


def unlock(
    symbol: str, ledger: Ledger, reconcile: Callable[[], str], *, reason: str, by: str, at: datetime
) -> list[Step]:
    """Trade in one symbol again: reconcile, its difference included, then write the row; stops at a failure."""

    def write_row() -> str:
        with ledger.begin() as unit:
            lock = unit.control.state(symbol)
            if lock is None or lock.state is TradingState.ACTIVE:
                raise NotFound("lock", symbol, "`ordinis status` and the log name the symbols that are locked")
            unit.control.set(ControlRow(TradingState.ACTIVE, reason, by, at, symbol))
            unit.commit()
        return f"{symbol} was locked by {lock.by}: {lock.reason}"

    steps = [_step("reconcile", reconcile)]
    return [*steps, _step("control row", write_row)] if steps[0].done else steps


def slow_down(ledger: Ledger, state: TradingState, *, reason: str, by: str, at: datetime) -> str:
    """Lower the trading state; a state that is as low or lower already stays."""
    with ledger.begin() as unit:
        row = unit.control.state()
        ends_by_itself = row is not None and row.state is state and row.by == DAILY_LOSS
        if row is not None and not state.below(row.state) and not ends_by_itself:
            return f"Trading is {row.state} already, since {row.by} said: {row.reason}"
        unit.control.set(ControlRow(state, reason, by, at))
        unit.commit()
    return f"Trading is {state}. `ordinis resume --reason ...` ends it."


def lift(ledger: Ledger, symbol: str, kind: OverrideKind, *, reason: str, by: str, at: datetime) -> Override:
    """End the override in force of this symbol and kind; what it was.

    Raises:
        NotFound: there is none.
    """
    with ledger.begin() as unit:
        found = next((o for o in unit.control.overrides(at) if (o.symbol, o.kind) == (symbol, kind)), None)
        if found is None:
            raise NotFound("override", f"{symbol} {kind}".strip(), "`ordinis override list` shows those in force")
        unit.control.override(replace(found, by=by, reason=reason, at=at, expires_at=at))
        unit.commit()
    return found


def _text(flag: Path) -> str | None:
    return flag.read_text(encoding="utf-8") if flag.exists() else None


def _standing(ledger: Ledger) -> ControlRow | None:
    with ledger.begin(write=False) as unit:
        return unit.control.state()


def _step(name: str, act: Callable[[], str]) -> Step:
    try:
        return Step(name, True, act())
    except Exception as error:  # the outermost loop: whatever a step dies of, the next one is tried
        return Step(name, False, str(error) or type(error).__name__)


def _ask_broker(
    broker: Callable[[], Broker | None], ask: Callable[[Broker], QueryOutcome[int] | QueryOutcome[bool]], done: str
) -> str:
    door = broker()
    if door is None:
        return "the broker lives in the actor's own process; the flag stops it"
    answer = ask(door)
    if not isinstance(answer, Known):
        raise OSError(f"the broker did not answer: {getattr(answer, 'reason', 'stale')}")
    return done
