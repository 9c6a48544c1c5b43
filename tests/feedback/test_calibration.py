"""Costs learned from fills: planted impact is found again, few fills change nothing, and worse models stay out."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from decimal import Decimal

import numpy as np
import pytest

from ordinis.costs.models import BASIS_POINT, cost_model
from ordinis.domain.canonical import canonical
from ordinis.errors import ConfigurationError
from ordinis.feedback.calibration import (
    LARGEST_ERROR,
    Calibration,
    calibrate,
    calibrated_cost,
    liquidity_buckets,
)
from ordinis.feedback.cost_fit import CostPrior, PaidCosts, fit, fit_buckets
from ordinis.optimize.trading_costs import trading_costs

HALF_SPREAD, ETA, DELTA, NOISE = 1.0 * BASIS_POINT, 0.142, 0.6, 10.0 * BASIS_POINT


def planted(
    seed: int,
    count: int,
    *,
    buckets: tuple[float, ...] = (ETA,),
    noise: float = NOISE,
    permanent: float = 0.0,
    most: float = 0.1,
) -> PaidCosts:
    """Fills that paid the law of impact with the eta of their bucket, participations log-uniform from 1e-4 to `most`.

    Every other one with its drift, in a market that moves by its volatility.
    """
    rng = np.random.default_rng(seed)
    participation = np.exp(rng.uniform(np.log(1e-4), np.log(most), count))
    volatility, bucket = 0.02 * np.exp(0.3 * rng.normal(size=count)), rng.integers(len(buckets), size=count)
    impact = np.array(buckets)[bucket] * volatility * participation**DELTA + permanent / 2 * volatility * participation
    paid = HALF_SPREAD + impact + noise * rng.normal(size=count)
    drift = volatility * (permanent * participation + rng.normal(size=count))
    drift[1::2] = np.nan
    return PaidCosts(paid, participation, volatility, bucket, drift)


def test_intervals_cover_the_truth_in_nine_seeds_of_ten_and_better() -> None:
    covered = np.zeros(3)
    for seed in range(100):
        found = fit(planted(seed, 3_000), CostPrior())
        for place, (estimate, truth) in enumerate(
            [(found.half_spread, HALF_SPREAD), (found.eta, ETA), (found.delta, DELTA)]
        ):
            covered[place] += estimate.low <= truth <= estimate.high
    assert (covered >= 90).all(), covered


def test_with_enough_fills_estimates_are_within_a_tenth() -> None:
    found = fit(planted(1, 400_000), CostPrior())
    assert found.eta.value == pytest.approx(ETA, rel=0.1)
    assert found.delta.value == pytest.approx(DELTA, rel=0.1)
    assert found.half_spread.value == pytest.approx(HALF_SPREAD, rel=0.1)
    assert found.noise == pytest.approx(NOISE, rel=0.02)


def test_without_noise_the_law_is_found_exactly() -> None:
    found = fit(planted(0, 5_000, noise=1e-9), CostPrior())
    assert (found.eta.value, found.delta.value) == pytest.approx((ETA, DELTA), rel=1e-3)


def test_without_noise_half_of_the_permanent_impact_is_found_in_what_was_paid() -> None:
    fills = planted(0, 5_000, noise=1e-9, permanent=0.25)
    for drift in (None, fills.drift):
        found = fit(replace(fills, drift=drift), CostPrior())
        assert found.permanent.value == pytest.approx(0.25, rel=1e-2)
        assert found.eta.value == pytest.approx(ETA, rel=1e-2)


def test_a_planted_permanent_impact_is_in_its_interval_in_nine_seeds_of_ten_and_better() -> None:
    covered, values = np.zeros(4), []
    for seed in range(100):
        found = fit(planted(seed, 2_000, permanent=0.2, most=1.0), CostPrior())
        pairs = [(found.half_spread, HALF_SPREAD), (found.eta, ETA), (found.delta, DELTA), (found.permanent, 0.2)]
        covered += [estimate.low <= truth <= estimate.high for estimate, truth in pairs]
        values.append(found.permanent.value)
    assert (covered >= 90).all(), covered
    # More than half of the way from the prior, 0.1, to the truth.
    assert np.mean(values) > 0.15


def test_drifts_alone_say_what_stays_of_an_impact() -> None:
    """Noise in the prices paid hides all: what is learned of the permanent impact, the closes have said."""
    fills = planted(0, 20_000, permanent=0.3, most=1.0, noise=100.0)
    with_drift, without = fit(fills, CostPrior()), fit(replace(fills, drift=None), CostPrior())
    assert without.permanent.value == pytest.approx(0.1, abs=1e-3)
    # By hand: g / 0.1^2 weighs the prior of 0.1, the sum of squared participations the mean of drift / (sigma p).
    known = np.isfinite(fills.drift)
    p, moved = fills.participation[known], (fills.drift / fills.volatility)[known]
    expected = (0.1 / 0.1**2 + p @ moved) / (1 / 0.1**2 + p @ p)
    assert with_drift.permanent.value == pytest.approx(expected, abs=1e-3)
    assert with_drift.permanent.value == pytest.approx(0.3, abs=0.06)
    assert with_drift.permanent.high - with_drift.permanent.low == pytest.approx(
        2 * 1.96 / (100 + p @ p) ** 0.5, rel=0.01
    )


def test_a_drift_where_nothing_is_known_to_move_says_nothing() -> None:
    fills = planted(0, 3_000, permanent=0.2)
    still = np.arange(3_000) % 3 == 0
    assert fills.drift is not None
    calm = replace(fills, volatility=np.where(still, 0.0, fills.volatility))
    known = replace(calm, drift=np.where(still, 0.5, fills.drift))
    unknown = replace(calm, drift=np.where(still, np.nan, fills.drift))
    assert fit(known, CostPrior()) == fit(unknown, CostPrior())


def test_without_drifts_the_permanent_impact_stays_at_its_prior_and_eta_is_right() -> None:
    covered, etas = 0, []
    for seed in range(100):
        found = fit(replace(planted(seed, 3_000, permanent=0.1), drift=None), CostPrior())
        assert found.permanent.value == pytest.approx(CostPrior().permanent, abs=0.06)
        covered += found.eta.low <= ETA <= found.eta.high
        etas.append(found.eta.value)
    assert covered >= 90
    assert np.mean(etas) == pytest.approx(ETA, rel=0.1)


def test_fifty_fills_leave_the_model_in_force() -> None:
    found = calibrate(planted(0, 50), CostPrior(), None)
    assert not found.promoted
    assert found.reason == "50 fills, 200 are needed: the model in force stays"
    assert (found.book.eta.value, found.book.delta.value) == (0.3, 0.5)


def test_a_better_model_is_promoted_and_its_error_is_below_ten_basis_points() -> None:
    promoted = [calibrate(planted(seed, 6_000), CostPrior(), None) for seed in range(20)]
    assert all(found.promoted for found in promoted)
    assert max(found.error for found in promoted) < min(LARGEST_ERROR, *(f.error_in_force for f in promoted))
    assert "unseen fills, the model in force" in promoted[0].reason


def test_a_model_that_predicts_unseen_fills_worse_is_not_promoted() -> None:
    """The market of the last third is another one than that which was learned."""
    calm, wild = planted(0, 4_000), planted(1, 2_000)
    both = _one_after_the_other(calm, replace(wild, paid=wild.paid + 40 * BASIS_POINT))
    dear = fit(planted(2, 6_000), CostPrior(half_spread=41 * BASIS_POINT, half_spread_sd=1e-8))
    in_force = Calibration(dear, (dear,), 0.0, 0.0, promoted=True, reason="")
    found = calibrate(both, CostPrior(), in_force)
    assert found.error > found.error_in_force
    assert not found.promoted
    off = calibrate(both, CostPrior(), None)
    assert off.error > LARGEST_ERROR
    assert not off.promoted


def test_the_model_in_force_is_judged_by_what_it_charges_whatever_the_buckets_are_now() -> None:
    """Cheap and dear symbols have changed places since: the model that is right about them stays as good as it was."""
    fills = planted(0, 6_000, buckets=(0.05, 0.60))
    right = calibrate(fills, CostPrior(), None, 2)
    renamed = replace(fills, bucket=1 - fills.bucket)
    same = calibrate(fills, CostPrior(), right, 2)
    known = calibrate(renamed, CostPrior(), right, 2, charged_as=fills.bucket)
    assert known.error_in_force == pytest.approx(same.error_in_force)
    mistaken = calibrate(renamed, CostPrior(), right, 2)
    assert mistaken.error_in_force > 3 * known.error_in_force
    nowhere = calibrate(fills, CostPrior(), right, 2, charged_as=np.full(len(fills), -1))
    whole = replace(right, buckets=(right.book, right.book))
    assert nowhere.error_in_force == calibrate(fills, CostPrior(), whole, 2).error_in_force


def _one_after_the_other(one: PaidCosts, other: PaidCosts) -> PaidCosts:
    names = ("paid", "participation", "volatility", "bucket", "drift")
    return PaidCosts(*(np.concatenate([getattr(one, name), getattr(other, name)]) for name in names))


def test_the_future_is_not_in_what_judges_it() -> None:
    """What the held-out fills paid moves the verdict and not the fit that is judged: a later rise is missed."""
    fills = planted(3, 3_000)
    later = fills.paid.copy()
    later[-1_000:] += 5 * BASIS_POINT
    before, after = (calibrate(each, CostPrior(), None) for each in (fills, replace(fills, paid=later)))
    assert after.error == pytest.approx(before.error + 5 * BASIS_POINT, abs=1.5 * BASIS_POINT)


def test_buckets_differ_where_fills_say_so_and_share_where_they_are_few() -> None:
    fills = planted(0, 60_000, buckets=(0.08, 0.30))
    book, (liquid, illiquid) = fit_buckets(fills, CostPrior(), 2)
    assert liquid.delta == illiquid.delta == book.delta, "one exponent is what an optimiser has"
    assert liquid.eta.value < book.eta.value < illiquid.eta.value
    assert illiquid.eta.value / liquid.eta.value > 2.5
    few = planted(1, 3_000, buckets=(ETA, ETA))
    few = few.part((few.bucket == 0) | (np.arange(3_000) < 20))
    book, (_, thin) = fit_buckets(few, CostPrior(), 2)
    assert thin.fills < 20
    assert thin.eta.value == pytest.approx(book.eta.value, rel=0.35), "as far as its own few fills reach"
    assert thin.eta.high - thin.eta.low > book.eta.high - book.eta.low


def test_a_bucket_without_a_fill_is_what_the_book_is_and_one_fill_moves_it_little() -> None:
    for seed in range(20):
        fills = planted(seed, 3_000)
        book, (_, empty) = fit_buckets(fills, CostPrior(), 2)
        assert (empty.eta.value, empty.delta.value, empty.fills) == (book.eta.value, book.delta.value, 0)
        alone = replace(fills, bucket=np.where(np.arange(3_000) == 7, 1, 0))
        book, (_, one) = fit_buckets(alone, CostPrior(), 2)
        assert one.eta.low < book.eta.value < one.eta.high
        assert one.noise == pytest.approx(book.noise, rel=0.1)
    assert calibrate(planted(0, 600), CostPrior(), None, 2).book.fills == 600


def test_a_cost_below_nothing_counts_as_none() -> None:
    """A market that pays whoever trades: no model may count on that."""
    fills = planted(3, 4_000, buckets=(0.0,))
    found = calibrate(replace(fills, paid=fills.paid - 4.0 * BASIS_POINT), CostPrior(), None)
    assert found.book.half_spread.value < 0.0
    model = found.book.model(0.5)
    assert model.half_spread_bps == 0.0
    assert min(model.eta, model.permanent) >= 0.0
    small, sigma = np.full(1, 1e-9), np.full(1, 0.02)
    assert found.book.predicted(small, sigma)[0] >= 0.0


def test_a_permanent_impact_below_nothing_counts_as_none() -> None:
    """A market that comes back further than it went: the drift says what no cost model can be."""
    fills = planted(0, 4_000, most=1.0)
    assert fills.drift is not None
    found = calibrate(replace(fills, drift=fills.drift - fills.volatility * fills.participation), CostPrior(), None)
    assert found.book.permanent.value < 0.0 < min(found.book.half_spread.value, found.book.eta.value)
    assert found.promoted
    assert found.book.model(0.5).permanent == 0.0
    one, sigma = np.ones(1), np.full(1, 0.02)
    half_spread, eta = found.book.half_spread.value, found.book.eta.value
    assert found.book.predicted(one, sigma)[0] == pytest.approx(half_spread + eta * 0.02, rel=1e-12)


def test_what_was_calibrated_can_be_traded_with() -> None:
    found = calibrate(planted(0, 20_000, buckets=(0.08, 0.30), permanent=0.2, most=1.0), CostPrior(), None, 2)
    assert found.promoted
    bucket = dict(zip(("KO", "XOM"), liquidity_buckets(np.array([9e9, 1e6]), 2), strict=True))
    model = calibrated_cost(found, bucket, commission_bps=0.7)
    p, sigma = np.array([1e-3, 0.05, 0.4]), np.full(3, 0.02)
    for symbol, fitted in (("KO", found.buckets[0]), ("XOM", found.buckets[1]), ("MSFT", found.book)):
        charged = [model.slippage(symbol, 1e4, float(each), 0.02) for each in p]
        np.testing.assert_allclose(charged, fitted.predicted(p, sigma), rtol=1e-12)
    assert model.of("XOM").eta > 2.0 * model.of("KO").eta
    assert model.fee(Decimal(1_000_000)) == Decimal("70.00")
    # Stored with a decision and read again, and known to the optimiser.
    assert cost_model("CalibratedCost", json.loads(canonical(asdict(model)))) == model
    one = np.ones(3)
    charged = trading_costs(model, ["KO", "XOM", "MSFT"], 1.0, one, one, sigma).part(np.full(3, True), 0.02)
    np.testing.assert_allclose(charged.square, [model.of(each).permanent / 2 for each in ("KO", "XOM", "MSFT")])
    np.testing.assert_allclose(charged.power, [model.of(each).eta for each in ("KO", "XOM", "MSFT")])


def test_another_number_is_another_version() -> None:
    found = calibrate(planted(0, 3_000, permanent=0.1, most=1.0), CostPrior(), None)
    version = calibrated_cost(found, {"KO": 0}, 0.5).version
    assert calibrated_cost(found, {"KO": 0}, 0.5).version == version
    other = calibrate(planted(1, 3_000, permanent=0.1, most=1.0), CostPrior(), None)
    others = [
        calibrated_cost(other, {"KO": 0}, 0.5),
        calibrated_cost(found, {"XOM": 0}, 0.5),
        calibrated_cost(found, {"KO": 0}, 0.6),
    ]
    assert len({version, *(each.version for each in others)}) == 4
    with pytest.raises(ConfigurationError, match="KO is in bucket 1 of 1"):
        calibrated_cost(found, {"KO": 1}, 0.5)


def test_what_is_predicted_is_what_was_paid_where_participations_are_alike() -> None:
    """Eta and delta cannot be told apart there; their product can."""
    rng = np.random.default_rng(0)
    participation, volatility = 1e-3 * np.exp(0.05 * rng.normal(size=20_000)), np.full(20_000, 0.02)
    paid = HALF_SPREAD + ETA * volatility * participation**DELTA + NOISE * rng.normal(size=20_000)
    fills = PaidCosts(paid, participation, volatility, np.zeros(20_000, dtype=int))
    found = fit(fills, CostPrior())
    assert found.predicted(participation, volatility).mean() == pytest.approx(paid.mean(), abs=0.02 * BASIS_POINT)


def test_one_set_of_fills_gives_one_answer() -> None:
    assert fit(planted(5, 1_000), CostPrior()) == fit(planted(5, 1_000), CostPrior())


def test_buckets_of_liquidity_are_even_and_in_order() -> None:
    traded = np.array([5e6, 9e9, 1e8, 2e9, 3e7, 1e6])
    assert liquidity_buckets(traded, 3).tolist() == [2, 0, 1, 0, 1, 2]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"paid": np.array([0.0, np.nan])}, "must be finite"),
        ({"participation": np.array([0.1, 0.0])}, "above 0"),
        ({"volatility": np.array([0.1, -0.1])}, "at least 0"),
        ({"bucket": np.array([0])}, "shapes"),
        ({"drift": np.array([0.0])}, "shapes"),
        ({"drift": np.array([np.nan, np.inf])}, "a drift is a number, or NaN"),
    ],
)
def test_fills_that_cannot_be_learned_from_are_refused(changed: dict[str, np.ndarray], told: str) -> None:
    two = np.zeros(2)
    good = {"paid": two, "participation": two + 0.1, "volatility": two, "bucket": np.zeros(2, dtype=int)}
    with pytest.raises(ValueError, match=told):
        PaidCosts(**(good | changed))


def test_noise_that_grows_with_the_order_leaves_the_intervals_honest() -> None:
    """A fit that took all fills for equally noisy would cover the truth in seven seeds of ten."""
    covered, spreads = 0, []
    for seed in range(100):
        clean, rng = planted(seed, 1_000, noise=1e-9), np.random.default_rng(10_000 + seed)
        wandering = np.sqrt((3.0 * BASIS_POINT) ** 2 + 0.8**2 * clean.volatility**2 * clean.participation)
        found = fit(
            replace(clean, paid=clean.paid + wandering * rng.standard_normal(len(clean)), drift=None), CostPrior()
        )
        covered += found.eta.low <= ETA <= found.eta.high
        spreads.append(found.half_spread.value)
        assert found.noise == pytest.approx(float(np.sqrt(np.mean(wandering**2))), rel=0.2)
    assert covered >= 90
    # Small orders know the spread, however noisy the large ones are.
    assert float(np.std(spreads)) < 0.4 * BASIS_POINT
