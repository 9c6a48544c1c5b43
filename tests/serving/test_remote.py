"""The allocator on the other side of a network: the same answer as at home, and nothing but that is taken."""

from __future__ import annotations

import dataclasses
import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ordinis.allocation.naive import EqualWeight, InverseVolatility
from ordinis.allocation.optimal import descend
from ordinis.allocation.remote import RemoteAllocator
from ordinis.clock import trading_calendar
from ordinis.domain.decisions import Allocation, Rung
from ordinis.domain.limits import Limits
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.errors import AllocationRefused, AllocationUnavailable
from ordinis.features.view import market_view
from ordinis.optimize.certificate import certify
from ordinis.optimize.mean_variance import minimum_variance
from ordinis.ports import Allocator, FloatArray, MarketView, PriceHistory
from ordinis.risk.covariance import ledoit_wolf
from ordinis.serving.advisor import Advisor
from ordinis.serving.app import create_app
from tests.serving.conftest import AS_OF, LIMITS, SESSION, SYMBOLS, TOKEN

Serve = Callable[[FastAPI], str]


@dataclasses.dataclass(frozen=True)
class Holding:
    """Keeps the book as it is, with decision times and a trace of every kind."""

    limits: Limits
    name: str = "holding"
    version: str = "3-abc"

    def allocate(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        weights = portfolio.weights
        return Allocation(
            weights=weights,
            cash=1.0 - sum(weights.values()),
            allocator=self.name,
            version=self.version,
            rung=Rung.HOLD,
            certificate=certify(weights, self.limits),
            expected_pnl={"AAPL": -1234.000000001, "KO": 0.1 + 0.2},
            confidence=1.0 / 3.0,
            next_decisions=(datetime(2022, 6, 2, 19, 45, 0, 1, tzinfo=UTC),),
            view_sha=view.sha,
            trace={"steps": [1, 2.5, None, True, "text"], "nested": {"a": {"b": 5e-324}}},
        )


@dataclasses.dataclass(frozen=True)
class Insatiable:
    """Asks for more than the limits allow to be invested."""

    limits: Limits
    name: str = "insatiable"
    version: str = "1"

    def allocate(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        def solve(returns: FloatArray, symbols: Sequence[str]) -> tuple[FloatArray, Mapping[str, object]]:
            return minimum_variance(ledoit_wolf(returns), symbols, self.limits, invested=0.99), {}

        return descend(self, view, portfolio, 60, solve)


def view_of(history: PriceHistory) -> MarketView:
    return market_view(history, AS_OF, SESSION)


def application(allocator: Allocator, history: PriceHistory) -> FastAPI:
    return create_app(Advisor(lambda: allocator, lambda *_: history, trading_calendar(), SYMBOLS, lambda: AS_OF), TOKEN)


@pytest.mark.parametrize("allocator", [EqualWeight(LIMITS), InverseVolatility(LIMITS), Holding(LIMITS)])
def test_over_the_network_the_answer_equals_the_one_at_home(
    allocator: Allocator, history: PriceHistory, portfolio: PortfolioSnapshot, serve: Serve
) -> None:
    view = view_of(history)
    with RemoteAllocator(serve(application(allocator, history)), TOKEN, LIMITS, timeout=10) as remote:
        answers = [remote.allocate(view, portfolio) for _ in range(3)]
        assert (remote.name, remote.version) == (allocator.name, allocator.version)
    assert answers == [allocator.allocate(view, portfolio)] * 3
    assert list(answers[0].weights) == list(allocator.allocate(view, portfolio).weights)


def test_limits_that_conflict_cross_the_wire_as_a_hold_that_names_them(
    history: PriceHistory, portfolio: PortfolioSnapshot, serve: Serve
) -> None:
    view, allocator = view_of(history), Insatiable(LIMITS)
    with RemoteAllocator(serve(application(allocator, history)), TOKEN, LIMITS, timeout=10) as remote:
        answer = remote.allocate(view, portfolio)
    assert answer == allocator.allocate(view, portfolio)
    assert answer.rung is Rung.HOLD
    assert answer.weights == portfolio.weights
    assert answer.trace["conflicts"] == [["invested 0.9900", "gross 0.9000"]]
    assert "invested 0.9900, gross 0.9000" in str(answer.trace["hold"])


@pytest.fixture(scope="module")
def in_process(history: PriceHistory) -> Iterator[tuple[RemoteAllocator, MarketView]]:
    """The application without a socket, for many questions."""
    from fastapi.testclient import TestClient

    test_client = TestClient(application(InverseVolatility(LIMITS), history))

    def carry(request: httpx.Request) -> httpx.Response:
        return test_client.request(request.method, str(request.url), content=request.content, headers=request.headers)

    with RemoteAllocator("http://testserver", TOKEN, LIMITS, 10, transport=httpx.MockTransport(carry)) as remote:
        yield remote, view_of(history)


money = st.decimals(min_value=Decimal("0.01"), max_value=Decimal(10) ** 9, places=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cash=money, units=st.dictionaries(st.sampled_from(SYMBOLS), st.tuples(money, money)))
def test_any_book_crosses_the_wire_unchanged(
    in_process: tuple[RemoteAllocator, MarketView], cash: Decimal, units: dict[str, tuple[Decimal, Decimal]]
) -> None:
    remote, view = in_process
    book = PortfolioSnapshot(
        account="sim",
        as_of=AS_OF,
        cash=cash,
        holdings={symbol: held for symbol, (held, _) in units.items()},
        prices={symbol: price for symbol, (_, price) in units.items()},
    )
    assert remote.allocate(view, book) == InverseVolatility(LIMITS).allocate(view, book)


def answering(content: bytes | str, status: int = 200) -> RemoteAllocator:
    body = content.encode() if isinstance(content, str) else content
    transport = httpx.MockTransport(lambda _request: httpx.Response(status, content=body))
    return RemoteAllocator("http://service", TOKEN, LIMITS, transport=transport)


@pytest.fixture
def honest(in_process: tuple[RemoteAllocator, MarketView], portfolio: PortfolioSnapshot) -> dict[str, Any]:
    """The answer that the service gives to `portfolio`, as JSON."""
    kept: list[bytes] = []
    remote, view = in_process
    remote._client.event_hooks["response"] = [lambda response: kept.append(response.read())]
    remote.allocate(view, portfolio)
    remote._client.event_hooks["response"] = []
    answer: dict[str, Any] = json.loads(kept[0])
    return answer


LIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another account": (lambda a: a.update(account="other"), "account"),
    "another instant": (lambda a: a.update(as_of="2022-06-01T19:45:01.000000Z"), "as_of"),
    "another session": (lambda a: a.update(session="2022-06-02"), "session"),
    "an old request": (lambda a: a.update(request_id="0" * 32), "request_id"),
    "other data": (lambda a: a.update(view_sha="0" * 64), "view_sha"),
    "data of another day": (lambda a: a.update(data_through="2022-05-27"), "data_through"),
    "a weight more": (lambda a: a["weights"].update(AAPL=a["weights"]["AAPL"] + 0.01), "sum to"),
    "cash more": (lambda a: a.update(cash=a["cash"] + 2e-6), "sum to"),
    "an unknown symbol": (lambda a: a["weights"].update(ENRN=0.0), "ENRN"),
    "profit in an unknown symbol": (lambda a: a["expected_pnl"].update(ENRN=1e9), "ENRN"),
    "a weight moved": (
        lambda a: a["weights"].update(AAPL=a["weights"]["AAPL"] - 0.01, XOM=a["weights"]["XOM"] + 0.01),
        "certificate",
    ),
    "no certificate of a limit": (lambda a: a["certificate"]["slacks"].pop("gross"), "certificate"),
    "a certificate that says the limit breaks": (lambda a: a["certificate"]["slacks"].update(cvar=-0.1), "cvar"),
    "a generous tolerance": (lambda a: a["certificate"].update(tolerance=0.5), "tolerates"),
    "text for a weight": (lambda a: a["weights"].update(AAPL="0.1"), "weights.AAPL"),
    "a truth value for a weight": (lambda a: a["weights"].update(AAPL=True), "weights.AAPL"),
    "a missing field": (lambda a: a.pop("rung"), "rung"),
    "another field": (lambda a: a.update(approved=True), "approved"),
    "an unknown rung": (lambda a: a.update(rung="guess"), "rung"),
    "confidence beyond one": (lambda a: a.update(confidence=1.5), "confidence"),
}


@pytest.mark.parametrize(("lie", "named"), LIES.values(), ids=LIES.keys())
def test_a_false_answer_is_refused_and_the_refusal_says_why(
    honest: dict[str, Any],
    history: PriceHistory,
    portfolio: PortfolioSnapshot,
    lie: Callable[[dict[str, Any]], object],
    named: str,
) -> None:
    view = view_of(history)
    assert answering(json.dumps(honest)).allocate(view, portfolio)
    lie(honest)
    with pytest.raises(AllocationRefused, match=named):
        answering(json.dumps(honest)).allocate(view, portfolio)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["cash", "confidence", "trace"])
