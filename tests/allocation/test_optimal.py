"""Optimal allocators answer from the highest rung that can, and say which."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest

from ordinis.allocation.exposure import ExposureControl
from ordinis.allocation.naive import EqualWeight, InverseVolatility
from ordinis.allocation.optimal import Markowitz, MeanCVaR, MinimumVariance, descend
from ordinis.costs.models import CalibratedCost, ProportionalCost, SquareRootCost
from ordinis.domain.canonical import canonical
from ordinis.domain.decisions import Rung
from ordinis.domain.limits import Limits
from ordinis.errors import ConfigurationError, SolverFailed
from ordinis.optimize.array_modules import CPU, DEVICE_FAILURES, ArrayModule
from ordinis.optimize.mean_cvar import mean_cvar
from ordinis.risk.covariance import ledoit_wolf
from ordinis.risk.measures import cvar

LIMITS = Limits(position_cap=0.4)
RISK_ONLY = [
    MinimumVariance(LIMITS),
    MeanCVaR(LIMITS, lookback=252),
    Markowitz(LIMITS, "maximum_diversification"),
    Markowitz(LIMITS, "risk_parity"),
]
FAMILY = [*RISK_ONLY, Markowitz(LIMITS, "mean_variance"), Markowitz(LIMITS, "maximum_sharpe")]


@pytest.mark.parametrize("allocator", RISK_ONLY, ids=lambda a: a.name)
def test_the_calm_symbols_are_preferred_and_all_is_invested(allocator, view_of, walk, book_of):
    given = allocator.allocate(view_of(walk(300, (0.005, 0.005, 0.01, 0.02, 0.03))), book_of())
    assert given.rung is Rung.OPTIMISER
    assert given.certificate.holds
    assert sum(given.weights.values()) == pytest.approx(0.9, abs=1e-7)
    assert given.weights["S0"] > given.weights["S2"] > given.weights["S4"]


def test_minimum_variance_beats_every_neighbour_on_its_own_objective(view_of, walk, book_of):
    view = view_of(walk(300, (0.008, 0.01, 0.012, 0.02, 0.03)))
    given = MinimumVariance(LIMITS).allocate(view, book_of())
    covariance = ledoit_wolf(view.returns[-252:])
    weights = np.array(list(given.weights.values()))
    best = weights @ covariance @ weights
    rng = np.random.default_rng(0)
    for other in rng.dirichlet(np.ones(5), size=500) * 0.9:
        if other.max() <= 0.4:
            assert other @ covariance @ other >= best - 1e-12


def test_mean_cvar_beats_inverse_volatility_on_its_own_objective(view_of, walk, book_of):
    view = view_of(walk(600, (0.008, 0.01, 0.012, 0.02, 0.03)))
    ours, naive = (allocator.allocate(view, book_of()) for allocator in (MeanCVaR(LIMITS), InverseVolatility(LIMITS)))
    losses = [-view.returns[-504:] @ np.array(list(given.weights.values())) for given in (ours, naive)]
    assert cvar(losses[0], 0.95) < cvar(losses[1], 0.95)


@pytest.mark.parametrize("allocator", FAMILY, ids=lambda a: a.name)
def test_a_short_history_falls_to_the_closed_form_and_says_so(allocator, view_of, walk, book_of, caplog):
    given = allocator.allocate(view_of(walk(100)), book_of())
    assert given.rung is Rung.CLOSED_FORM
    assert given.trace["fallen"] == {"optimiser": "no symbol that is traded has 252 returns that move"}
    assert "from=optimiser" in caplog.text
    naive = InverseVolatility(LIMITS).allocate(view_of(walk(100)), book_of())
    assert given.weights == naive.weights


@pytest.mark.parametrize("allocator", FAMILY, ids=lambda a: a.name)
def test_a_very_short_history_holds(allocator, view_of, walk, book_of, caplog):
    given = allocator.allocate(view_of(walk(20)), book_of({"S0": 0.3}))
    assert given.rung is Rung.HOLD
    assert given.weights == {"S0": 0.3}
    assert set(given.trace["fallen"]) == {"optimiser", "closed_form"}
    assert "from=closed_form" in caplog.text


def test_a_solver_that_fails_is_not_swallowed(view_of, walk, book_of, caplog):
    def fail(returns, symbols):
        raise SolverFailed("clarabel", "NumericalError")

    given = descend(MinimumVariance(LIMITS), view_of(walk(300)), book_of(), 252, fail)
    assert given.rung is Rung.CLOSED_FORM
    assert "NumericalError" in given.trace["fallen"]["optimiser"]
    assert "NumericalError" in caplog.text


@pytest.mark.parametrize("allocator", FAMILY, ids=lambda a: a.name)
def test_a_symbol_listed_late_is_left_out_by_name(allocator, view_of, walk, book_of):
    closes = walk(300)
    closes[:100, 3] = np.nan
    given = allocator.allocate(view_of(closes), book_of())
    assert given.rung is Rung.OPTIMISER
    assert given.weights["S3"] == 0.0
    assert given.trace["left_out"] == ["S3"]
    assert given.confidence == pytest.approx(0.8)


@pytest.mark.parametrize("allocator", FAMILY, ids=lambda a: a.name)
def test_the_same_view_gives_the_same_bytes(allocator, sample, view_of, book_of):
    closes = sample.closes[-600:]
    first, second = (allocator.allocate(view_of(closes.copy()), book_of()) for _ in range(2))
    assert first == second


def test_sectors_bind_on_the_real_market(sample, view_of, book_of):
    sectors = {f"S{i}": "health" if i in (7, 10, 11, 14, 17) else "other" for i in range(20)}
    limits = Limits(sector_cap=0.3, sectors={name: s for name, s in sectors.items() if s == "health"})
    given = MinimumVariance(limits).allocate(view_of(sample.closes[-600:]), book_of())
    assert given.certificate.slacks["sector health"] == pytest.approx(0.0, abs=1e-6)
    assert given.certificate.holds


def test_every_parameter_makes_another_version():
    base = MeanCVaR(LIMITS)
    others = [replace(base, lookback=505), replace(base, confidence_level=0.9), replace(base, mean_weight=0.1)]
    assert len({base.version, *(other.version for other in others)}) == 4
    assert MinimumVariance(LIMITS).version != MinimumVariance(LIMITS, lookback=253).version


def test_a_percentage_is_no_confidence_level():
    with pytest.raises(ConfigurationError, match="95"):
        MeanCVaR(LIMITS, confidence_level=95.0)


def test_the_best_ratio_of_means_that_all_lose_falls_to_the_closed_form(view_of, walk, book_of, caplog):
    falling = walk(300) * np.exp(-0.01 * np.arange(300))[:, None]
    given = Markowitz(LIMITS, "maximum_sharpe").allocate(view_of(falling), book_of())
    assert given.rung is Rung.CLOSED_FORM
    assert "expected to earn more than cash" in given.trace["fallen"]["optimiser"]


def test_an_aversion_that_loves_risk_is_refused():
    with pytest.raises(ConfigurationError, match="aversion of mean_variance"):
        Markowitz(LIMITS, "mean_variance", aversion=0.0)


def test_costs_keep_a_book_that_is_nearly_right(view_of, walk, book_of):
    view = view_of(walk(600, (0.008, 0.01, 0.012, 0.02, 0.03)))
    best = MeanCVaR(LIMITS).allocate(view, book_of()).weights
    near = {symbol: weight * 0.97 + 0.03 * 0.18 for symbol, weight in best.items()}
    dear = MeanCVaR(LIMITS, costs=ProportionalCost(500.0), holding_sessions=1).allocate(view, book_of(near))
    assert dear.weights == pytest.approx(near, abs=1e-6)
    cheap = MeanCVaR(LIMITS, costs=ProportionalCost(1e-6)).allocate(view, book_of(near))
    assert cheap.weights == pytest.approx(best, abs=1e-3)
    long = MeanCVaR(LIMITS, costs=ProportionalCost(500.0), holding_sessions=10**8).allocate(view, book_of(near))
    assert long.weights == pytest.approx(best, abs=1e-3)


def test_a_symbol_in_which_nothing_trades_is_named_where_its_costs_are_asked(view_of, walk, book_of, caplog):
    view = view_of(walk(600))
    costs = MeanCVaR(LIMITS, costs=SquareRootCost(permanent=0.2), adv=dict.fromkeys(view.symbols, 1e6))
    assert costs.allocate(view, book_of()).rung is Rung.OPTIMISER
    given = replace(costs, adv=costs.adv | {"S2": 0.0}).allocate(view, book_of())
    assert given.rung is Rung.CLOSED_FORM
    assert "S2: an average daily volume of 0 is not above 0" in given.trace["fallen"]["optimiser"]
    assert "S2" in caplog.text


@pytest.mark.parametrize(
    "allocator",
    [
        EqualWeight(LIMITS),
        InverseVolatility(LIMITS),
        MinimumVariance(LIMITS),
        MeanCVaR(LIMITS),
        MeanCVaR(LIMITS, costs=SquareRootCost(permanent=0.2)),
        MeanCVaR(LIMITS, costs=SquareRootCost(), adv=dict.fromkeys((f"S{number}" for number in range(5)), 1e6)),
    ],
    ids=["equal", "inverse volatility", "minimum variance", "CVaR", "with costs", "with a reference"],
)
def test_what_nobody_traded_for_a_month_is_left_out_and_the_rest_is_answered(allocator, view_of, walk, book_of):
    view = view_of(walk(600))
    # Closes that hardly move look like no risk.
    closes = view.closes.copy()
    closes[:, 2] = 100.0 + 0.001 * (np.arange(600) % 7)
    volumes = np.full(view.closes.shape, 1e6)
    trading = replace(view, closes=closes, volumes=volumes.copy())
    volumes[-21:, 2] = 0.0
    dried_up = replace(trading, volumes=volumes)
    before, given = (allocator.allocate(each, book_of({"S2": 0.1})) for each in (trading, dried_up))
    assert before.weights["S2"] > 0.1
    assert given.rung is before.rung
    assert given.weights["S2"] == 0.0
    assert given.trace["left_out"] == ["S2"]
    assert sum(given.weights.values()) > 0.5


@pytest.mark.parametrize("allocator", [InverseVolatility(LIMITS), MinimumVariance(LIMITS), MeanCVaR(LIMITS)])
def test_what_never_moved_or_is_not_known_to_have_been_traded_is_no_safe_haven(allocator, view_of, walk, book_of):
    view = view_of(walk(600))
    closes = view.closes.copy()
    closes[:, 2] = 100.0  # of which no volume was ever known
    closes[:, 3] = 100.0 + 0.001 * (np.arange(600) % 7)
    volumes = np.full(closes.shape, 1e6)
    volumes[:, 2], volumes[-40:, 3], volumes[-5:, 3] = np.nan, 0.0, np.nan
    given = allocator.allocate(replace(view, closes=closes, volumes=volumes), book_of())
    assert given.trace["left_out"] == ["S2", "S3"]
    assert given.weights["S2"] == given.weights["S3"] == 0.0
    assert sum(given.weights.values()) > 0.5


def test_a_symbol_that_is_dear_to_trade_is_traded_less(view_of, walk, book_of):
    view = view_of(walk(600))
    view, book = replace(view, volumes=np.full(view.closes.shape, 1e3)), book_of(dict.fromkeys(view.symbols, 0.1))
    cheap = SquareRootCost(0.0, 0.0, commission_bps=0.0)
    for dear in (replace(cheap, permanent=0.3), replace(cheap, eta=0.3), replace(cheap, half_spread_bps=30.0)):
        model = CalibratedCost("one", cheap, (dear,), {"S1": 0})
        given = MeanCVaR(LIMITS, costs=model, holding_sessions=1).allocate(view, book)
        free = MeanCVaR(LIMITS, costs=cheap, holding_sessions=1).allocate(view, book)
        assert given.rung is Rung.OPTIMISER
        assert 0.1 <= given.weights["S1"] + 1e-6 < free.weights["S1"] - 0.005


def test_what_the_reference_says_of_volumes_counts_where_bars_measure_none(view_of, walk, book_of):
    view, book = view_of(walk(600)), book_of({f"S{number}": 0.1 for number in range(5)})
    model = SquareRootCost(0.0, 0.5, commission_bps=0.0)
    thin = MeanCVaR(LIMITS, costs=model, adv=dict.fromkeys(view.symbols, 1e3), holding_sessions=1)
    measured = replace(view, volumes=np.full(view.closes.shape, 1e3))
    by_reference, by_bars = thin.allocate(view, book), replace(thin, adv={}).allocate(measured, book)
    assert view.volumes is None
    assert by_reference.weights == by_bars.weights
    assert by_reference.weights != replace(thin, adv={}).allocate(view, book).weights
    busy = replace(view, volumes=np.full(view.closes.shape, 1e9))
    assert thin.allocate(busy, book).weights == replace(thin, adv={}).allocate(busy, book).weights


def test_costs_belong_to_the_version_and_a_holding_of_no_session_is_refused():
    versions = {
        MeanCVaR(LIMITS).version,
        MeanCVaR(LIMITS, costs=ProportionalCost(5.0)).version,
        MeanCVaR(LIMITS, costs=ProportionalCost(6.0)).version,
        MeanCVaR(LIMITS, costs=ProportionalCost(6.0), holding_sessions=5).version,
        MeanCVaR(LIMITS, costs=ProportionalCost(6.0), adv={"S0": 1e6}).version,
    }
    assert len(versions) == 5
    assert MeanCVaR(LIMITS, adv={"S0": 1e6}).version == MeanCVaR(LIMITS).version, "of costs that nobody weighs"
    with pytest.raises(ConfigurationError, match="holding_sessions of mean_cvar"):
        MeanCVaR(LIMITS, holding_sessions=0)


def insatiable(returns, symbols):
    """Asks for more than five caps of two fifths and a gross of nine tenths allow."""
    return mean_cvar(returns, symbols, LIMITS, invested=0.95).weights, {}


def test_limits_that_conflict_hold_the_book_and_are_named(view_of, walk, book_of, caplog):
    book = book_of({"S0": 0.3, "S3": 0.1})
    given = descend(MeanCVaR(LIMITS), view_of(walk(300)), book, 252, insatiable)
    assert given.rung is Rung.HOLD
    assert given.weights == {"S0": 0.3, "S3": 0.1}
    assert given.confidence == 0.0
    assert given.trace["conflicts"] == [["invested 0.9500", "gross 0.9000"]]
    assert given.trace["hold"] == "no allocation meets these limits together: invested 0.9500, gross 0.9000"
    assert "allocator holds allocator=mean_cvar" in caplog.text
    assert "gross 0.9000" in caplog.text
    canonical(given)


@dataclass(frozen=True)
class Insatiable(MeanCVaR):
    def allocate(self, view, portfolio):
        return descend(self, view, portfolio, 252, insatiable)


def test_exposure_control_passes_the_reason_of_its_base_on(view_of, walk, book_of):
    view = view_of(walk(300), date(2020, 7, 1))
    given = ExposureControl(Insatiable(LIMITS), LIMITS).allocate(view, book_of({"S0": 0.3}))
    assert given.rung is Rung.HOLD
    assert given.trace["hold"].endswith("no allocation meets these limits together: invested 0.9500, gross 0.9000")
    assert given.trace["base_trace"]["conflicts"] == [["invested 0.9500", "gross 0.9000"]]


def out_of_memory(*given, **named):
    raise MemoryError("out of memory")


def wrong(honest):
    def answer(*given, **named):
        return honest(*given, **named) * 0.9

    return answer


def test_the_ladder_goes_from_the_gpu_to_the_processor_to_the_closed_form_to_a_hold(view_of, walk, book_of, caplog):
    gpu = ArrayModule("gpu", SimpleNamespace(**vars(np) | {"sum": out_of_memory}), failures=DEVICE_FAILURES)
    liar = ArrayModule("cpu", SimpleNamespace(**vars(np) | {"sort": wrong(np.sort)}))
    view, book = view_of(walk(600)), book_of({"S0": 0.3})
    top = MeanCVaR(LIMITS, ladder=lambda numbers: (ArrayModule("gpu", np), CPU)).allocate(view, book)
    assert (top.rung, top.trace["arrays"]) == (Rung.OPTIMISER, "gpu")
    second = MeanCVaR(LIMITS, ladder=lambda numbers: (gpu, CPU)).allocate(view, book)
    assert (second.rung, second.trace["arrays"]) == (Rung.OPTIMISER, "cpu")
    assert second.trace["fallen"] == {"gpu": "MemoryError: out of memory"}
    assert second.weights == top.weights
    third = MeanCVaR(LIMITS, ladder=lambda numbers: (gpu, liar)).allocate(view, book)
    assert third.rung is Rung.CLOSED_FORM
    assert set(third.trace["fallen"]) == {"optimiser"}
    last = MeanCVaR(LIMITS, ladder=lambda numbers: (gpu, liar)).allocate(view_of(walk(20)), book)
    assert last.rung is Rung.HOLD
    assert last.weights == {"S0": 0.3}
    steps = ["from=gpu to=cpu", "from=optimiser", "from=closed_form"]
    places = [caplog.text.index(step) for step in steps]
    assert places == sorted(places)


SINGULAR = {
    "more symbols than sessions": lambda walk: walk(254, tuple(np.linspace(0.005, 0.03, 300))),
    "copies of one symbol": lambda walk: np.tile(walk(600, (0.01,)), 6),
    "copies of two, scaled": lambda walk: np.hstack([np.tile(walk(600, (0.01,)), 3), 7.0 * walk(600, (0.02,) * 1, 1)]),
    "a symbol that never moves": lambda walk: np.hstack([walk(600), np.full((600, 1), 50.0)]),
    "one that mirrors another": lambda walk: np.hstack([walk(600), 1e4 / walk(600)]),
    "a crash on one day": lambda walk: np.vstack([walk(600)[:-1], walk(600)[-1:] * 0.05]),
}


@pytest.mark.parametrize("allocator", FAMILY, ids=lambda a: a.name)
@pytest.mark.parametrize("closes", SINGULAR.values(), ids=SINGULAR)
def test_covariances_without_full_rank_are_answered_by_the_optimiser(allocator, closes, view_of, walk, book_of):
    given = replace(allocator, lookback=252).allocate(view_of(closes(walk)), book_of())
    assert given.certificate.holds
    if given.rung is not Rung.OPTIMISER:
        # A mean that no symbol has above cash has no best ratio; all else is answered.
        assert "expected to earn more than cash" in given.trace["fallen"]["optimiser"]
    else:
        assert sum(given.weights.values()) == pytest.approx(0.9, abs=1e-6)


def test_a_market_that_never_moves_is_held_evenly_or_left_alone(view_of, book_of):
    view = view_of(np.full((600, 6), 100.0))
    for allocator in FAMILY:
        given = allocator.allocate(view, book_of({"S0": 0.1}))
        assert given.certificate.holds
        assert given.rung is Rung.HOLD or sum(given.weights.values()) == pytest.approx(0.9, abs=1e-6)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf, 0.0, -1.0])
@pytest.mark.parametrize("allocator", FAMILY, ids=lambda a: a.name)
def test_a_price_that_is_none_leaves_its_symbol_out_by_name(allocator, hole, view_of, walk, book_of):
    closes = walk(600)
    closes[400, 2] = hole
    given = replace(allocator, lookback=252).allocate(view_of(closes), book_of())
    assert given.rung in (Rung.OPTIMISER, Rung.CLOSED_FORM)
    assert "S2" in given.trace["left_out"] or given.rung is Rung.CLOSED_FORM
    assert given.weights["S2"] == 0.0 or given.rung is Rung.CLOSED_FORM
    assert all(np.isfinite(weight) for weight in given.weights.values())
