"""What only a real socket shows: a body is refused while it is still being sent, whether or not it says its length."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI

from ordinis.serving.advisor import Advisor
from ordinis.serving.app import BODY_LIMIT, create_app
from tests.serving.conftest import TOKEN

AUTHORISED = {"Authorization": f"Bearer {TOKEN}"}
HEAD = "POST /v1/allocations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{}\r\n\r\n"
MEGABYTE = 1024 * 1024
Serve = Callable[[FastAPI], str]


def raw(url: str, head: str, body: Iterator[bytes], token: str = TOKEN) -> tuple[bytes, int]:
    """Send until the service answers; returns the answer and how much of the body had been sent by then."""
    parts, sent = urlsplit(url), 0
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as connection:
        connection.sendall(HEAD.format(token, head).encode())
        answer = b""
        for piece in body:
            if select.select([connection], [], [], 0)[0]:
                break
            try:
                connection.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break
            sent += len(piece)
        while b"\r\n\r\n" not in answer and (more := connection.recv(65536)):
            answer += more
    return answer, sent


def endless() -> Iterator[bytes]:
    """A chunked body of up to a gigabyte: nobody may wait for its end."""
    for _ in range(65536):
        yield b"4000\r\n" + b" " * 0x4000 + b"\r\n"


def test_two_megabytes_are_413(app: FastAPI, serve: Serve) -> None:
    response = httpx.post(f"{serve(app)}/v1/allocations", headers=AUTHORISED, content=b" " * 2 * MEGABYTE)
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"


def test_an_announced_length_is_enough_to_be_refused(app: FastAPI, serve: Serve) -> None:
    answer, sent = raw(serve(app), f"Content-Length: {MEGABYTE * 1024}", iter([]))
    assert answer.startswith(b"HTTP/1.1 413")
    assert sent == 0


def test_a_chunked_body_without_length_is_refused_long_before_its_end(app: FastAPI, serve: Serve) -> None:
    answer, sent = raw(serve(app), "Transfer-Encoding: chunked", endless())
    assert answer.startswith(b"HTTP/1.1 413")
    assert BODY_LIMIT < sent < 16 * MEGABYTE  # what the kernel's buffers and the loop's next turn let through


def test_a_body_that_does_not_come_is_given_up(advisor: Advisor, serve: Serve) -> None:
    url = serve(create_app(advisor, TOKEN, body_seconds=0.2))
    answer, _ = raw(url, "Content-Length: 100", iter([b"{"]))
    assert answer.startswith(b"HTTP/1.1 408")


def test_without_the_token_the_body_is_not_even_looked_at(app: FastAPI, serve: Serve) -> None:
    response = httpx.post(f"{serve(app)}/v1/allocations", content=b" " * 2 * MEGABYTE)
    assert response.status_code == 401


def test_more_questions_at_once_than_there_are_turns_are_sent_away(advisor: Advisor, serve: Serve) -> None:
    url = serve(create_app(advisor, TOKEN, most_at_once=1, body_seconds=5))
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=5) as slow:
        slow.sendall(HEAD.format(TOKEN, "Content-Length: 9").encode() + b"{")
        for _ in range(200):
            second = httpx.post(f"{url}/v1/allocations", headers=AUTHORISED, content=b"{}")
            if second.status_code == 503:
                break
        assert second.status_code == 503
        assert second.headers["retry-after"] == "1"
        assert httpx.get(f"{url}/healthz").status_code == 200


@pytest.mark.parametrize("body", [b"{}", b"[]"])
def test_a_small_wrong_body_leaves_the_connection_open(app: FastAPI, serve: Serve, body: bytes) -> None:
    with httpx.Client(headers=AUTHORISED) as client:
        url = f"{serve(app)}/v1/allocations"
        assert client.post(url, content=body).status_code == 422
        assert client.post(url, content=body).headers.get("connection") != "close"