def test_a_number_that_is_not_finite_is_refused(
    honest: dict[str, Any], history: PriceHistory, portfolio: PortfolioSnapshot, field: str, number: str
) -> None:
    honest[field] = {"deep": ["HERE"]} if field == "trace" else "HERE"
    with pytest.raises(AllocationRefused):
        answering(json.dumps(honest).replace('"HERE"', number)).allocate(view_of(history), portfolio)


@pytest.mark.parametrize("content", ["", "<html>", "[]", "null", "[" * 100_000, b"\xff\xfe", " " * 2 * 1024 * 1024])
def test_what_is_no_answer_is_refused(
    content: str | bytes, history: PriceHistory, portfolio: PortfolioSnapshot
) -> None:
    with pytest.raises(AllocationRefused):
        answering(content).allocate(view_of(history), portfolio)


def test_a_book_that_drifted_over_a_cap_may_be_held_but_not_proposed(
    history: PriceHistory, portfolio: PortfolioSnapshot, serve: Serve
) -> None:
    drifted = dataclasses.replace(portfolio, cash=Decimal(1000))
    view, holding = view_of(history), Holding(LIMITS)
    with RemoteAllocator(serve(application(holding, history)), TOKEN, LIMITS, timeout=10) as remote:
        held = remote.allocate(view, drifted)
    assert not held.certificate.holds
    assert held == holding.allocate(view, drifted)

    class Proposing(Holding):
        def allocate(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
            return dataclasses.replace(super().allocate(view, portfolio), rung=Rung.MODEL)

    proposing = RemoteAllocator(serve(application(Proposing(LIMITS), history)), TOKEN, LIMITS, timeout=10)
    with proposing, pytest.raises(AllocationRefused, match="breaks"):
        proposing.allocate(view, drifted)


def test_a_service_with_looser_limits_is_refused(
    history: PriceHistory, portfolio: PortfolioSnapshot, serve: Serve
) -> None:
    url = serve(application(EqualWeight(Limits(cash_buffer=0.0, gross_cap=1.0)), history))
    with RemoteAllocator(url, TOKEN, LIMITS, timeout=10) as remote, pytest.raises(AllocationRefused, match="gross"):
        remote.allocate(view_of(history), portfolio)


def test_a_portfolio_of_another_instant_is_not_even_asked_about(
    history: PriceHistory, portfolio: PortfolioSnapshot
) -> None:
    earlier = dataclasses.replace(portfolio, as_of=datetime(2022, 5, 31, tzinfo=UTC))
    with pytest.raises(AllocationRefused, match="the portfolio is as of"):
        answering("{}").allocate(view_of(history), earlier)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (500, AllocationUnavailable),
        (503, AllocationUnavailable),
        (401, AllocationRefused),
        (422, AllocationRefused),
        (302, AllocationRefused),
        (204, AllocationRefused),
    ],
)
def test_the_service_s_own_words_are_passed_on(
    status: int, error: type[Exception], history: PriceHistory, portfolio: PortfolioSnapshot
) -> None:
    with pytest.raises(error, match=f"{status}.*out of\\s?paper"):
        answering('{"detail": "out of\\npaper"}', status).allocate(view_of(history), portfolio)


