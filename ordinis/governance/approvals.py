"""Limits that are looser than those in force before need a person's word, for a time.

A rulebook file is text, and a slip in it is a limit raised a hundred times. So the ledger keeps the limits that the
account trades under. Tighter ones are taken over at once; looser ones let the book shrink only, until a person has
approved them by name, and again when the approval ends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ordinis.domain.canonical import canonical
from ordinis.domain.limits import Approval, TradingState
from ordinis.governance.breakers import lower
from ordinis.ports import UnitOfWork

LIMITS = "the limits breaker"
SMALLER_IS_LOOSER = frozenset({"limits.cash_buffer", "orders.free_disk_mb"})
"""Every other limit is looser the larger it is, and loosest where it is off."""
SECTOR = "sector of "
Values = Mapping[str, Any]


def limits_of(sections: Mapping[str, Mapping[str, Any]], sectors: Mapping[str, str]) -> dict[str, Any]:
    """The limits of a rulebook's `sections` by name, with the sector that each symbol is counted in.

    When the book is rebalanced is a choice and no limit, so the trading section is left out.
    """
    named = {
        f"{section}.{key}": value
        for section in ("limits", "breakers", "orders")
        for key, value in sections[section].items()
    }
    return named | {f"{SECTOR}{symbol}": sector for symbol, sector in sectors.items()}


def loosened(before: Values, now: Values) -> dict[str, tuple[Any, Any]]:
    """What is looser `now` than `before`: both values, by name. A limit that was not known before is none."""
    looser = {}
    for name, old in before.items():
        new = now.get(name)
        if name.startswith(SECTOR):
            worse = new != old
        elif old is None or new is None:
            worse = old is not None
        else:
            worse = new < old if name in SMALLER_IS_LOOSER else new > old
        if worse:
            looser[name] = (old, new)
    return looser


def judge_limits(unit: UnitOfWork, values: Values, sha: str, now: datetime, *, take_over: bool = False) -> bool:
    """Lower the state where limits are looser than those approved; True when something was written.

    Args:
        take_over: at a start, limits that are no looser become those approved. Later a person may have approved what
            this process does not know yet.
    """
    known = unit.control.approval(now)
    if known is not None and known.sha == sha:
        return False
    looser = {} if known is None else loosened(json.loads(known.limits), values)
    if looser:
        told = ", ".join(f"{name} {_text(old)} to {_text(new)}" for name, (old, new) in looser.items())
        reason = f"limits are looser than approved, or their approval has ended: {told}"
        return lower(unit, TradingState.REDUCING, reason, by=LIMITS, at=now)
    if not take_over:
        return False
    reason = "the first of this account" if known is None else "nothing is looser"
    ends = None if known is None else known.expires_at
    unit.control.approve(Approval(sha, canonical(values), LIMITS, reason, now, ends))
    return True


def _text(value: Any) -> str:
    return "off" if value is None else str(value)
