"""Whether what the book's own fills say of costs may replace the model in force, and the model that comes of it.

A calibration is promoted only if, on the last third of the fills, which it has not seen, it predicts the mean cost of
groups of similar orders better than the model in force, and within ten basis points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ordinis.costs.models import BASIS_POINT, CalibratedCost
from ordinis.domain.canonical import sha256
from ordinis.feedback.cost_fit import CostFit, CostPrior, PaidCosts, fit_buckets, of_prior
from ordinis.ports import FloatArray

LEAST_FILLS = 200
"""Below so many fills the prior stays."""
HELD_OUT = 1.0 / 3.0
GROUPS = 10
"""Groups of orders of similar participation, whose mean costs are predicted."""
LARGEST_ERROR = 10.0 * BASIS_POINT


@dataclass(frozen=True)
class Calibration:
    """A fit with what it was worth on fills that it had not seen."""

    book: CostFit
    buckets: tuple[CostFit, ...]
    """By liquidity bucket."""
    error: float
    """Mean absolute error of the groups' mean costs, on the fills that were held out; a fraction."""
    error_in_force: float
    """The same of the model in force."""
    promoted: bool
    reason: str


def calibrate(
    fills: PaidCosts,
    prior: CostPrior,
    in_force: Calibration | None,
    count: int = 1,
    charged_as: NDArray[np.int64] | None = None,
) -> Calibration:
    """Fit, judge on what was held out, and say whether the fit may replace the model in force.

    The model in force may have been made from some of the fills that are held out now: it is the harder to beat.

    Args:
        fills: of a book, oldest first.
        prior: believed before; `in_force` None means that the prior itself is in force.
        count: liquidity buckets, 0 to `count` - 1.
        charged_as: (n,) the bucket as which the model in force charges each fill, -1 for the book's costs: a symbol may
            have changed its bucket since. None where nothing has.
    """
    book_now = of_prior(prior) if in_force is None else in_force.book
    now = (book_now,) * count if in_force is None else in_force.buckets
    if len(fills) < LEAST_FILLS:
        reason = f"{len(fills)} fills, {LEAST_FILLS} are needed: the model in force stays"
        return Calibration(book_now, now, float("nan"), float("nan"), promoted=False, reason=reason)
    split = len(fills) - int(len(fills) * HELD_OUT)
    seen, unseen = fills.part(slice(0, split)), fills.part(slice(split, None))
    _, judged = fit_buckets(seen, prior, count)
    known_as = fills.bucket if charged_as is None else charged_as
    error = _error(unseen, _predicted(unseen, unseen.bucket, judged, book_now))
    before = _error(unseen, _predicted(unseen, known_as[split:], now, book_now))
    book, buckets = fit_buckets(fills, prior, count)
    told = (
        f"{error / BASIS_POINT:.2f} bp off on {len(unseen)} unseen fills, the model in force {before / BASIS_POINT:.2f}"
    )
    promoted = error < before and error < LARGEST_ERROR
    return Calibration(book, buckets, error, before, promoted, told)


def calibrated_cost(calibration: Calibration, bucket: Mapping[str, int], commission_bps: float) -> CalibratedCost:
    """What was calibrated, to be traded with; whether it may be is for `calibration.promoted` to say.

    Args:
        bucket: liquidity bucket by symbol, those of the fills; any other symbol has the book's costs.

    Raises:
        ConfigurationError: there is no such bucket.
    """
    book = calibration.book.model(commission_bps)
    buckets = tuple(found.model(commission_bps) for found in calibration.buckets)
    places = {symbol: int(place) for symbol, place in bucket.items()}
    version = sha256({"book": asdict(book), "buckets": [asdict(each) for each in buckets], "bucket": places})
    return CalibratedCost(version, book, buckets, places)


def liquidity_buckets(daily_notional: FloatArray, count: int) -> NDArray[np.int64]:
    """(N,) bucket of each symbol by the money that trades in it on an average day, 0 for the most liquid."""
    order = np.argsort(np.argsort(-daily_notional, kind="stable"), kind="stable")
    return np.asarray(order * count // max(len(order), 1), dtype=np.int64)


def _predicted(fills: PaidCosts, bucket: NDArray[np.int64], by_bucket: Sequence[CostFit], book: CostFit) -> FloatArray:
    """(n,) cost of each fill in its `bucket`, by `book` where it has none."""
    expected = book.predicted(fills.participation, fills.volatility)
    for place, fitted in enumerate(by_bucket):
        mine = bucket == place
        expected[mine] = fitted.predicted(fills.participation[mine], fills.volatility[mine])
    return expected


def _error(fills: PaidCosts, expected: FloatArray) -> float:
    """Mean absolute difference of paid and expected means, over groups of a bucket with similar participation."""
    errors, weights = [], []
    for bucket in np.unique(fills.bucket):
        [mine] = np.nonzero(fills.bucket == bucket)
        order = mine[np.argsort(fills.participation[mine], kind="stable")]
        for group in np.array_split(order, GROUPS):
            if len(group):
                errors.append(abs(float(fills.paid[group].mean() - expected[group].mean())))
                weights.append(len(group))
    return float(np.average(errors, weights=weights)) if errors else float("nan")
