"""A small real service: three years of seeded prices, a real calendar and allocator, over ASGI and over a socket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI

from ordinis.allocation.naive import InverseVolatility
from ordinis.clock import trading_calendar
from ordinis.domain.limits import Limits
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.ports import Allocator, PriceHistory
from ordinis.serving.advisor import Advisor
from ordinis.serving.app import create_app

TOKEN = "the-token-of-the-tests"
SYMBOLS = ("AAPL", "BRK.B", "JPM", "KO", "MSFT", "XOM")
SESSION = date(2022, 6, 1)
AS_OF = datetime(2022, 6, 1, 19, 45, tzinfo=UTC)
LIMITS = Limits(sectors={"AAPL": "technology", "MSFT": "technology", "JPM": "financials", "BRK.B": "financials"})


@pytest.fixture(scope="session")
def history() -> PriceHistory:
    sessions = tuple(trading_calendar().between(date(2019, 1, 2), date(2022, 6, 30)))
    rng = np.random.default_rng(7)
    steps = rng.normal(0.0004, 0.012, (len(sessions), len(SYMBOLS))) * np.linspace(0.5, 1.5, len(SYMBOLS))
    return PriceHistory(SYMBOLS, sessions, 100.0 * np.exp(np.cumsum(steps, axis=0)))


@pytest.fixture(scope="session")
def limits() -> Limits:
    return LIMITS


@pytest.fixture(scope="session")
def allocator(limits: Limits) -> Allocator:
    return InverseVolatility(limits)


@pytest.fixture
def advisor(allocator: Allocator, history: PriceHistory) -> Advisor:
    return Advisor(lambda: allocator, lambda _as_of, _session: history, trading_calendar(), SYMBOLS, lambda: AS_OF)


@pytest.fixture
def app(advisor: Advisor) -> FastAPI:
    return create_app(advisor, TOKEN)


@pytest.fixture
def portfolio() -> PortfolioSnapshot:
    return PortfolioSnapshot(
        account="sim",
        as_of=AS_OF,
        cash=Decimal("250000.07"),
        holdings={"AAPL": Decimal(1000), "KO": Decimal("12.5")},
        prices={"AAPL": Decimal("151.21"), "KO": Decimal("62.3333"), "XOM": Decimal("99.09")},
        peak_equity=Decimal("500000"),
        previous_equity=Decimal("401000.5"),
        last_traded={"AAPL": date(2022, 5, 27)},
    )


@pytest.fixture
def question() -> dict[str, object]:
    return {
        "as_of": "2022-06-01T19:45:00Z",
        "session": "2022-06-01",
        "cash": "250000.07",
        "holdings": {"AAPL": "1000"},
        "prices": {"AAPL": 151.21, "KO": "62.3333"},
    }


@pytest.fixture
def serve() -> Iterator[Callable[[FastAPI], str]]:
    """Run an application under uvicorn on a free port of loopback; returns its URL."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(app: FastAPI) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        running.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(timeout=5)
