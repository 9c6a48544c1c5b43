"""The allocation service as an HTTP application.

    POST /v1/allocations   portfolio and prices in, certified weights out    bearer token
    GET  /healthz          the process answers                               open
    GET  /readyz           the data for a question of now are there          open; the reason needs the token
    GET  /metrics          for Prometheus                                    bearer token

The token is kept as its sha256 and compared in constant time. A body is counted while it arrives, so one that is too
large is refused before it has been read whole, also when it does not say its length; one that does not arrive in time
is given up. More questions at once than can be answered soon are turned away at the door instead of queueing.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ordinis.clock import SystemClock
from ordinis.errors import DataUnavailable, OrdinisError, StaleView
from ordinis.monitoring.metrics import CONTENT_TYPE, ServiceMetrics, service_metrics
from ordinis.ports import Clock
from ordinis.serving import problems
from ordinis.serving.advisor import Advisor
from ordinis.serving.problems import Problem
from ordinis.serving.schemas import AllocationAnswer, AllocationRequest, answer, read_json

BODY_LIMIT = 256 * 1024
BODY_SECONDS = 10.0
MOST_AT_ONCE = 64
"""Questions in progress; at a few milliseconds each, the last of them still answers within its asker's deadline."""
CLIENT_LEFT = 499
"""Counted, never sent: the asker hung up before the question was whole."""


def create_app(
    advisor: Advisor,
    token: str,
    *,
    metrics: ServiceMetrics | None = None,
    clock: Clock | None = None,
    body_limit: int = BODY_LIMIT,
    body_seconds: float = BODY_SECONDS,
    most_at_once: int = MOST_AT_ONCE,
    docs: bool = False,
) -> FastAPI:
    """The application that answers with `advisor` whoever knows `token`."""
    if not token:
        raise ValueError("the service needs a token: an empty one would let everybody in")
    counted = metrics or service_metrics()
    doorkeeper = _Doorkeeper(token)
    turns = asyncio.Semaphore(most_at_once)
    app = FastAPI(
        title="Ordinis allocation service",
        openapi_url="/openapi.json" if docs else None,
        docs_url="/docs" if docs else None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(_Watched, metrics=counted, clock=clock or SystemClock())
    app.add_exception_handler(Problem, _as_problem)
    app.add_exception_handler(HTTPException, _as_problem)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz(request: Request) -> Response:
        try:
            await run_in_threadpool(advisor.ready)
        except OrdinisError as error:
            detail = str(error) if doorkeeper.knows(request) else "ask with the token for the reason"
            raise Problem(503, error.code, detail) from error
        return JSONResponse({"status": "ready"})

    @app.get("/metrics")
    async def scrape(request: Request) -> Response:
        doorkeeper.admit(request)
        return Response(counted.exposition(), media_type=CONTENT_TYPE)

    @app.post("/v1/allocations", response_model=AllocationAnswer, openapi_extra=_request_body())
    async def allocations(request: Request) -> Response:
        doorkeeper.admit(request)
        if turns.locked():
            raise Problem(503, "too-busy", "too many questions at once; ask again", headers={"Retry-After": "1"})
        async with turns:
            body = await _read(request, body_limit, body_seconds)
            text, allocator, rung = await run_in_threadpool(_allocate, advisor, body)
        counted.allocation(allocator, rung)
        return Response(text, media_type="application/json")

    return app


def _allocate(advisor: Advisor, body: bytes) -> tuple[str, str, str]:
    """The answer's text, and who made it on which rung."""
    try:
        asked = AllocationRequest.model_validate(read_json(body))
    except ValidationError as error:
        raise problems.from_validation(error) from error
    except ValueError as error:
        raise Problem(400, "not-json", f"the body is not JSON: {error}", [("body", str(error))]) from error
    wrong = asked.problems(advisor.symbols)
    if asked.session and not advisor.calendar.is_session(asked.session):
        wrong.append(("session", f"{asked.session} is no session of {advisor.calendar.exchange}"))
    if wrong:
        raise problems.invalid(wrong)
    portfolio = asked.portfolio(advisor.now)
    try:
        allocation, view = advisor.answer(portfolio, asked.session)
    except (DataUnavailable, StaleView) as error:
        raise Problem(503, error.code, str(error)) from error
    return answer(allocation, portfolio, view, asked.request_id), allocation.allocator, allocation.rung.value


async def _read(request: Request, limit: int, seconds: float) -> bytes:
    """The body, refused as soon as it is known to be larger than `limit`."""
    too_large = Problem(
        413, "body-too-large", f"a question has at most {limit} bytes", [("body", "too large")], {"Connection": "close"}
    )
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        raise Problem(408, "body-too-slow", f"the body did not arrive within {seconds:g} s") from None
    return bytes(body)


class _Doorkeeper:
    def __init__(self, token: str) -> None:
        self._digest = hashlib.sha256(token.encode()).digest()

    def knows(self, request: Request) -> bool:
        given = request.headers.getlist("authorization")
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        offered = hashlib.sha256(token.strip().encode()).digest()
        return hmac.compare_digest(offered, self._digest) and scheme.lower() == "bearer"

    def admit(self, request: Request) -> None:
        if not self.knows(request):
            raise Problem(
                401, "no-token", "a bearer token is needed", headers={"WWW-Authenticate": 'Bearer realm="ordinis"'}
            )


class _Watched:
    """Counts and times every request, and turns what nobody expected into a problem document."""

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics, clock: Clock) -> None:
        self._app, self._metrics, self._clock = app, metrics, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = self._clock.monotonic(), 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        except ClientDisconnect:
            status = CLIENT_LEFT
        except Exception as error:
            # The outermost loop of a request: whatever happened, the asker gets a problem and the log gets the reason.
            response = problems.unexpected(error).response()
            if not status:
                await response(scope, receive, note)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.request(route, status, self._clock.monotonic() - started)


async def _as_problem(_request: Request, error: Exception) -> Response:
    problem = error if isinstance(error, Problem) else problems.from_http(error)  # type: ignore[arg-type]
    return problem.response()


def _request_body() -> dict[str, Any]:
    schema = AllocationRequest.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
