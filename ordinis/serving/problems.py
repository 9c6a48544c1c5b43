"""Errors as problem documents (RFC 9457).

A problem says what kind it is, which field was wrong and what to do; never where the program was. What went wrong
inside is in the log, under the identifier that the problem gives as its `instance`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from uuid import uuid4

from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

logger = logging.getLogger(__name__)

MOST_ERRORS = 20
"""Fields named in one problem; a question that is wrong everywhere need not be told everything."""


class Problem(Exception):
    """A request that cannot be answered, and why."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status, self.kind, self.detail = status, kind, detail
        self.errors, self.headers = tuple(errors[:MOST_ERRORS]), dict(headers or {})
        super().__init__(f"{status} {kind}: {detail}")

    def response(self) -> JSONResponse:
        instance = f"urn:uuid:{uuid4()}"
        log = logger.error if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR else logger.info
        log("problem status=%d kind=%s instance=%s detail=%s", self.status, self.kind, instance, self.detail)
        return JSONResponse(
            {
                "type": f"urn:ordinis:problem:{self.kind}",
                "title": HTTPStatus(self.status).phrase,
                "status": self.status,
                "detail": self.detail,
                "instance": instance,
                "errors": [{"field": field[:120], "problem": problem} for field, problem in self.errors],
            },
            status_code=self.status,
            headers=self.headers,
            media_type="application/problem+json",
        )


def invalid(errors: Sequence[tuple[str, str]]) -> Problem:
    first, problem = errors[0]
    return Problem(422, "invalid-request", f"{first[:120]}: {problem}", errors)


def from_validation(error: ValidationError) -> Problem:
    """One entry for each field, named as it is written in the question: `prices.AAPL`."""
    found = []
    for each in error.errors(include_url=False, include_input=False, include_context=False):
        path = [str(part) for part in each["loc"]]
        message = each["msg"].removeprefix("Value error, ")
        if path and path[-1] == "[key]":
            path, message = path[:-1], f"is no valid name: {message}"
        found.append((".".join(path) or "body", message[:200]))
    return invalid(found)


def from_http(error: HTTPException) -> Problem:
    """What the framework itself refuses: an unknown path, a method that the path does not have."""
    kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    return Problem(error.status_code, kind, str(error.detail), headers=error.headers)


def unexpected(error: Exception) -> Problem:
    logger.error("a request failed unexpectedly", exc_info=error)
    return Problem(500, "internal-error", "the service failed to answer; its log says why")
