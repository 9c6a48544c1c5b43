"""What a person asks for against the model, for a while: one symbol held, capped, frozen, or the baseline for all.

An override acts after the model and before the limits, so the tighter of the two wins, and it is asked again when an
order is sent. Each has an author, a reason and an end; the newest of a symbol and kind counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ordinis.domain.decisions import Verdict
from ordinis.errors import OverrideRefused

NEAR = 0.005
"""A weight this close to the one asked for is left alone, so that prices do not cause a trade a day."""


class OverrideKind(StrEnum):
    PIN = "pin"
    """Hold this weight."""
    MAX = "max"
    """Hold at most this weight."""
    MIN = "min"
    """Hold at least this weight, as far as the limits allow."""
    NO_TRADE = "no_trade"
    """Send no order in the symbol, neither buy nor sale."""
    REDUCE_ONLY = "reduce_only"
    """Send no order that raises the position."""
    BASELINE = "baseline"
    """The whole account: the baseline answers instead of the model."""
    FLAT = "flat"
    """The whole account: everything is sold and nothing bought."""

    @property
    def has_value(self) -> bool:
        return self in (OverrideKind.PIN, OverrideKind.MAX, OverrideKind.MIN)


@dataclass(frozen=True)
class Override:
    symbol: str
    """Empty for the account."""
    kind: OverrideKind
    value: float | None
    """Weight, a fraction of equity; None for a kind without one."""
    by: str
    reason: str
    at: datetime
    expires_at: datetime

    def __post_init__(self) -> None:
        whole = self.kind in (OverrideKind.BASELINE, OverrideKind.FLAT)
        if whole != (not self.symbol):
            raise OverrideRefused(self.kind, f"{self.kind} is for {'the whole account' if whole else 'one symbol'}")
        if self.kind.has_value != (self.value is not None):
            raise OverrideRefused(self.kind, "needs a weight" if self.kind.has_value else "takes no weight")
        if self.value is not None and not (math.isfinite(self.value) and 0.0 <= self.value <= 1.0):
            raise OverrideRefused(self.kind, f"{self.value} is not a fraction of equity between 0 and 1")

    def unmet(self, held: float) -> bool:
        """True when the weight `held` is further from what was asked for than prices alone move it in a day."""
        if self.value is None:
            return False
        above, below = held - self.value > NEAR, self.value - held > NEAR
        return (above and self.kind is not OverrideKind.MIN) or (below and self.kind is not OverrideKind.MAX)

    @property
    def ceiling(self) -> float | None:
        """The largest weight that a buy may lead to; None when this override sets none."""
        return self.value if self.kind in (OverrideKind.PIN, OverrideKind.MAX) else None


def agree(row: Override, others: Sequence[Override]) -> None:
    """Refuse a wish that cannot be met beside `others` of its symbol: a floor above a ceiling.

    Raises:
        OverrideRefused: names the one that stands against it.
    """
    floors, ceilings = (OverrideKind.MIN, OverrideKind.PIN), (OverrideKind.MAX, OverrideKind.PIN)
    for other in (o for o in others if o.symbol == row.symbol and o.kind is not row.kind):
        if row.value is None or other.value is None:
            continue
        above = row.kind in floors and other.kind in ceilings and row.value > other.value
        below = row.kind in ceilings and other.kind in floors and row.value < other.value
        if above or below:
            stands = f"{other.by} asked for {other.kind} {other.value:.2%} until {other.expires_at:%Y-%m-%d}"
            raise OverrideRefused(row.kind, f"{stands}; lift that first: `ordinis override lift {row.symbol} ...`")


def overridden(
    weights: Mapping[str, float], held: Mapping[str, float], overrides: Sequence[Override]
) -> tuple[dict[str, float], Verdict]:
    """What people leave of proposed `weights`, with a verdict that names who changed what.

    Args:
        weights: proposed fractions of equity; `held` those of the book as it is.
        overrides: those in force.
    """
    result = dict(weights)
    changed = []
    for row in (row for row in overrides if row.symbol):
        before, now = result.get(row.symbol, 0.0), held.get(row.symbol, 0.0)
        value = row.value or 0.0
        match row.kind:
            case OverrideKind.PIN:
                after = value
            case OverrideKind.MAX:
                after = min(before, value)
            case OverrideKind.MIN:
                after = max(before, value)
            case OverrideKind.NO_TRADE:
                after = now
            case _:
                after = min(before, now)
        if after != before:
            changed.append(f"{row.symbol} {row.kind} {before:.4f} to {after:.4f} ({row.by}: {row.reason})")
            result[row.symbol] = after
    flat = next((row for row in overrides if row.kind is OverrideKind.FLAT), None)
    if flat is not None:
        sold = sorted(symbol for symbol, weight in result.items() if weight)
        changed.append(f"everything to nothing ({flat.by}: {flat.reason}), {len(sold)} symbols proposed")
        result = dict.fromkeys(result, 0.0)
    if result.keys() - weights.keys():
        result = {symbol: result[symbol] for symbol in sorted(result)}
    return result, Verdict("overrides", float(len(overrides)), float(len(changed)), not changed, "; ".join(changed))
