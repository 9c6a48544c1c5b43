"""A night's calibration, from orders that are kept to the model that is traded with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from ordinis.clock import trading_calendar
from ordinis.costs.models import BASIS_POINT, SquareRootCost, publish, published
from ordinis.domain.executions import Execution
from ordinis.domain.instruments import AssetClass, Instrument
from ordinis.domain.orders import Side
from ordinis.errors import ConfigurationError
from ordinis.feedback.executions import by_symbol, quality_by
from ordinis.feedback.nightly import BUCKETS, Version, calibrate_session, numbers_of, version_of
from ordinis.feedback.paid import buckets, paid_costs
from ordinis.monitoring.artefacts import of_calibration
from ordinis.ports import PriceHistory

D = Decimal
CALENDAR = trading_calendar()
SESSIONS = tuple(CALENDAR.between(date(2019, 1, 2), date(2020, 12, 31)))
SYMBOLS = ("BIG", "MID", "TINY")
VOLUMES = {"BIG": 5e7, "MID": 2e6, "TINY": 1e5}
REFERENCE = {
    symbol: Instrument(symbol, symbol, AssetClass.EQUITY, D("0.01"), D("0.001"), adv=VOLUMES[symbol])
    for symbol in SYMBOLS
}


def market(volumes: bool = False) -> PriceHistory:
    steps = np.random.default_rng(8).normal(0.0, 0.02, (len(SESSIONS), 3))
    closes = 50.0 * np.cumprod(1.0 + steps, axis=0)
    traded = np.tile([2.0 * volume for volume in VOLUMES.values()], (len(SESSIONS), 1)) if volumes else None
    return PriceHistory(SYMBOLS, SESSIONS, closes, traded)


def orders(count: int, truth: SquareRootCost, seed: int = 0, noise: float = 3.0) -> list[Execution]:
    """So many a session from the thirtieth on, paid for as `truth` says and by chance."""
    rng, history, made = np.random.default_rng(seed), market(), []
    for number in range(count):
        row = 30 + number // 12
        column = int(rng.integers(3))
        symbol, arrival = SYMBOLS[column], round(float(history.closes[row, column]), 3)
        sigma = float(
            np.std(history.closes[row - 21 : row, column] / history.closes[row - 22 : row - 1, column] - 1.0, ddof=1)
        )
        participation = float(np.exp(rng.uniform(np.log(1e-4), np.log(0.1))))
        units = D(str(round(participation * VOLUMES[symbol], 3)))
        side = Side.BUY if rng.random() < 0.5 else Side.SELL
        paid = truth.slippage(symbol, 1.0, float(units) / VOLUMES[symbol], sigma) + rng.normal(0.0, noise * BASIS_POINT)
        price = D(str(round(arrival * (1.0 + (paid if side is Side.BUY else -paid)), 6)))
        at = CALENDAR.trading_instant(SESSIONS[row])
        made.append(
            Execution(
                f"or1-{number:05}", symbol, side, "sim", SESSIONS[row], units, units, D(str(arrival)), price, D("0.10"),
                at, at + timedelta(seconds=2),
            )
        )  # fmt: skip
    return made


TRUTH = SquareRootCost(half_spread_bps=1.5, eta=0.5, delta=0.6)


def night(rows: Sequence[Execution], in_force: Version | None = None, session: date = SESSIONS[-1]) -> Version:
    return calibrate_session(session, rows, market(), REFERENCE, in_force, SquareRootCost())[0]


class TestPaid:
    def test_an_order_is_seen_beside_the_market_before_it(self) -> None:
        [order] = orders(1, TRUTH, noise=0.0)
        found = paid_costs([order], market(), REFERENCE, {"BIG": 0, "MID": 1, "TINY": 2})
        before = market().closes[30 - 22 : 30, SYMBOLS.index(order.symbol)]
        sigma = float(np.std(before[1:] / before[:-1] - 1.0, ddof=1))
        participation = float(order.filled) / VOLUMES[order.symbol]
        assert found.costs.volatility[0] == pytest.approx(sigma, rel=1e-12)
        assert found.costs.participation[0] == pytest.approx(participation, rel=1e-12)
        assert found.costs.paid[0] == pytest.approx(TRUTH.slippage("", 1.0, participation, sigma), abs=1e-6)
        close, sign = market().closes[30, SYMBOLS.index(order.symbol)], 1.0 if order.side is Side.BUY else -1.0
        assert found.costs.drift is not None
        assert found.costs.drift[0] == pytest.approx(sign * (close / float(order.arrival) - 1.0), rel=1e-12)

    def test_nothing_of_the_order_s_own_session_or_later_is_looked_at_but_its_close(self) -> None:
        rows, changed = orders(60, TRUTH), market()
        changed.closes[36:] *= 3.0
        mine = [row for row in rows if row.session <= SESSIONS[34]]
        places = {"BIG": 0, "MID": 1, "TINY": 2}
        before, after = (paid_costs(mine, history, REFERENCE, places).costs for history in (market(), changed))
        np.testing.assert_array_equal(before.volatility, after.volatility)
        np.testing.assert_array_equal(before.participation, after.participation)

    @pytest.mark.parametrize(("by", "kept"), [(0.5, 0), (0.8, 0), (2.0, 0), (0.9, 60), (1.1, 60)])
    def test_orders_whose_bars_a_split_has_restated_are_left_out(self, by: float, kept: int) -> None:
        rows, split = orders(60, TRUTH), market()
        split.closes[:] *= by
        found = paid_costs(rows, split, REFERENCE, {"BIG": 0, "MID": 1, "TINY": 2})
        assert (len(found.orders), found.left_out) == (kept, 60 - kept)

    def test_what_is_not_known_is_left_out_and_counted(self) -> None:
        rows = orders(40, TRUTH)
        none_kept = replace(rows[0], filled=D(0), price=None)
        alien = replace(rows[1], symbol="ALIEN")
        early = replace(rows[2], session=SESSIONS[5])
        found = paid_costs([none_kept, alien, early, *rows[3:]], market(), REFERENCE, {"BIG": 0, "MID": 1, "TINY": 2})
        assert (len(found.orders), found.left_out) == (37, 3)
        without = {symbol: replace(each, adv=None) for symbol, each in REFERENCE.items()}
        assert paid_costs(rows, market(), without, {"BIG": 0}).left_out == 40

    def test_volumes_of_the_bars_go_before_those_of_the_reference_file(self) -> None:
        rows, measured, torn = orders(60, TRUTH), market(volumes=True), market(volumes=True)
        torn.volumes[:, 0] = np.nan  # type: ignore[index]
        places = dict.fromkeys(SYMBOLS, 0)
        told, half, mixed = (
            paid_costs(rows, history, REFERENCE, places).costs.participation for history in (market(), measured, torn)
        )
        assert told == pytest.approx([float(order.filled) / VOLUMES[order.symbol] for order in rows], rel=1e-12)
        np.testing.assert_allclose(half, told / 2.0, rtol=1e-12)
        big = np.array([order.symbol == "BIG" for order in rows])
        np.testing.assert_array_equal(mixed, np.where(big, told, half))
        measured.volumes[:, 0] = 0.0  # type: ignore[index]
        still = paid_costs(rows, measured, REFERENCE, places).costs.participation
        np.testing.assert_array_equal(still, mixed)

    def test_buckets_go_by_the_money_that_trades(self) -> None:
        assert buckets(market(), REFERENCE, 3) == {"BIG": 0, "MID": 1, "TINY": 2}
        measured = market(volumes=True)
        measured.volumes[:, 0] = 1.0  # type: ignore[index]
        assert buckets(measured, REFERENCE, 3) == {"MID": 0, "TINY": 1, "BIG": 2}
        measured.volumes[:, 0] = 0.0  # type: ignore[index]
        assert buckets(measured, REFERENCE, 3) == {"BIG": 0, "MID": 1, "TINY": 2}, "by the reference"
        assert buckets(market(), {**REFERENCE, "MID": replace(REFERENCE["MID"], adv=None)}, 2) == {"BIG": 0, "TINY": 1}


def test_the_venue_s_own_model_is_learned_from_its_fills() -> None:
    found = night(orders(3_000, TRUTH))
    assert found.calibration.promoted, found.calibration.reason
    assert found.model is not None
    assert found.model.book.eta == pytest.approx(TRUTH.eta, rel=0.1)
    assert found.model.book.delta == pytest.approx(TRUTH.delta, rel=0.1)
    assert found.model.book.half_spread_bps == pytest.approx(TRUTH.half_spread_bps, abs=0.5)
    assert found.model.book.commission_bps == SquareRootCost().commission_bps
    assert (found.orders, found.left_out) == (3_000, 0)


def test_a_night_done_again_makes_the_same_bytes_and_is_read_back() -> None:
    rows = orders(600, TRUTH)
    text = numbers_of(night(rows))
    assert numbers_of(night(rows)) == text
    again = version_of(text)
    assert again == night(rows)
    assert numbers_of(again) == text
    few = night(rows[:20])
    assert numbers_of(version_of(numbers_of(few))) == numbers_of(few)
    assert not few.calibration.promoted
    assert few.model is None
    assert few.name != night(rows).name


def test_what_is_in_force_must_be_beaten() -> None:
    rows = orders(1_200, TRUTH)
    first = night(rows)
    assert first.calibration.promoted
    again = night(rows, first)
    assert again.calibration.error_in_force <= first.calibration.error
    assert again.calibration.promoted is (again.calibration.error < again.calibration.error_in_force)
    # A symbol is charged as what it was when the model was made.
    moved = replace(first, bucket={symbol: BUCKETS - 1 - place for symbol, place in first.bucket.items()})
    assert night(rows, moved).calibration.error_in_force != again.calibration.error_in_force
    # The market has become another one: what was in force is wrong about it.
    dear = night([*rows, *_later(orders(2_400, SquareRootCost(12.0, 0.9, 0.6), seed=1))], first)
    assert dear.calibration.error_in_force > 5 * BASIS_POINT


def _later(rows: Sequence[Execution]) -> list[Execution]:
    return [replace(row, order_id=f"later-{row.order_id}") for row in rows]


def test_the_model_is_published_whole_and_read_by_others(tmp_path: Path) -> None:
    found, path = night(orders(600, TRUTH)), tmp_path / "cost-model.json"
    assert found.model is not None
    publish(SquareRootCost(), path)
    publish(found.model, path)
    assert published(path) == found.model
    assert [file.name for file in tmp_path.iterdir()] == ["cost-model.json"]
    for damaged in (
        "",
        "{",
        "[]",
        '{"kind": "Other", "parameters": {}}',
        '{"kind": "SquareRootCost", "parameters": {}}',
    ):
        path.write_text(damaged)
        with pytest.raises(ConfigurationError, match=r"cost model|SquareRootCost"):
            published(path)
    with pytest.raises(ConfigurationError, match=r"none\.json.*calibrate again"):
        published(tmp_path / "none.json")


def test_the_artefact_tells_the_verdict_the_intervals_and_the_quality() -> None:
    rows = orders(600, TRUTH)
    version, paid = calibrate_session(SESSIONS[-1], rows, market(), REFERENCE, None, SquareRootCost())
    made = of_calibration(version, paid, quality_by(rows, by_symbol), None)
    assert "**Promoted**" in made.markdown
    assert "the model that everything starts from" in made.markdown
    assert made.markdown.count("| bucket") == 3
    assert [row["symbol"] for row in made.table] == list(SYMBOLS)
    [(words, address)] = made.pictures.items()
    assert "with two standard errors" in words
    assert address.startswith("data:image/png;base64,iVBOR")
    empty, nothing = calibrate_session(SESSIONS[-1], [], market(), REFERENCE, None, SquareRootCost())
    told = of_calibration(empty, nothing, {}, SESSIONS[3])
    assert "**Not promoted**: 0 fills" in told.markdown
    assert f"the version of {SESSIONS[3]}" in told.markdown
    assert not told.pictures
