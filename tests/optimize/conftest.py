"""Real session returns: twenty large US stocks, as they ship inside skfolio."""

from __future__ import annotations

import numpy as np
import pytest
from skfolio.datasets import load_sp500_dataset

from ordinis.ports import FloatArray


@pytest.fixture(scope="session")
def real_returns() -> FloatArray:
    """(8312, 20)."""
    closes = load_sp500_dataset().to_numpy()
    return np.asarray(closes[1:] / closes[:-1] - 1.0)
