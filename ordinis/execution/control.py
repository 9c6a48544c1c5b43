"""What a person asks of trading beside the kill switch (`kill`): its release, halts, locks, the end of an override.

Release is a person's act: it needs a reason and a clean reconciliation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ordinis.domain.limits import TradingState
from ordinis.domain.overrides import Override, OverrideKind
from ordinis.errors import NotFound, TradingStopped
from ordinis.execution.kill import Step, ask_broker, attempted
from ordinis.governance.breakers import DAILY_LOSS
from ordinis.ports import Broker, ControlRow, Ledger


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
    try:
        raised = _content(flag)
    except OSError as error:
        return [Step("kill flag", False, f"{flag} cannot be read: {error.strerror}")]
    standing = _standing(ledger)

    def unchanged(row: ControlRow | None) -> None:
        if row != standing or _content(flag) != raised:
            newer = "somebody" if row is None else f"{row.by}, who said: {row.reason}"
            raise TradingStopped(TradingState.KILLED if row is None else row.state, "it was stopped meanwhile", newer)

    def lift() -> str:
        unchanged(_standing(ledger))
        return ask_broker(lambda: broker, lambda door: door.suspend_trading(False), "trading at the broker")

    def write_row() -> str:
        with ledger.begin() as unit:
            unchanged(unit.control.state())
            unit.control.set(ControlRow(TradingState.ACTIVE, reason, by, at))
            unit.commit()
        return "ACTIVE"

    def lower_flag() -> str:
        if _content(flag) != raised:
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
        steps.append(attempted(name, act))
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

    steps = [attempted("reconcile", reconcile)]
    return [*steps, attempted("control row", write_row)] if steps[0].done else steps


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


def _content(flag: Path) -> bytes | None:
    # A person may have written it by hand, in any encoding.
    return flag.read_bytes() if flag.exists() else None


def _standing(ledger: Ledger) -> ControlRow | None:
    with ledger.begin(write=False) as unit:
        return unit.control.state()
