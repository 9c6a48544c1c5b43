"""Episodes and shocks on books whose losses can be worked out by hand."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from skfolio.datasets import load_sp500_dataset, load_sp500_index

from ordinis.risk.stress import EPISODES, Episode, Shock, apply_shock, replay_episode

SESSIONS = [date(2020, 3, day) for day in (2, 3, 4, 5, 6)]
CLOSES = np.column_stack([[50.0, 50.0, 45.0, 30.0, 40.0], [np.nan, np.nan, 10.0, 9.0, 9.0]])
FALL = Episode("the fall", date(2020, 3, 4), date(2020, 3, 5), -0.2)


def replay(episode: Episode = FALL, weights: dict[str, float] | None = None, **betas: float):  # type: ignore[no-untyped-def]
    book = weights or {"OLD": 0.5, "NEW": 0.25}
    return replay_episode(episode, book, ["OLD", "NEW"], SESSIONS, CLOSES, betas)


def test_a_symbol_moves_as_it_did_and_one_without_prices_by_its_beta() -> None:
    found = replay(NEW=1.5)
    # OLD fell from 50 to 30, the market by a fifth.
    assert found.parts == pytest.approx({"OLD": 0.5 * 0.4, "NEW": 0.25 * 1.5 * 0.2})
    assert found.loss == pytest.approx(0.275)
    assert found.guessed == ("NEW",)
    assert found.name == "the fall"


def test_a_symbol_of_which_nothing_is_known_moves_with_the_market() -> None:
    found = replay(weights={"ALIEN": 1.0})
    assert found.loss == pytest.approx(0.2)
    assert found.guessed == ("ALIEN",)


def test_a_beta_that_is_no_number_is_none() -> None:
    assert replay(weights={"NEW": 1.0}, NEW=float("nan")).loss == pytest.approx(0.2)


def test_no_guess_falls_below_nothing() -> None:
    assert replay(weights={"NEW": 1.0}, NEW=9.0).loss == pytest.approx(1.0)


def test_a_short_position_gains() -> None:
    assert replay(weights={"OLD": -0.5}).loss == pytest.approx(-0.2)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (date(2020, 3, 2), date(2020, 3, 4)),
        (date(2020, 3, 5), date(2020, 3, 9)),
        (date(2019, 1, 1), date(2019, 2, 1)),
    ],
    ids=["no close before", "no close at the end", "long ago"],
)
def test_an_episode_that_the_prices_do_not_reach_over_is_guessed_whole(first: date, last: date) -> None:
    found = replay(Episode("not covered", first, last, -0.3), OLD=2.0)
    assert found.guessed == ("OLD", "NEW")
    assert found.parts == pytest.approx({"OLD": 0.5 * 2.0 * 0.3, "NEW": 0.25 * 0.3})


def test_the_named_episodes_fell_as_the_index_did() -> None:
    index, stocks = load_sp500_index()["SP500"], load_sp500_dataset()
    sessions = [stamp.date() for stamp in index.index]
    symbols = list(stocks.columns)
    weights = dict.fromkeys(symbols, 1.0 / len(symbols))
    closes, of_index = stocks.reindex(index.index).to_numpy(), index.to_numpy()[:, None]
    for episode in EPISODES:
        of_market = replay_episode(episode, {"SPX": 1.0}, ["SPX"], sessions, of_index, {})
        of_book = replay_episode(episode, weights, symbols, sessions, closes, {})
        assert not of_market.guessed
        assert not of_book.guessed
        assert of_market.loss == pytest.approx(-episode.market, abs=5e-5), episode
        assert of_book.loss == pytest.approx(sum(of_book.parts.values()))
        assert episode.market < (-0.03 if "Quant" in episode.name else -0.10)


BOOK = {"KO": 0.2, "XOM": 0.3, "AAPL": 0.1}
SECTORS = {"KO": "Staples", "XOM": "Energy", "AAPL": "Technology"}


def test_what_is_named_closest_wins() -> None:
    shock = Shock("oil", market=-0.1, sectors={"Energy": -0.3}, symbols={"AAPL": 0.05})
    found = apply_shock(shock, BOOK, SECTORS, {"KO": 0.5, "XOM": 1.0, "AAPL": 2.0})
    assert found.parts == pytest.approx({"KO": 0.2 * 0.05, "XOM": 0.3 * 0.3, "AAPL": -0.1 * 0.05})
    assert found.guessed == ()
    assert apply_shock(Shock("all", market=-0.1), BOOK, SECTORS, {"KO": 0.5}).guessed == ("XOM", "AAPL")


@pytest.mark.parametrize(
    ("shock", "told"),
    [
        (Shock("typo", symbols={"APPL": -0.2}), "moves APPL, which the book does not have"),
        (Shock("typo", sectors={"Enrgy": -0.2}), "moves Enrgy, which the book does not have"),
        (Shock("end", symbols={"KO": -1.2}), "moves KO by -120%: no price falls below nothing"),
        (Shock("hole", market=float("nan")), "moves KO by nan"),
    ],
)
def test_a_shock_that_cannot_be_is_refused(shock: Shock, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        apply_shock(shock, BOOK, SECTORS, {})
