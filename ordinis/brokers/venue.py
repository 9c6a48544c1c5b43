"""The simulated broker as a program of its own.

A small HTTP server around `SimulatedBroker`, with its book in its own file. The market is a replay, so the venue has
no clock of its own: a request says at what replayed instant it is made (header X-Market-Time), and the venue refuses
to go back; one that does not say is of the latest instant. An order is committed to the book before the reply is
written.

    GET  /account /positions /open-orders /quotes?symbols=A,B /now /capabilities
    GET  /orders/{client_order_id}  /closed-orders?since=  /fills?since=  /movements?since=
    POST /orders   /orders/{client_order_id}/cancel   /cancel-all   /suspend?suspended=true
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from ordinis.brokers import wire
from ordinis.brokers.simulated import SimulatedBroker
from ordinis.clock import ReplayClock
from ordinis.domain.canonical import canonical, parse_instant
from ordinis.domain.orders import Accepted, SubmitOutcome

TIME_HEADER = "X-Market-Time"


def create_venue(
    broker: SimulatedBroker, clock: ReplayClock, on_committed: Callable[[], None] = lambda: None
) -> FastAPI:
    """The venue's application. `on_committed` is called after an order is in the book and before the reply."""
    app = FastAPI(title="Ordinis simulated venue", docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def follow_the_market(request: Request, proceed: Callable[[Request], Any]) -> Any:
        told = request.headers.get(TIME_HEADER)
        if told is not None:
            try:
                clock.advance(parse_instant(told))
            except ValueError as error:
                return _json({"error": f"{TIME_HEADER}: {error}"}, 400)
        return await proceed(request)

    def query(path: str, read: Callable[..., Any]) -> None:
        async def endpoint(request: Request) -> Response:
            arguments = dict(request.path_params)
            if "since" in request.query_params:
                arguments["since"] = _instant(request.query_params["since"])
            if "symbols" in request.query_params:
                arguments["symbols"] = [s for s in request.query_params["symbols"].split(",") if s]
            answer = read(**arguments)
            return _json(getattr(answer, "value", answer))

        app.get(path)(endpoint)

    query("/account", broker.account)
    query("/positions", broker.positions)
    query("/open-orders", broker.open_orders)
    query("/closed-orders", broker.closed_orders)
    query("/fills", broker.fills)
    query("/movements", broker.movements)
    query("/quotes", broker.quotes)
    query("/now", broker.now)
    query("/capabilities", broker.capabilities)
    query("/orders/{client_order_id}", broker.order)

    @app.post("/orders")
    async def submit(request: Request) -> Response:
        outcome = broker.submit(wire.request(await request.json()))
        await run_in_threadpool(on_committed)
        return _outcome(outcome)

    @app.post("/orders/{client_order_id}/cancel")
    async def cancel(client_order_id: str) -> Response:
        return _outcome(broker.cancel(client_order_id))

    @app.post("/cancel-all")
    async def cancel_all() -> Response:
        return _json(broker.cancel_all().value)

    @app.post("/suspend")
    async def suspend(suspended: bool) -> Response:
        return _json(broker.suspend_trading(suspended).value)

    return app


def _instant(text: str) -> datetime:
    return parse_instant(text)


def _outcome(outcome: SubmitOutcome) -> Response:
    if isinstance(outcome, Accepted):
        return _json({"accepted": outcome.order})
    return _json({"refused": outcome.reason}, 422)


def _json(value: Any, status: int = 200) -> Response:
    return Response(canonical(value), status, media_type="application/json")
