"""What was asked, what was answered, what the rules said, and what was decided.

A decision's id is the hash of the account, the instant, the source, its inputs, the limits and the model: the same
question has the same id, so its orders have the same ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from ordinis.domain.canonical import instant_text
from ordinis.domain.orders import PlannedOrder

WHOLE = 1e-6
"""How far weights and cash may be from summing to one."""


class Rung(StrEnum):
    """Who answered: each rung is the fallback of the one before."""

    MODEL = "model"
    OPTIMISER = "optimiser"
    CLOSED_FORM = "closed_form"
    HOLD = "hold"


class Source(StrEnum):
    MODEL = "model"
    BASELINE = "baseline"
    HUMAN = "human"


@dataclass(frozen=True)
class Certificate:
    """How far weights are inside each limit, computed apart from the solver that made them."""

    slacks: Mapping[str, float]
    """Limit minus value, by constraint; negative means violated."""
    binding: tuple[str, ...]
    """Constraints with a slack within the tolerance of zero."""
    tolerance: float

    @property
    def worst(self) -> float:
        """The smallest slack; negative when a limit is broken."""
        return min(self.slacks.values(), default=0.0)

    @property
    def holds(self) -> bool:
        return self.worst >= -self.tolerance


@dataclass(frozen=True)
class Allocation:
    """An allocator's answer: target weights as fractions of equity; cash is the rest."""

    weights: Mapping[str, float]
    cash: float
    allocator: str
    version: str
    rung: Rung
    certificate: Certificate
    expected_pnl: Mapping[str, float] = field(default_factory=dict)
    """Currency over `horizon_sessions`, by symbol."""
    horizon_sessions: int = 1
    confidence: float = 1.0
    """In [0, 1]; what it means is the allocator's to say."""
    next_decisions: tuple[datetime, ...] = ()
    view_sha: str = ""
    """Hash of the market view that was used."""
    trace: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What one rule said of one proposal: every one is stored, pass or fail."""

    rule: str
    limit: float
    value: float
    passed: bool
    detail: str = ""


@dataclass(frozen=True)
class Review:
    """A proposal after the rulebook: never larger in any position than it came in."""

    weights: Mapping[str, float]
    verdicts: tuple[Verdict, ...]
    refused: bool = False
    """True when nothing that adds risk may be traded at all."""

    @property
    def reason(self) -> str:
        return "; ".join(f"{v.rule}: {v.detail}" for v in self.verdicts if not v.passed)


class DecisionStatus(StrEnum):
    APPROVED = "APPROVED"
    REFUSED = "REFUSED"


@dataclass(frozen=True)
class Decision:
    id: str
    account: str
    source: Source
    model_sha: str
    inputs_sha: str
    limits_sha: str
    as_of: datetime
    expires_at: datetime
    weights: Mapping[str, float]
    orders: tuple[PlannedOrder, ...]
    """The whole plan, fixed before the first order is sent, so that a restart finishes this plan and no other."""
    status: DecisionStatus
    approved_by: str
    reason: str

    def decided_quantity(self, symbol: str) -> Decimal:
        return sum((order.quantity for order in self.orders if order.symbol == symbol), Decimal(0))


def decision_id(account: str, as_of: datetime, source: Source, inputs_sha: str, limits_sha: str, model_sha: str) -> str:
    """sha256 of what makes two decisions the same decision."""
    parts = (account, instant_text(as_of), source.value, inputs_sha, limits_sha, model_sha)
    return hashlib.sha256("|".join(parts).encode()).hexdigest()
