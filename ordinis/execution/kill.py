"""The kill switch: it works with everything else dead.

Kill writes a flag file first, because a file needs neither database nor network; then the ledger's control row, then
the broker: cancel everything, suspend trading. Each step is tried whatever became of the others, and says how it
ended. Little is imported here: orders leave until the flag is there, and numerics take longer to load than a file to
write.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ordinis.domain.limits import TradingState
from ordinis.domain.orders import Known, QueryOutcome
from ordinis.files import sync_folder

if TYPE_CHECKING:
    from ordinis.ports import Broker, Ledger


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
        try:
            # Whatever a terminal gave for a reason can be written.
            with flag.open("w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{at.isoformat()} {by}: {reason}\n")
                file.flush()
                os.fsync(file.fileno())
            sync_folder(flag.parent)
        except OSError as error:
            # That it is there is what stops orders, be it empty on a disk that is full.
            if not flag.exists():
                raise
            return f"{flag} is set, but may not outlive a power cut: {error.strerror}"
        return str(flag)

    def write_row() -> str:
        from ordinis.ports import ControlRow

        with ledger().begin() as unit:
            unit.control.set(ControlRow(TradingState.KILLED, reason, by, at))
            unit.commit()
        return "KILLED"

    def cancel_all() -> str:
        return ask_broker(broker, lambda door: door.cancel_all(), "orders cancelled")

    def suspend() -> str:
        return ask_broker(broker, lambda door: door.suspend_trading(True), "suspended at the broker")

    return [
        attempted("kill flag", raise_flag),
        attempted("control row", write_row),
        attempted("cancel all orders", cancel_all),
        attempted("suspend trading", suspend),
    ]


def attempted(name: str, act: Callable[[], str]) -> Step:
    """What became of one step."""
    try:
        return Step(name, True, act())
    except Exception as error:  # the outermost loop: whatever a step dies of, the next one is tried
        return Step(name, False, str(error) or type(error).__name__)


def ask_broker(
    broker: Callable[[], Broker | None], ask: Callable[[Broker], QueryOutcome[int] | QueryOutcome[bool]], done: str
) -> str:
    """What was `done` at the broker, if there is one.

    Raises:
        OSError: it did not answer.
    """
    door = broker()
    if door is None:
        return "the broker lives in the actor's own process; the flag stops it"
    answer = ask(door)
    if not isinstance(answer, Known):
        raise OSError(f"the broker did not answer: {getattr(answer, 'reason', 'stale')}")
    return done
