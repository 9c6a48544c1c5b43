"""Real closes: twenty large US stocks, 1990 to 2022, as they ship inside skfolio."""

from __future__ import annotations

import pytest
from skfolio.datasets import load_sp500_dataset

from ordinis.ports import PriceHistory


@pytest.fixture(scope="session")
def sample() -> PriceHistory:
    frame = load_sp500_dataset()
    return PriceHistory(tuple(frame.columns), tuple(stamp.date() for stamp in frame.index), frame.to_numpy())
