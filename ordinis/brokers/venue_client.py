"""The simulated venue seen over HTTP: the Broker door on the actor's side.

A reply decides: 2xx is yes, 400 to 422 is no. Everything else (no connection, no answer in time, a server error, an
answer that cannot be read) is ambiguous for an order and unknown for a query.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import httpx

from ordinis.brokers import wire
from ordinis.domain.canonical import canonical, instant_text, parse_instant
from ordinis.domain.market import Quote
from ordinis.domain.orders import (
    Accepted,
    Ambiguous,
    BrokerOrder,
    Fill,
    Known,
    OrderRequest,
    QueryOutcome,
    Refused,
    SubmitOutcome,
    Unknown,
)
from ordinis.domain.portfolio import Movement
from ordinis.errors import BrokerUnavailable
from ordinis.ports import BrokerAccount, Capabilities, Clock

T = TypeVar("T")
UNREADABLE = (KeyError, ValueError, TypeError, ArithmeticError)


def market_time(url: str) -> datetime:
    """How far the replayed market has come at the venue.

    Raises:
        BrokerUnavailable: the venue does not answer.
    """
    try:
        return parse_instant(httpx.get(f"{url}/now", timeout=10.0).raise_for_status().json())
    except (httpx.HTTPError, *UNREADABLE) as error:
        raise BrokerUnavailable("clock", f"{url}: {error}; start it with `ordinis venue`") from error


class VenueClock:
    """The market's own time, asked for each time: for a person who looks on while another process moves it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def now(self) -> datetime:
        return market_time(self._url)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


class VenueClient:
    def __init__(self, url: str, clock: Clock | None, timeout: float = 10.0) -> None:
        """Without a clock, requests are of the venue's own present, wherever the market has come by then."""
        self._http = httpx.Client(base_url=url, timeout=timeout)
        self._clock = clock

    def account(self) -> QueryOutcome[BrokerAccount]:
        return self._get("/account", wire.account)

    def positions(self) -> QueryOutcome[Mapping[str, Decimal]]:
        return self._get("/positions", wire.positions)

    def order(self, client_order_id: str) -> QueryOutcome[BrokerOrder | None]:
        return self._get(f"/orders/{client_order_id}", lambda body: None if body is None else wire.order(body))

    def open_orders(self) -> QueryOutcome[Sequence[BrokerOrder]]:
        return self._get("/open-orders", lambda body: [wire.order(item) for item in body])

    def closed_orders(self, since: datetime) -> QueryOutcome[Sequence[BrokerOrder]]:
        return self._get("/closed-orders", lambda body: [wire.order(item) for item in body], since=since)

    def fills(self, since: datetime) -> QueryOutcome[Sequence[Fill]]:
        return self._get("/fills", lambda body: [wire.fill(item) for item in body], since=since)

    def movements(self, since: datetime) -> QueryOutcome[Sequence[Movement]]:
        return self._get("/movements", lambda body: [wire.movement(item) for item in body], since=since)

    def quotes(self, symbols: Sequence[str]) -> QueryOutcome[Mapping[str, Quote]]:
        return self._get(
            "/quotes",
            lambda body: {symbol: wire.quote(item) for symbol, item in body.items()},
            symbols=",".join(symbols),
        )

    def now(self) -> QueryOutcome[datetime]:
        return self._get("/now", parse_instant)

    def capabilities(self) -> Capabilities:
        answer = self._get("/capabilities", wire.capabilities)
        if isinstance(answer, Known):
            return answer.value
        raise BrokerUnavailable("capabilities", getattr(answer, "reason", "stale"))

    def submit(self, request: OrderRequest) -> SubmitOutcome:
        return self._command("/orders", content=canonical(asdict(request)))

    def cancel(self, client_order_id: str) -> SubmitOutcome:
        return self._command(f"/orders/{client_order_id}/cancel")

    def cancel_all(self) -> QueryOutcome[int]:
        return self._ask("POST", "/cancel-all", int)

    def suspend_trading(self, suspended: bool) -> QueryOutcome[bool]:
        return self._ask("POST", "/suspend", bool, suspended=str(suspended).lower())

    def _get(self, path: str, read: Callable[[Any], T], **query: object) -> QueryOutcome[T]:
        return self._ask("GET", path, read, **query)

    def _ask(self, verb: str, path: str, read: Callable[[Any], T], **query: object) -> QueryOutcome[T]:
        told = {key: instant_text(v) if isinstance(v, datetime) else str(v) for key, v in query.items()}
        try:
            reply = self._http.request(verb, path, params=told, headers=self._time())
            reply.raise_for_status()
            return Known(read(reply.json()))
        except httpx.HTTPError as error:
            return Unknown(f"{type(error).__name__}: {error}")
        except UNREADABLE as error:
            return Unknown(f"an answer that cannot be read: {error!r}")

    def _command(self, path: str, content: str = "") -> SubmitOutcome:
        try:
            reply = self._http.post(path, content=content, headers=self._time())
            if reply.is_success:
                return Accepted(wire.order(reply.json()["accepted"]))
            if reply.status_code in (400, 401, 403, 404, 422):
                return Refused(str(reply.json().get("refused", reply.text)))
            return Ambiguous(f"HTTP {reply.status_code}")
        except httpx.HTTPError as error:
            return Ambiguous(f"{type(error).__name__}: {error}")
        except UNREADABLE as error:
            return Ambiguous(f"an answer that cannot be read: {error!r}")

    def _time(self) -> dict[str, str]:
        return {} if self._clock is None else {"X-Market-Time": instant_text(self._clock.now())}
