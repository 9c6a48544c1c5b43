"""The Broker door: one suite over the venue in process and the venue as a program spoken to over HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn

from ordinis.brokers.book import VenueBook
from ordinis.brokers.tape import PriceTape
from ordinis.brokers.venue import create_venue
from ordinis.brokers.venue_client import VenueClient
from ordinis.clock import ReplayClock
from ordinis.domain.orders import (
    Accepted,
    Ambiguous,
    Known,
    OrderRequest,
    OrderState,
    OrderType,
    Refused,
    Side,
    Unknown,
)
from ordinis.errors import ConfigurationError
from ordinis.ports import Broker
from tests.brokers.market import CALENDAR, SESSIONS, SYMBOLS, TODAY, a_broker, at_the_window, history

EPOCH = datetime(1990, 1, 1, tzinfo=UTC)
MakeBroker = Callable[[ReplayClock], Broker]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(params=["in process", "over HTTP"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeBroker]:
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def build(clock: ReplayClock) -> Broker:
        if request.param == "in process":
            return a_broker(clock)
        venue_clock = ReplayClock(EPOCH)
        app = create_venue(a_broker(venue_clock, tmp_path / "venue.db"), venue_clock)
        port = free_port()
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        servers.append((server, thread))
        while not server.started:
            assert thread.is_alive()
        return VenueClient(f"http://127.0.0.1:{port}", clock)

    yield build
    for server, thread in servers:
        server.should_exit = True
        thread.join()


def buy(quantity: str, symbol: str = "AAPL", name: str = "or1-a", side: Side = Side.BUY) -> OrderRequest:
    return OrderRequest(name, symbol, side, Decimal(quantity))


def test_a_buy_fills_at_the_price_of_its_session_plus_cost(make: MakeBroker) -> None:
    broker = make(at_the_window())
    outcome = broker.submit(buy("10.5"))
    assert isinstance(outcome, Accepted)
    assert outcome.order.state is OrderState.FILLED
    price = Decimal(str(history().closes[SESSIONS.index(TODAY), 0]))
    fills = broker.fills(EPOCH)
    assert isinstance(fills, Known)
    [fill] = fills.value
    assert fill.price == (price * Decimal("1.001")).quantize(Decimal("0.000001"), "ROUND_CEILING")
    assert broker.positions() == Known({"AAPL": Decimal("10.5")})
    account = broker.account()
    assert isinstance(account, Known)
    assert account.value.cash == Decimal(10000) - Decimal("10.5") * fill.price


def test_a_sale_gets_less_than_the_price(make: MakeBroker) -> None:
    broker = make(at_the_window())
    broker.submit(buy("10"))
    broker.submit(buy("10", name="or1-b", side=Side.SELL))
    fills = broker.fills(EPOCH)
    assert isinstance(fills, Known)
    bought, sold = fills.value
    assert sold.price < bought.price
    assert broker.positions() == Known({})


def test_sending_twice_is_harmless(make: MakeBroker) -> None:
    broker = make(at_the_window())
    assert broker.submit(buy("1")) == broker.submit(buy("1"))
    fills = broker.fills(EPOCH)
    assert isinstance(fills, Known)
    assert len(fills.value) == 1
    assert isinstance(broker.submit(buy("2")), Refused)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (buy("1", symbol="NOPE"), "NOPE is not traded here"),
        (buy("0"), "not a positive multiple"),
        (buy("0.0005"), "not a positive multiple of the lot 0.001"),
        (buy("1000"), "insufficient cash"),
        (buy("1", side=Side.SELL), "short sale: 1 asked, 0 held"),
        (OrderRequest("or1-l", "AAPL", Side.BUY, Decimal(1), OrderType.LIMIT, Decimal(50)), "limit orders are not"),
    ],
)
def test_an_order_that_cannot_be_is_refused_with_the_reason(
    make: MakeBroker, request_: OrderRequest, reason: str
) -> None:
    broker = make(at_the_window())
    outcome = broker.submit(request_)
    assert isinstance(outcome, Refused)
    assert reason in outcome.reason
    assert broker.order(request_.client_order_id) == Known(None)


def test_nothing_is_filled_while_the_exchange_is_closed(make: MakeBroker) -> None:
    outcome = make(ReplayClock(datetime(2020, 3, 14, 19, 45, tzinfo=UTC))).submit(buy("1"))
    assert outcome == Refused("the exchange is closed")


def test_a_suspended_account_refuses_until_it_is_released(make: MakeBroker) -> None:
    broker = make(at_the_window())
    assert broker.suspend_trading(True) == Known(True)
    assert broker.submit(buy("1")) == Refused("trading is suspended on this account")
    broker.suspend_trading(False)
    assert isinstance(broker.submit(buy("1")), Accepted)


def test_queries_about_nothing_are_known_and_empty(make: MakeBroker) -> None:
    clock = at_the_window()
    broker = make(clock)
    assert broker.positions() == Known({})
    assert broker.order("or1-none") == Known(None)
    assert broker.open_orders() == Known([])
    assert broker.closed_orders(EPOCH) == Known([])
    assert broker.cancel_all() == Known(0)
    assert broker.now() == Known(clock.now())
    movements = broker.movements(EPOCH)
    assert isinstance(movements, Known)
    assert [m.cash for m in movements.value] == [Decimal(10000)]


def test_quotes_are_those_of_the_session(make: MakeBroker) -> None:
    quotes = make(at_the_window()).quotes([*SYMBOLS, "NOPE"])
    assert isinstance(quotes, Known)
    row = history().closes[SESSIONS.index(TODAY)]
    assert {s: float(q.price) for s, q in quotes.value.items()} == dict(zip(SYMBOLS, row.tolist(), strict=True))


def test_the_venue_will_not_go_back_in_time(tmp_path: Path) -> None:
    clock = at_the_window()
    app = create_venue(a_broker(clock), clock)
    transport = httpx.ASGITransport(app)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://venue") as http:
            return await http.get("/now", headers={"X-Market-Time": "2019-01-02T20:45:00.000000Z"})

    import asyncio

    reply = asyncio.run(ask())
    assert reply.status_code == 400
    assert "cannot go back" in reply.json()["error"]


def test_a_venue_that_is_not_there_is_unknown_and_ambiguous() -> None:
    client = VenueClient(f"http://127.0.0.1:{free_port()}", at_the_window(), timeout=0.5)
    assert isinstance(client.positions(), Unknown)
    assert isinstance(client.submit(buy("1")), Ambiguous)


@pytest.mark.parametrize("make", ["over HTTP"], indirect=True)
def test_a_client_without_a_clock_reaches_a_venue_whose_market_has_moved_on(make: MakeBroker) -> None:
    actor = make(at_the_window())
    assert isinstance(actor, VenueClient)
    actor.account()
    url = str(actor._http.base_url)
    assert isinstance(VenueClient(url, ReplayClock(EPOCH)).suspend_trading(True), Unknown)
    assert VenueClient(url, None).suspend_trading(True) == Known(True)


def test_a_book_belongs_to_one_account(tmp_path: Path) -> None:
    VenueBook(tmp_path / "venue.db", "mine")
    with pytest.raises(ConfigurationError, match="is the book of account mine, not of yours"):
        VenueBook(tmp_path / "venue.db", "yours")


def test_the_venues_impact_knows_neither_close_nor_volume_of_today() -> None:
    usual, changed = (replace(history(), volumes=np.full(history().closes.shape, 1e6)) for _ in range(2))
    before = PriceTape(usual).conditions(TODAY)
    assert before.volumes == dict.fromkeys(SYMBOLS, 1e6)
    changed.closes[SESSIONS.index(TODAY)] *= 1.5
    changed.volumes[SESSIONS.index(TODAY)] *= 1.5  # type: ignore[index]
    assert PriceTape(changed).conditions(TODAY) == before
    tomorrow = PriceTape(changed).conditions(CALENDAR.next_session(TODAY))
    assert tomorrow.volatility != before.volatility
    assert tomorrow.volumes != before.volumes


def test_the_book_outlives_the_venue(tmp_path: Path) -> None:
    a_broker(at_the_window(), tmp_path / "venue.db").submit(buy("3"))
    again = a_broker(at_the_window(CALENDAR.next_session(TODAY)), tmp_path / "venue.db")
    assert again.positions() == Known({"AAPL": Decimal(3)})
    assert again.account().value.cash < Decimal(10000)
