"""The allocation service over HTTP: one right answer, and every way in which a question can be wrong."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from ordinis.clock import trading_calendar
from ordinis.domain.decisions import Allocation
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.errors import DataUnavailable
from ordinis.ports import Allocator, MarketView, PriceHistory
from ordinis.serving.advisor import Advisor
from ordinis.serving.app import create_app
from tests.serving.conftest import AS_OF, SYMBOLS, TOKEN

AUTHORISED = {"Authorization": f"Bearer {TOKEN}"}
Question = dict[str, Any]


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, headers=AUTHORISED)


def ask(client: TestClient, body: object) -> Any:
    content = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return client.post("/v1/allocations", content=content)


def fields(response: Any) -> list[str]:
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) == {"type", "title", "status", "detail", "instance", "errors"}
    assert problem["status"] == response.status_code
    assert "Traceback" not in response.text
    assert not re.search(r"/(tmp|home|usr|root|opt|site-packages)\b|\.py", response.text)
    return [error["field"] for error in problem["errors"]]


class TestAnswer:
    def test_weights_and_cash_are_the_whole_book_and_the_certificate_holds(
        self, client: TestClient, question: Question
    ) -> None:
        answer = ask(client, question).json()
        assert sum(answer["weights"].values()) + answer["cash"] == pytest.approx(1.0, abs=1e-12)
        assert answer["certificate"]["holds"]
        assert answer["certificate"]["worst"] == min(answer["certificate"]["slacks"].values())

    def test_it_says_what_it_is_about_and_where_it_came_from(self, client: TestClient, question: Question) -> None:
        answer = ask(client, {**question, "request_id": "my-request"}).json()
        assert answer["request_id"] == "my-request"
        assert (answer["account"], answer["session"]) == ("sim", "2022-06-01")
        assert answer["as_of"] == "2022-06-01T19:45:00.000000Z"
        assert answer["data_through"] == "2022-05-31"
        assert (answer["allocator"], answer["rung"]) == ("inverse_volatility", "closed_form")
        assert len(answer["view_sha"]) == 64

    def test_its_fields_are_exactly_these(self, client: TestClient, question: Question) -> None:
        about = {"id", "request_id", "account", "as_of", "session", "data_through", "view_sha"}
        advice = {"weights", "cash", "expected_pnl", "horizon_sessions", "confidence", "next_decisions"}
        source = {"allocator", "version", "rung", "certificate", "trace"}
        assert set(ask(client, question).json()) == about | advice | source

    def test_the_same_question_has_the_same_id_and_another_book_another(
        self, client: TestClient, question: Question
    ) -> None:
        first, second = ask(client, question).json(), ask(client, question).json()
        assert first == second
        assert ask(client, {**question, "cash": "250000.08"}).json()["id"] != first["id"]

    def test_without_an_instant_it_answers_for_the_clock_s_now(self, client: TestClient, question: Question) -> None:
        del question["as_of"], question["session"]
        answer = ask(client, question).json()
        assert (answer["as_of"], answer["session"]) == ("2022-06-01T19:45:00.000000Z", "2022-06-01")

    def test_after_the_close_it_answers_for_the_next_session(self, client: TestClient, question: Question) -> None:
        del question["session"]
        answer = ask(client, {**question, "as_of": "2022-06-03T16:30:00-04:00"}).json()
        assert (answer["session"], answer["data_through"]) == ("2022-06-06", "2022-06-03")

    def test_money_as_text_and_as_number_is_the_same_money(self, client: TestClient, question: Question) -> None:
        as_text = {**question, "prices": {"AAPL": "151.21", "KO": "62.3333"}}
        assert ask(client, as_text).json()["id"] == ask(client, question).json()["id"]

    def test_a_number_keeps_digits_that_a_float_would_lose(self, client: TestClient, question: Question) -> None:
        body = json.dumps({**question, "cash": "CASH"})
        one = ask(client, body.replace('"CASH"', "12345678901234567.01")).json()["id"]
        other = ask(client, body.replace('"CASH"', "12345678901234567.02")).json()["id"]
        assert one != other


WRONG = {
    "NaN": ('"cash": NaN', "cash"),
    "Infinity": ('"cash": Infinity', "cash"),
    "minus Infinity": ('"cash": -Infinity', "cash"),
    "1e999": ('"cash": 1e999', "cash"),
    "an exponent of twenty digits": ('"cash": 1e99999999999999999999', "cash"),
    "a million decimals": ('"cash": 1e-999999', "cash"),
    "NaN as text": ('"cash": "NaN"', "cash"),
    "negative cash": ('"cash": "-1"', "cash"),
    "a truth value as money": ('"cash": true', "cash"),
    "money with a separator": ('"cash": "1_000"', "cash"),
    "no cash": ('"account": "sim"', "cash"),
    "a worthless book": ('"cash": 0, "holdings": {}', "cash"),
    "a negative price": ('"cash": 1, "prices": {"AAPL": -3}', "prices.AAPL"),
    "a price of nothing": ('"cash": 1, "prices": {"AAPL": "0"}', "prices.AAPL"),
    "NaN in a price": ('"cash": 1, "prices": {"AAPL": NaN}', "prices.AAPL"),
    "1e999 in a price": ('"cash": 1, "prices": {"AAPL": 1e999}', "prices.AAPL"),
    "a holding without price": ('"cash": 1, "prices": {}', "prices.AAPL"),
    "an unknown symbol": ('"cash": 1, "prices": {"AAPL": 1, "ENRN": 1}', "prices.ENRN"),
    "an unknown holding": ('"cash": 1, "holdings": {"ENRN": 1}, "prices": {"ENRN": 1}', "holdings.ENRN"),
    "a symbol that is SQL": ('"cash": 1, "prices": {"AAPL": 1, "\'; DROP": 1}', "prices.'; DROP"),
    "an unknown field": ('"cash": 1, "approved": true', "approved"),
    "a limit from outside": ('"cash": 1, "limits": {"position_cap": 1}', "limits"),
    "a list for a mapping": ('"cash": 1, "holdings": []', "holdings"),
    "a naive instant": ('"cash": 1, "as_of": "2022-06-01T19:45:00"', "as_of"),
    "an instant as a number": ('"cash": 1, "as_of": 1654112700', "as_of"),
    "an instant before there were prices": ('"cash": 1, "as_of": "0001-01-01T00:00:00+14:00"', "as_of"),
    "the last instant": ('"cash": 1, "as_of": "9999-12-31T23:59:59-14:00"', "as_of"),
    "a Sunday": ('"cash": 1, "session": "2022-06-05"', "session"),
    "a holiday": ('"cash": 1, "session": "2022-05-30"', "session"),
    "a path as account": ('"cash": 1, "account": "../../etc/passwd"', "account"),
    "a line break in the request id": ('"cash": 1, "request_id": "a\\nb"', "request_id"),
}


class TestRefusals:
    @pytest.mark.parametrize(("written", "field"), WRONG.values(), ids=WRONG.keys())
    def test_a_wrong_field_is_named(self, client: TestClient, written: str, field: str) -> None:
        given = {"holdings": '"holdings": {"AAPL": 1}', "prices": '"prices": {"AAPL": 100}'}
        rest = [text for name, text in given.items() if f'"{name}"' not in written]
        response = ask(client, "{" + ", ".join([written, *rest]) + "}")
        assert response.status_code == 422
        assert field in fields(response)

    def test_every_wrong_field_is_named_at_once(self, client: TestClient, question: Question) -> None:
        response = ask(client, {**question, "cash": "x", "peak_equity": -1, "approved": True})
        assert sorted(fields(response)) == ["approved", "cash", "peak_equity"]

    def test_more_than_500_symbols(self, client: TestClient, question: Question) -> None:
        response = ask(client, {**question, "prices": {f"S{number}": 1 for number in range(501)}})
        assert response.status_code == 422
        assert fields(response) == ["prices"]

    @pytest.mark.parametrize(
        "body",
        ["", "{", "null and void", b"\xff\xfe\x00", '{"cash": 1, "cash": 2}', "[" * 100_000, "9" * 5000 + "}"],
        ids=["empty", "cut", "prose", "bytes", "a field twice", "deep", "a long number"],
    )
    def test_what_is_not_json(self, client: TestClient, body: str | bytes) -> None:
        response = ask(client, body)
        assert response.status_code == 400
        assert fields(response) == ["body"]

    @pytest.mark.parametrize("body", ["[]", "1", "null", '"text"', "NaN"])
    def test_json_that_is_no_object(self, client: TestClient, body: str) -> None:
        assert ask(client, body).status_code == 422
        assert fields(ask(client, body)) == ["body"]

    def test_json_nested_deeply_in_a_field(self, client: TestClient) -> None:
        response = ask(client, '{"cash": ' + "[" * 500 + "]" * 500 + ', "holdings": {}, "prices": {}}')
        assert response.status_code == 422
        assert fields(response) == ["cash"]

    def test_a_body_over_the_limit_is_413_whatever_is_in_it(self, client: TestClient) -> None:
        response = ask(client, b" " * (256 * 1024 + 1))
        assert response.status_code == 413
        assert fields(response) == ["body"]

    @pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/v1/allocations", 405)])
    def test_unknown_paths_and_methods(self, client: TestClient, method: str, path: str, status: int) -> None:
        response = client.request(method, path)
        assert response.status_code == status
        assert fields(response) == []
        assert (response.headers.get("allow") == "POST") == (status == 405)

    @pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/v1/allocations/"])
    def test_nothing_else_is_served(self, client: TestClient, path: str) -> None:
        assert client.get(path).status_code == 404


class TestToken:
    @pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer wrong", TOKEN, f"Basic {TOKEN}"])
    @pytest.mark.parametrize(("method", "path"), [("POST", "/v1/allocations"), ("GET", "/metrics")])
    def test_without_the_token_nothing_is_told(self, app: FastAPI, method: str, path: str, header: str | None) -> None:
        headers = {} if header is None else {"Authorization": header}
        response = TestClient(app).request(method, path, headers=headers, content="{not json")
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert fields(response) == []

    def test_two_tokens_are_none(self, app: FastAPI) -> None:
        headers = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer wrong")]
        assert TestClient(app).get("/metrics", headers=headers).status_code == 401

    def test_the_scheme_s_name_has_no_case(self, app: FastAPI) -> None:
        assert TestClient(app).get("/metrics", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200

    def test_an_empty_token_is_no_token(self, advisor: Advisor) -> None:
        with pytest.raises(ValueError, match="needs a token"):
            create_app(advisor, "")


class TestHealth:
    def test_healthz_is_open_and_says_nothing_more(self, app: FastAPI) -> None:
        assert TestClient(app).get("/healthz").json() == {"status": "alive"}

    def test_readyz(self, app: FastAPI) -> None:
        assert TestClient(app).get("/readyz").json() == {"status": "ready"}

    def test_without_data_it_is_alive_but_not_ready_and_only_the_token_learns_why(self, allocator: Allocator) -> None:
        def no_history(_as_of: object, _session: object) -> PriceHistory:
            raise DataUnavailable("bar store", "sessions", "ingest them first")

        app = create_app(Advisor(lambda: allocator, no_history, trading_calendar(), SYMBOLS, lambda: AS_OF), TOKEN)
        stranger, friend = TestClient(app), TestClient(app, headers=AUTHORISED)
        assert stranger.get("/healthz").status_code == 200
        assert stranger.get("/readyz").status_code == friend.get("/readyz").status_code == 503
        assert "bar store" not in stranger.get("/readyz").text
        assert "bar store has no sessions" in friend.get("/readyz").json()["detail"]

    def test_metrics_count_requests_by_route_and_allocations_by_rung(
        self, client: TestClient, question: Question
    ) -> None:
        ask(client, question)
        ask(client, "{")
        client.get("/nowhere/42")
        text = client.get("/metrics").text
        assert 'ordinis_http_requests_total{route="/v1/allocations",status="200"} 1.0' in text
        assert 'ordinis_http_requests_total{route="/v1/allocations",status="400"} 1.0' in text
        assert 'ordinis_http_requests_total{route="unmatched",status="404"} 1.0' in text
        assert 'ordinis_http_request_seconds_count{route="/v1/allocations"} 2.0' in text
        assert 'ordinis_allocations_total{allocator="inverse_volatility",rung="closed_form"} 1.0' in text


@dataclasses.dataclass
class Failing:
    """An allocator that answers with an error, or with another's answer changed."""

    base: Allocator
    error: Exception | None = None
    change: dict[str, Any] = dataclasses.field(default_factory=dict)
    name: str = "failing"
    version: str = "1"

    def allocate(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        if self.error is not None:
            raise self.error
        return dataclasses.replace(self.base.allocate(view, portfolio), **self.change)


class TestFailures:
    @pytest.mark.parametrize(
        ("failing", "status"),
        [
            ({"error": DataUnavailable("history", "session")}, 503),
            ({"error": ZeroDivisionError("secret detail in /tmp/secret.py")}, 500),
            ({"change": {"cash": float("nan")}}, 500),
            ({"change": {"view_sha": "another"}}, 500),
        ],
    )
    def test_an_allocator_that_fails_becomes_a_problem(
        self,
        allocator: Allocator,
        history: PriceHistory,
        question: Question,
        failing: dict[str, Any],
        status: int,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        failed = Failing(allocator, **failing)
        advisor = Advisor(lambda: failed, lambda *_: history, trading_calendar(), SYMBOLS, lambda: AS_OF)
        response = ask(TestClient(create_app(advisor, TOKEN), headers=AUTHORISED), question)
        assert response.status_code == status
        assert fields(response) == []
        assert "secret" not in response.text
        if status == 500:
            assert "Traceback" in caplog.text

    def test_an_allocator_that_forgets_the_view_s_hash_is_helped(
        self, allocator: Allocator, history: PriceHistory, question: Question
    ) -> None:
        forgetful = Failing(allocator, change={"view_sha": ""})
        advisor = Advisor(lambda: forgetful, lambda *_: history, trading_calendar(), SYMBOLS, lambda: AS_OF)
        assert len(ask(TestClient(create_app(advisor, TOKEN), headers=AUTHORISED), question).json()["view_sha"]) == 64


def test_the_view_of_one_instant_is_cut_once(allocator: Allocator, history: PriceHistory, question: Question) -> None:
    cuts = []

    def counted(as_of: Any, session: Any) -> PriceHistory:
        cuts.append((as_of, session))
        return history

    advisor = Advisor(lambda: allocator, counted, trading_calendar(), SYMBOLS, lambda: AS_OF)
    client = TestClient(create_app(advisor, TOKEN), headers=AUTHORISED)
    for _ in range(3):
        assert ask(client, question).status_code == 200
    assert len(cuts) == 1
    ask(client, {**question, "as_of": "2022-06-01T19:46:00Z"})
    assert len(cuts) == 2


def test_the_documentation_can_be_switched_on(advisor: Advisor) -> None:
    client = TestClient(create_app(advisor, TOKEN, docs=True))
    schema = client.get("/openapi.json").json()
    assert client.get("/docs").status_code == 200
    asked = schema["paths"]["/v1/allocations"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert asked["additionalProperties"] is False