class TestSilence:
    def test_nobody_listens(self, history: PriceHistory, portfolio: PortfolioSnapshot) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with pytest.raises(AllocationUnavailable, match=f"127.0.0.1:{port}"):
            RemoteAllocator(f"http://127.0.0.1:{port}", TOKEN, LIMITS).allocate(view_of(history), portfolio)

    def test_somebody_listens_and_says_nothing(self, history: PriceHistory, portfolio: PortfolioSnapshot) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            remote = RemoteAllocator(f"http://127.0.0.1:{mute.getsockname()[1]}", TOKEN, LIMITS, timeout=0.2)
            with pytest.raises(AllocationUnavailable, match=r"no answer within 0\.2 s"):
                remote.allocate(view_of(history), portfolio)

    def test_an_answer_that_trickles_past_the_deadline(
        self, history: PriceHistory, portfolio: PortfolioSnapshot
    ) -> None:
        seconds = iter(range(100))

        class Trickle(httpx.SyncByteStream):
            def __iter__(self) -> Iterator[bytes]:
                while True:
                    yield b" "

        transport = httpx.MockTransport(lambda _request: httpx.Response(200, stream=Trickle()))
        remote = RemoteAllocator(
            "http://x", TOKEN, LIMITS, timeout=10, transport=transport, monotonic=lambda: float(next(seconds))
        )
        with pytest.raises(AllocationUnavailable, match="no answer within 10 s"):
            remote.allocate(view_of(history), portfolio)
        assert next(seconds) < 20

    @pytest.mark.parametrize(("failures", "answered"), [(1, True), (2, False)])
    def test_a_broken_connection_is_tried_once_more(
        self,
        in_process: tuple[RemoteAllocator, MarketView],
        honest: dict[str, Any],
        portfolio: PortfolioSnapshot,
        failures: int,
        answered: bool,
    ) -> None:
        tries = 0

        def carry(_request: httpx.Request) -> httpx.Response:
            nonlocal tries
            tries += 1
            if tries <= failures:
                raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
            return httpx.Response(200, json=honest)

        remote = RemoteAllocator("http://x", TOKEN, LIMITS, transport=httpx.MockTransport(carry))
        if answered:
            assert remote.allocate(in_process[1], portfolio)
        else:
            with pytest.raises(AllocationUnavailable):
                remote.allocate(in_process[1], portfolio)
        assert tries == 2

    def test_an_answer_is_asked_for_once(self, history: PriceHistory, portfolio: PortfolioSnapshot) -> None:
        asked: list[httpx.Request] = []

        def carry(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            return httpx.Response(503)

        remote = RemoteAllocator("http://x", TOKEN, LIMITS, transport=httpx.MockTransport(carry))
        with pytest.raises(AllocationUnavailable):
            remote.allocate(view_of(history), portfolio)
        assert len(asked) == 1
        assert asked[0].headers["authorization"] == f"Bearer {TOKEN}"
