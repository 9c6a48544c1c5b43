"""Small markets and books, and the real market that ships inside skfolio."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import pytest
from skfolio.datasets import load_sp500_dataset

from ordinis.domain.canonical import to_decimal
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.features.view import market_view
from ordinis.ports import FloatArray, MarketView, PriceHistory

ViewOf = Callable[..., MarketView]
BookOf = Callable[..., PortfolioSnapshot]


@pytest.fixture(scope="session")
def sample() -> PriceHistory:
    frame = load_sp500_dataset()
    return PriceHistory(tuple(frame.columns), tuple(stamp.date() for stamp in frame.index), frame.to_numpy())


@pytest.fixture(scope="session")
def view_of() -> ViewOf:
    """A view of (T, N) closes on consecutive days that ends the day before `session`."""

    def build(closes: FloatArray, session: date = date(2020, 6, 17)) -> MarketView:
        rows, count = closes.shape
        sessions = tuple(session - timedelta(days=rows - i) for i in range(rows))
        history = PriceHistory(tuple(f"S{i}" for i in range(count)), sessions, closes)
        return market_view(history, datetime.combine(session, time(19, 45), UTC), session)

    return build


@pytest.fixture(scope="session")
def book_of() -> BookOf:
    """A book of one million with the given weights, at prices of one."""

    def build(weights: Mapping[str, float] | None = None, view: MarketView | None = None) -> PortfolioSnapshot:
        equity = Decimal(1_000_000)
        holdings = {symbol: to_decimal(weight) * equity for symbol, weight in (weights or {}).items() if weight}
        as_of = view.as_of if view else datetime(2020, 6, 17, 19, 45, tzinfo=UTC)
        cash = equity - sum(holdings.values(), Decimal(0))
        return PortfolioSnapshot("sim", as_of, cash, holdings, dict.fromkeys(holdings, Decimal(1)))

    return build


@pytest.fixture(scope="session")
def walk() -> Callable[..., FloatArray]:
    """(T, N) closes of independent random walks with the given session volatilities."""

    def build(rows: int, sigma: tuple[float, ...] = (0.01, 0.01, 0.01, 0.01, 0.01), seed: int = 0) -> FloatArray:
        rng = np.random.default_rng(seed)
        returns = rng.normal(size=(rows - 1, len(sigma))) * np.array(sigma)
        return np.vstack([np.full(len(sigma), 100.0), 100.0 * np.cumprod(1.0 + returns, axis=0)])

    return build
