"""One night's calibration: from executions that are kept to a version of the cost model, promoted or not.

    executions -> paid costs -> calibration -> record        and, when promoted, the model that is traded with

What a night makes depends on the executions and bars up to its session and on what earlier nights promoted, and on
nothing else, so that a night that is done again makes the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import cache
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from ordinis.costs.models import BASIS_POINT, CalibratedCost, SquareRootCost
from ordinis.domain.canonical import plain, sha256
from ordinis.domain.executions import Execution
from ordinis.domain.instruments import Instrument
from ordinis.feedback.calibration import Calibration, calibrate, calibrated_cost
from ordinis.feedback.cost_fit import CostPrior
from ordinis.feedback.paid import Paid, buckets, paid_costs
from ordinis.ports import PriceHistory

BUCKETS = 3


@dataclass(frozen=True)
class Version:
    """A version of the cost model, with what it was made from."""

    session: date
    calibration: Calibration
    bucket: Mapping[str, int]
    """Liquidity bucket by symbol."""
    orders: int
    left_out: int
    model: CalibratedCost | None
    """To be traded with; None where it was not promoted."""

    @property
    def name(self) -> str:
        """Told by its numbers: two of one name charge the same."""
        return self.model.version if self.model is not None else sha256(_known(plain(asdict(self.calibration))))


def calibrate_session(
    session: date,
    executions: Sequence[Execution],
    history: PriceHistory,
    reference: Mapping[str, Instrument],
    in_force: Version | None,
    prior: SquareRootCost,
) -> tuple[Version, Paid]:
    """What the evening of `session` makes of all orders so far.

    Args:
        in_force: what the newest promoted night before made; None before the first.
        prior: the model that is believed without any fill; its commission is known and stays.
    """
    bucket = buckets(history, reference, BUCKETS)
    paid = paid_costs(executions, history, reference, bucket)
    believed = CostPrior(
        half_spread=prior.half_spread_bps * BASIS_POINT, eta=prior.eta, delta=prior.delta, permanent=prior.permanent
    )
    if in_force is None:
        made = calibrate(paid.costs, believed, None, BUCKETS)
    else:
        charged_as = np.array([in_force.bucket.get(order.symbol, -1) for order in paid.orders], dtype=np.int64)
        made = calibrate(paid.costs, believed, in_force.calibration, BUCKETS, charged_as)
    model = calibrated_cost(made, bucket, prior.commission_bps) if made.promoted else None
    return Version(session, made, bucket, len(paid.orders), paid.left_out, model), paid


def numbers_of(version: Version) -> str:
    """The text in which a version is kept."""
    return json.dumps(plain(version), sort_keys=True, separators=(",", ":"))


def version_of(numbers: str) -> Version:
    """The version that `numbers` are of."""
    return _reader().validate_python(json.loads(numbers))


@cache
def _reader() -> TypeAdapter[Version]:
    return TypeAdapter(Version)


def _known(value: Any) -> Any:
    """NaN has no canonical text."""
    if isinstance(value, float):
        return value if value == value else None
    if isinstance(value, dict):
        return {name: _known(each) for name, each in value.items()}
    return [_known(each) for each in value] if isinstance(value, list) else value
