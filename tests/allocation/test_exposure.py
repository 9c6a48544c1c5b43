"""Exposure follows volatility, past a band, and remembers nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime, time

import numpy as np
import pytest

from ordinis.allocation.exposure import ExposureControl, largest_multiple, portfolio_returns
from ordinis.allocation.naive import EqualWeight, InverseVolatility
from ordinis.allocation.optimal import MinimumVariance
from ordinis.clock import first_of_period
from ordinis.domain.decisions import Rung
from ordinis.domain.limits import Limits
from ordinis.errors import ConfigurationError
from ordinis.features.view import market_view

FREE = Limits(position_cap=1.0, gross_cap=1.0, cash_buffer=0.0, sector_cap=1.0)
MID, FIRST = date(2020, 6, 17), date(2020, 7, 1)


def zigzag(step: float, rows: int = 130, count: int = 2) -> np.ndarray:
    """All symbols go up and down together by `step`: the volatility about zero is exactly `step`."""
    signs = np.where(np.arange(rows - 1) % 2 == 0, 1.0, -1.0)[:, None]
    return np.vstack([np.full((1, count), 100.0), 100.0 * np.cumprod(np.tile(1.0 + signs * step, count), axis=0)])


def control(**parameters) -> ExposureControl:
    return ExposureControl(EqualWeight(FREE), FREE, **parameters)


def test_first_funding_scales_the_base_to_the_target(view_of, book_of):
    given = control(target_volatility=0.12).allocate(view_of(zigzag(0.01), MID), book_of())
    k = 0.12 / (0.01 * math.sqrt(252))
    assert dict(given.weights) == pytest.approx({"S0": k / 2, "S1": k / 2})
    assert given.trace["exposure"] == pytest.approx(k)
    assert given.trace["volatility"] == pytest.approx(0.01 * math.sqrt(252))
    assert given.rung is Rung.CLOSED_FORM


def test_a_calm_market_is_held_to_the_largest_exposure(view_of, book_of):
    assert control().allocate(view_of(zigzag(0.001), MID), book_of()).cash == pytest.approx(0.0)
    given = control(max_exposure=0.6).allocate(view_of(zigzag(0.001), MID), book_of())
    assert given.cash == pytest.approx(0.4)


def test_within_the_band_nothing_is_traded(view_of, book_of):
    # 0.12 / 0.1587 = 0.756 is wanted; 0.70 is within 15 % of itself, 0.65 is not
    view = view_of(zigzag(0.01), MID)
    kept = control().allocate(view, book_of({"S0": 0.4, "S1": 0.3}))
    assert kept.rung is Rung.HOLD
    assert dict(kept.weights) == pytest.approx({"S0": 0.4, "S1": 0.3})
    assert kept.confidence == 1.0


def test_past_the_band_the_current_weights_are_scaled_and_their_mix_is_kept(view_of, book_of):
    given = control().allocate(view_of(zigzag(0.01), MID), book_of({"S0": 0.5, "S1": 0.1}))
    assert given.rung is Rung.CLOSED_FORM
    assert given.weights["S0"] / given.weights["S1"] == pytest.approx(5.0)
    assert sum(given.weights.values()) == pytest.approx(0.12 / (0.01 * math.sqrt(252)))


def test_what_nobody_trades_is_not_scaled_and_does_not_calm_the_book(view_of, book_of):
    closes = np.column_stack([zigzag(0.01), np.full(130, 100.0)])
    view, held = view_of(closes, MID), book_of({"S0": 0.3, "S1": 0.1, "S2": 0.2})
    volumes = np.full(closes.shape, 1e6)
    traded = control().allocate(replace(view, volumes=volumes.copy()), held)
    assert traded.weights["S2"] > 0.2
    volumes[-21:, 2] = 0.0
    given = control().allocate(replace(view, volumes=volumes), held)
    assert given.weights["S2"] == 0.0
    assert given.trace["left_out"] == ["S2"]
    assert given.weights["S0"] / given.weights["S1"] == pytest.approx(3.0)
    assert given.trace["volatility"] == pytest.approx(0.01 * math.sqrt(252))
    assert sum(given.weights.values()) == pytest.approx(0.12 / (0.01 * math.sqrt(252)))


@pytest.mark.parametrize(
    ("book", "rung"),
    [
        # 0.756 is wanted of what is traded: 0.50 and a quarter that nobody trades is far from it, 0.76 is not.
        ({"S0": 0.3, "S1": 0.2, "S2": 0.25}, Rung.CLOSED_FORM),
        ({"S0": 0.38, "S1": 0.38, "S2": 0.2}, Rung.HOLD),
    ],
)
def test_the_band_is_about_what_is_traded(view_of, book_of, book, rung):
    closes = np.column_stack([zigzag(0.01), np.full(130, 100.0)])
    volumes = np.full(closes.shape, 1e6)
    volumes[-21:, 2] = 0.0
    given = control().allocate(replace(view_of(closes, MID), volumes=volumes), book_of(book))
    assert given.rung is rung
    if rung is Rung.HOLD:
        assert dict(given.weights) == pytest.approx(book)
    else:
        assert dict(given.weights) == pytest.approx({"S0": 0.4536, "S1": 0.3024, "S2": 0.0}, abs=1e-3)


def test_a_storm_cuts_exposure_below_the_calm_one(view_of, book_of):
    closes = zigzag(0.005)
    storm = np.vstack([closes, closes[-1] * zigzag(0.04, 15)[1:] / 100.0])
    given = control().allocate(view_of(storm, MID), book_of({"S0": 0.5, "S1": 0.5}))
    assert sum(given.weights.values()) < 0.35


def test_on_the_first_session_of_a_month_the_base_is_asked_again(view_of, book_of):
    book = book_of({"S0": 0.7, "S1": 0.05})
    middle, first = (control().allocate(view_of(zigzag(0.01), session), book) for session in (MID, FIRST))
    assert middle.rung is Rung.HOLD
    assert first.weights["S0"] == pytest.approx(first.weights["S1"])
    assert first.trace["base"] == "equal_weight"


def test_crumbs_are_no_composition(view_of, book_of):
    given = control().allocate(view_of(zigzag(0.01), MID), book_of({"S0": 0.01}))
    assert given.weights["S0"] == pytest.approx(given.weights["S1"])


def test_a_restarted_process_gives_the_same_answer(sample, book_of):
    session = sample.sessions[5_000]
    view = market_view(sample, datetime.combine(session, time(19, 45), UTC), session)
    book = book_of(dict.fromkeys(sample.symbols, 0.02), view)
    running = ExposureControl(MinimumVariance(Limits()), Limits())
    for earlier in sample.sessions[4_990:5_000]:
        running.allocate(market_view(sample, datetime.combine(earlier, time(19, 45), UTC), earlier), book)
    restarted = ExposureControl(MinimumVariance(Limits()), Limits())
    assert running.allocate(view, book) == restarted.allocate(view, book)


def test_realised_volatility_stays_near_the_target(sample, book_of):
    """Twelve years of the real market without costs: the book aims at 10 % and the base alone runs far above."""
    limits = Limits(position_cap=0.2, gross_cap=1.0, cash_buffer=0.0, sector_cap=1.0)
    allocator = ExposureControl(InverseVolatility(limits), limits, target_volatility=0.10)
    held, path, traded = np.zeros(20), [], 0
    for at in range(4_300, 6_000):
        grown = held * sample.closes[at] / sample.closes[at - 1]
        path.append(grown.sum() - held.sum())
        held = grown / (1.0 + path[-1])
        session = sample.sessions[at]
        view = market_view(sample, datetime.combine(session, time(19, 45), UTC), session)
        given = allocator.allocate(view, book_of(dict(zip(sample.symbols, held.tolist(), strict=True)), view))
        if given.rung is not Rung.HOLD:
            held, traded = np.array([given.weights[symbol] for symbol in sample.symbols]), traded + 1
    bare = sample.closes[4_300:6_000].mean(axis=1)
    assert np.std(path) * math.sqrt(252) == pytest.approx(0.10, abs=0.015)
    assert np.std(bare[1:] / bare[:-1] - 1.0) * math.sqrt(252) > 0.18
    assert 80 <= traded <= 400


@pytest.mark.parametrize(
    ("calendar", "previous", "session", "new"),
    [
        ("day", date(2020, 6, 16), date(2020, 6, 17), True),
        ("week", date(2020, 6, 18), date(2020, 6, 19), False),
        ("week", date(2020, 6, 19), date(2020, 6, 22), True),
        ("week", date(2020, 12, 31), date(2021, 1, 1), False),
        ("week", date(2019, 6, 17), date(2020, 6, 16), True),
        ("month", date(2020, 6, 29), date(2020, 6, 30), False),
        ("month", date(2020, 6, 30), date(2020, 7, 1), True),
        ("month", date(2019, 6, 30), date(2020, 6, 30), True),
        ("quarter", date(2020, 4, 30), date(2020, 5, 1), False),
        ("quarter", date(2020, 6, 30), date(2020, 7, 1), True),
        ("quarter", date(2019, 12, 31), date(2020, 1, 2), True),
    ],
)
def test_a_period_begins_where_the_calendar_says(calendar, previous, session, new):
    assert first_of_period(calendar, session, previous) is new


def test_a_book_is_scaled_until_the_first_limit_binds():
    limits = Limits(position_cap=0.2, gross_cap=0.9, cash_buffer=0.1, sector_cap=0.3, sectors={"B": "x", "C": "x"})
    assert largest_multiple(np.array([0.1, 0.05, 0.05]), "ABC", limits) == pytest.approx(2.0)
    assert largest_multiple(np.array([0.05, 0.05, 0.05]), "ABC", limits) == pytest.approx(3.0)
    assert largest_multiple(np.array([0.3, 0.1, 0.2]), "ABC", FREE) == pytest.approx(1.0 / 0.6)


def test_a_missing_return_is_stood_in_for_by_the_others(view_of):
    closes = zigzag(0.01, 30, 3)
    closes[10, 0] = np.nan
    path = portfolio_returns(view_of(closes), np.array([0.2, 0.3, 0.3]), 29)
    np.testing.assert_allclose(np.abs(path), 0.008)
    closes[10, 1] = np.nan
    path = portfolio_returns(view_of(closes), np.array([0.2, 0.3, 0.3]), 29)
    assert np.isnan(path[9:11]).all()
    assert np.isfinite(np.delete(path, [9, 10])).all()


def test_a_base_that_holds_is_held(view_of, book_of):
    allocator = ExposureControl(InverseVolatility(FREE), FREE)
    given = allocator.allocate(view_of(zigzag(0.01, 40), FIRST), book_of({"S0": 0.3}))
    assert given.rung is Rung.HOLD
    assert given.weights == {"S0": 0.3}


@pytest.mark.parametrize("book", [{}, {"S0": 0.3, "S1": 0.3}])
def test_volatility_that_cannot_be_measured_changes_nothing(view_of, book_of, caplog, book):
    given = control().allocate(view_of(zigzag(0.01, 15), MID), book_of(book))
    assert given.rung is Rung.HOLD
    assert given.weights == book
    assert "measure volatility" in caplog.text


def test_limits_that_allow_nothing_empty_the_book(view_of, book_of):
    nothing = replace(FREE, gross_cap=0.0)
    given = ExposureControl(EqualWeight(nothing), nothing).allocate(view_of(zigzag(0.01), MID), book_of({"S0": 0.3}))
    assert dict(given.weights) == {"S0": 0.0, "S1": 0.0}
    assert given.certificate.holds


def test_a_whole_number_is_the_same_parameter():
    assert control(half_life=10).version == control(half_life=10.0).version


def test_every_parameter_and_the_base_make_another_version():
    base = control()
    changes = {
        "base": InverseVolatility(FREE),
        "target_volatility": 0.1,
        "half_life": 20.0,
        "band": 0.1,
        "base_calendar": "week",
        "max_exposure": 0.9,
    }
    versions = {replace(base, **{name: value}).version for name, value in changes.items()}
    assert len(versions | {base.version}) == 7


@pytest.mark.parametrize(
    "wrong",
    [
        {"target_volatility": 12.0},
        {"target_volatility": 0.0},
        {"half_life": -1.0},
        {"band": 15.0},
        {"base_calendar": "year"},
        {"max_exposure": math.inf},
    ],
)
def test_parameters_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        control(**wrong)
