"""An allocator on the other side of a network: what comes back is checked as if an enemy had sent it.

The question carries the portfolio, the instant and the session; the answer must be about that question and about the
very market view that the asker holds (by hash), its numbers finite, its weights and cash a whole, and its certificate
must come out the same when it is computed here. An answer outside the limits is taken only where it is the book as it
stands, on the rung that holds. Anything else is refused, and silence is not an answer: one deadline covers connecting,
asking, one more try when the connection broke, and the last byte.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NoReturn

import httpx
from pydantic import ValidationError

from ordinis.domain.canonical import instant_text
from ordinis.domain.decisions import WHOLE, Allocation, Rung
from ordinis.domain.limits import Limits
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.errors import AllocationRefused, AllocationUnavailable
from ordinis.optimize.certificate import certify
from ordinis.ports import MarketView
from ordinis.serving.schemas import AllocationAnswer, question

logger = logging.getLogger(__name__)

PATH = "/v1/allocations"
ANSWER_LIMIT = 1024 * 1024
SAME_SLACK = 1e-9
"""Two computations of one slack differ by rounding only."""
LOOSEST_TOLERANCE = 1e-6


class RemoteAllocator:
    """Asks the service at `url`; `name` and `version` are those of the last answer.

    Args:
        limits: the asker's own; an answer outside them, or certified under others, is refused.
        timeout: seconds for the whole exchange.
        transport: what carries the requests; the network when None.
    """

    def __init__(
        self,
        url: str,
        token: str,
        limits: Limits,
        timeout: float = 2.0,
        *,
        transport: httpx.BaseTransport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url.rstrip("/") + PATH
        self.name, self.version = "remote", "not asked yet"
        self._limits, self._timeout, self._monotonic = limits, timeout, monotonic
        # Proxies and .netrc of the environment are left out: the token must reach no one but the service.
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {token}"}, trust_env=False, follow_redirects=False, transport=transport
        )

    def allocate(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        """The service's answer about `portfolio` as of `view`.

        Raises:
            AllocationUnavailable: no answer in time, or the service says that it cannot answer now.
            AllocationRefused: an answer came and cannot be used.
        """
        if portfolio.as_of != view.as_of:
            raise AllocationRefused(
                f"the portfolio is as of {instant_text(portfolio.as_of)}, the view {instant_text(view.as_of)}"
            )
        asked = question(portfolio, view.session)
        answer = _parse(self._ask(json.dumps(asked, separators=(",", ":")).encode()))
        _same_question(answer, asked, view)
        allocation = answer.allocation()
        _whole(allocation, {*view.symbols, *portfolio.holdings})
        self._recertify(allocation, portfolio)
        self.name, self.version = allocation.allocator, allocation.version
        return allocation

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> RemoteAllocator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, body: bytes) -> bytes:
        deadline = self._monotonic() + self._timeout
        try:
            return self._try(body, deadline)
        except (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError) as error:
            # A kept-alive connection that the service closed meanwhile looks like this. Asking is a pure read.
            logger.debug("asking once more url=%s reason=%s", self.url, error)
        except httpx.HTTPError as error:
            self._unavailable(error)
        try:
            return self._try(body, deadline)
        except httpx.HTTPError as error:
            self._unavailable(error)

    def _unavailable(self, error: httpx.HTTPError) -> NoReturn:
        reason = f"no answer within {self._timeout:g} s" if isinstance(error, httpx.TimeoutException) else str(error)
        raise AllocationUnavailable(self.url, reason or type(error).__name__) from error

    def _try(self, body: bytes, deadline: float) -> bytes:
        left = deadline - self._monotonic()
        if left <= 0:
            raise httpx.TimeoutException("the deadline has passed")
        headers = {"Content-Type": "application/json"}
        with self._client.stream("POST", self.url, content=body, headers=headers, timeout=left) as response:
            content = b"".join(self._until(deadline, response))
        if response.status_code >= 500:
            raise AllocationUnavailable(self.url, f"status {response.status_code}: {_reason(content)}")
        if response.status_code != 200:
            raise AllocationRefused(f"the service answered {response.status_code}: {_reason(content)}")
        return content

    def _until(self, deadline: float, response: httpx.Response) -> Iterator[bytes]:
        """The body's chunks; httpx counts its timeout from each chunk, so a trickle would outlast it."""
        size = 0
        for chunk in response.iter_bytes():
            size += len(chunk)
            if size > ANSWER_LIMIT:
                raise AllocationRefused(f"it has more than {ANSWER_LIMIT} bytes")
            yield chunk
            if self._monotonic() > deadline:
                raise httpx.ReadTimeout("the answer trickles")

    def _recertify(self, allocation: Allocation, portfolio: PortfolioSnapshot) -> None:
        given = allocation.certificate
        if given.tolerance > LOOSEST_TOLERANCE:
            raise AllocationRefused(f"its certificate tolerates {given.tolerance}")
        own = certify(allocation.weights, self._limits, given.tolerance)
        for name, slack in own.slacks.items():
            claimed = given.slacks.get(name)
            if claimed is None or abs(claimed - slack) > SAME_SLACK:
                raise AllocationRefused(f"its certificate says {claimed} of {name!r}, which is {slack}")
        if not given.holds and not _is_the_book(allocation, portfolio):
            worst = min(given.slacks, key=lambda name: given.slacks[name])
            raise AllocationRefused(f"it breaks {worst!r} by {-given.worst}")


def _is_the_book(allocation: Allocation, portfolio: PortfolioSnapshot) -> bool:
    """Whether the answer is to hold: a book that drifted over a limit may be kept, never proposed."""
    book = portfolio.weights
    return allocation.rung is Rung.HOLD and all(
        abs(allocation.weights.get(symbol, 0.0) - book.get(symbol, 0.0)) <= SAME_SLACK
        for symbol in {*allocation.weights, *book}
    )


def _parse(content: bytes) -> AllocationAnswer:
    try:
        return AllocationAnswer.model_validate(json.loads(content, parse_float=_finite, parse_constant=_finite))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise AllocationRefused(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise AllocationRefused(f"it is no JSON: {error}") from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def _same_question(answer: AllocationAnswer, asked: dict[str, Any], view: MarketView) -> None:
    given = {
        "account": answer.account,
        "as_of": instant_text(answer.as_of),
        "session": answer.session.isoformat(),
        "request_id": answer.request_id,
        "data_through": answer.data_through.isoformat(),
        "view_sha": answer.view_sha,
    }
    wanted = {**asked, "data_through": view.sessions[-1].isoformat(), "view_sha": view.sha}
    for name, value in given.items():
        if value != wanted[name]:
            raise AllocationRefused(f"it is about {name} {value}, the question was about {wanted[name]}")


def _whole(allocation: Allocation, known: set[str]) -> None:
    unknown = sorted((set(allocation.weights) | set(allocation.expected_pnl)) - known)
    if unknown:
        raise AllocationRefused(f"it names {', '.join(unknown)}, neither in the view nor held")
    total = math.fsum(allocation.weights.values()) + allocation.cash
    if abs(total - 1.0) > WHOLE:
        raise AllocationRefused(f"weights and cash sum to {total}")


def _reason(content: bytes) -> str:
    """The problem document's own words, in one line."""
    try:
        said = json.loads(content)
    except ValueError:
        return "no problem document"
    return " ".join(str(said.get("detail", "")).split())[:300] if isinstance(said, dict) else "no problem document"
