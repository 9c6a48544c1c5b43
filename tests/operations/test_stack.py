"""Everything at once, for real: Prefect, Ray, Serve, venue and actor, as `ordinis up` starts them.

The tests stand in the order of a day and end with `down`; each is also right alone.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address

import httpx
import psutil
import pytest

from ordinis import bootstrap
from ordinis.allocation.remote import RemoteAllocator
from ordinis.clock import trading_calendar
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.errors import ConfigurationError, NotFound, ProcessFailed
from ordinis.features.view import market_view
from ordinis.governance.exposures import published
from ordinis.monitoring.findings import nights
from ordinis.operations import stack
from ordinis.operations.environments import ray_folder
from ordinis.operations.prefect_api import FlowRun, PrefectApi, after_close
from ordinis.operations.processes import Processes
from tests.operations.running import CANARY, FIRST, LAST, Running, artefacts
from tests.serving.test_socket import endless, raw

pytestmark = pytest.mark.processes

SERVERS = ("prefect", "worker", "ray", "serve", "venue")
PROGRAMS = (*SERVERS, "actor")


def members(up: Running) -> dict[str, list[psutil.Process]]:
    processes = Processes(up.settings.home)
    return {name: processes.members(name) for name in PROGRAMS}


def soon(question: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.2)


def test_each_program_is_started_and_comes_up_in_its_turn(up: Running) -> None:
    assert [name for name, what in up.told if what == "starting"] == list(PROGRAMS)
    assert [name for name, what in up.told if what == "up"] == list(PROGRAMS)


def test_status_asks_each_program_whether_it_is_ready(up: Running) -> None:
    found = {each.name: each for each in stack.status(up.settings)}
    assert list(found) == list(PROGRAMS)
    assert all(found[name].running and found[name].ready for name in SERVERS), found
    assert found["serve"].url == up.settings.serve_url


def test_nothing_listens_beyond_loopback(up: Running) -> None:
    listening = {
        (name, process.name(), connection.laddr.ip)
        for name, found in members(up).items()
        for process in found
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {name for name, _, _ in listening} >= {"prefect", "ray", "venue"}
    beyond = {each for each in listening if not ip_address(each[2].removeprefix("::ffff:")).is_loopback}
    assert not beyond


def test_only_the_venue_and_the_actor_can_hold_a_brokers_key(up: Running) -> None:
    holders = {
        name for name, found in members(up).items() for process in found if CANARY in str(process.environ().values())
    }
    assert holders <= {"venue", "actor"}
    assert "venue" in holders


def test_each_schedule_has_runs_that_will_start_after_the_close(up: Running) -> None:
    with PrefectApi(up.settings) as prefect:
        schedules = {each.deployment: each for each in prefect.schedules()}
        assert set(schedules) == {"ingest", "calibration", "attribution", "report", "nightly"}
        assert all(each.timezone == "America/New_York" and each.cron.endswith("* * 1-5") for each in schedules.values())
        for name in schedules:
            soon(lambda name=name: prefect.scheduled(name), 60)
            planned = prefect.scheduled(name)[0].starts
            assert planned is not None
            assert datetime.now(UTC) < planned < datetime.now(UTC) + timedelta(days=4)
            assert planned.weekday() < 5
            assert planned.hour in (20, 21, 22, 23)  # 16:30 to 18:30 in New York


def test_a_flow_is_started_and_followed_to_its_end(up: Running) -> None:
    session, seen = date(2022, 6, 2), list[FlowRun]()
    with PrefectApi(up.settings) as prefect:
        begun = prefect.run("ingest", {"session": str(session)})
        ended = prefect.follow(begun.id, seen.append, timeout=60)
        with pytest.raises(NotFound, match="no deployment 'tomorrow'"):
            prefect.run("tomorrow")
    assert (ended.state, ended.kind) == ("Completed", "COMPLETED")
    assert ended.message == "2022-06-02: 26 bars, 26 new, 0 in quarantine"
    assert [run.state for run in seen][-1] == "Completed"
    assert "Running" in [run.state for run in seen]
    assert bootstrap.jobs(up.settings).done("ingest", session)


def test_the_close_of_a_session_starts_the_nightly_flow(up: Running) -> None:
    """The actor says that a session has closed, the server starts the flow, the records say that it is done."""
    records, jobs = bootstrap.records(up.settings), bootstrap.jobs(up.settings)
    soon(lambda: jobs.done("nightly", LAST), 240)
    for session in (FIRST, LAST):
        assert all(jobs.done(job, session) for job in ("ingest", "calibration", "attribution", "report", "nightly"))
    night = nights(records, "sim", LAST, LAST)[LAST]
    assert night.risk is not None
    assert sum(night.risk.parts.values()) == pytest.approx(night.risk.volatility, abs=1e-12)
    taken_up = published(up.settings.exposures_path)
    assert taken_up is not None
    assert (taken_up.session, taken_up.by_symbol) == (LAST, night.exposures)
    assert night.profit is not None
    assert abs(night.profit.unexplained) < Decimal("0.005")
    feedback = bootstrap.feedback_records(up.settings)
    with bootstrap.ledger(up.settings).begin(write=False) as unit:
        fees = sum(fill.fee for fill in unit.book.fills())
    kept = feedback.executions("sim", LAST)
    assert kept
    assert sum(row.fees for row in kept) == fees
    made = feedback.calibration("sim", LAST)
    assert made is not None
    assert (made.promoted, made.reason.split(" ", 1)[1]) == (False, "fills, 200 are needed: the model in force stays")
    with PrefectApi(up.settings) as prefect:
        runs = [run for run in prefect.runs("nightly") if run.parameters.get("session") == str(LAST)]
    assert [run.state for run in runs] == ["Completed"]
    shown = artefacts(up)
    for key in ("attribution", "attribution-table", "attribution-picture-1", "calibration", "calibration-table"):
        assert key in shown
    assert f"Attribution of {LAST}" in shown["attribution"]
    assert shown["attribution-picture-1"].startswith("data:image/png;base64,")
    soon(lambda: not Processes(up.settings.home).pid("actor"), 20)


def test_a_backfill_shows_progress_and_outlives_a_restart_of_the_server(up: Running) -> None:
    first, last = date(2022, 3, 4), date(2022, 5, 27)
    sessions, jobs = set(trading_calendar().between(first, last)), bootstrap.jobs(up.settings)

    def done() -> int:
        return len({run.logical_date for run in jobs.runs("ingest") if run.status == "done"} & sessions)

    seen = list[int]()
    with PrefectApi(up.settings, patience=120.0) as prefect:
        begun = prefect.run("backfill", {"step": "ingest", "first": str(first), "last": str(last)})
        soon(lambda: done() >= 5, 90)
        assert Processes(up.settings.home).stop("prefect")
        assert done() < len(sessions) == 60
        stack.up(up.settings, ["prefect"])
        ended = prefect.follow(begun.id, timeout=240, on_poll=lambda: seen.append(done()))
    assert (ended.kind, done()) == ("COMPLETED", len(sessions)), ended.message
    assert f"{len(sessions)} Completed" in ended.message
    assert seen == sorted(seen)


def test_whoever_waits_for_a_night_that_ends_without_being_done_is_told(up: Running) -> None:
    with pytest.raises(ProcessFailed, match="2022-06-05 ended NotASession: 2022-06-05 is no session"):
        after_close(up.settings, date(2022, 6, 5), lambda: False, timeout=60)


def test_the_actor_was_answered_by_the_service(up: Running) -> None:
    with bootstrap.ledger(up.settings).begin(write=False) as unit:
        assert [decision.source.value for decision in unit.decisions.all()] == ["model", "model"]


def test_the_service_answers_as_the_allocator_at_home(up: Running) -> None:
    settings, session = up.settings, date(2022, 5, 27)
    as_of = trading_calendar().trading_instant(session)
    view = market_view(bootstrap.history(settings, as_of, session), as_of, session)
    book = PortfolioSnapshot(
        "sim", as_of, Decimal("1000000.01"), {"KO": Decimal("12.345")}, {"KO": Decimal("63.1"), "XOM": Decimal(90)}
    )
    limits = bootstrap.rulebook(settings).limits
    with RemoteAllocator(settings.serve_url, bootstrap.token(settings), limits, timeout=10) as remote:
        assert remote.allocate(view, book) == bootstrap.allocator(settings.allocator, limits).allocate(view, book)


def test_the_service_wants_a_token_and_a_body_of_reasonable_size(up: Running) -> None:
    url, token = up.settings.serve_url, bootstrap.token(up.settings)
    question = {"cash": 1000, "holdings": {}, "prices": {}}
    authorised = {"Authorization": f"Bearer {token}"}
    assert httpx.post(f"{url}/v1/allocations", json=question).status_code == 401
    assert httpx.get(f"{url}/metrics").status_code == 401
    assert httpx.post(f"{url}/v1/allocations", json=question, headers=authorised).status_code == 200
    assert httpx.post(f"{url}/v1/allocations", content=b" " * 2_000_000, headers=authorised).status_code == 413
    answer, sent = raw(url, "Transfer-Encoding: chunked", endless(), token)
    assert answer.startswith(b"HTTP/1.1 413")
    assert sent < 512 * 1024 * 1024
    assert "ordinis_allocations_total" in httpx.get(f"{url}/metrics", headers=authorised).text


def test_prefect_and_ray_let_nobody_in_without_a_password(up: Running) -> None:
    settings = up.settings
    assert httpx.post(f"{settings.prefect_url}/deployments/filter", json={}).status_code == 401
    assert httpx.get(f"{settings.ray_dashboard_url}/api/version").status_code == 401
    for secret in ("token", "ray-token", "prefect-password"):
        assert (settings.home / secret).stat().st_mode & 0o777 == 0o600


def test_a_program_that_died_is_seen_and_started_again_and_the_others_are_left_alone(up: Running) -> None:
    before = {name: Processes(up.settings.home).pid(name) for name in SERVERS}
    os.kill(before["venue"] or 0, signal.SIGKILL)
    soon(lambda: not {each.name: each for each in stack.status(up.settings)}["venue"].running)
    stack.up(up.settings, only=["venue", "ray"])
    after = {name: Processes(up.settings.home).pid(name) for name in SERVERS}
    assert {name for name in SERVERS if before[name] != after[name]} == {"venue"}


def test_a_program_that_there_is_not(up: Running) -> None:
    with pytest.raises(ConfigurationError, match="kafka is not one of prefect, worker, ray"):
        stack.up(up.settings, only=["kafka"])


def test_down_leaves_no_process_behind(up: Running) -> None:
    stopped: list[str] = []
    before = [process for found in members(up).values() for process in found]
    assert len(before) > 15
    stack.down(up.settings, lambda name, what: stopped.append(name))
    assert stopped == [name for name in reversed(PROGRAMS) if name in stopped]
    assert set(stopped) >= set(SERVERS)
    assert not [process for process in before if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    home, left = str(up.settings.home), []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and (home in " ".join(process.cmdline()) or home in str(process.environ())):
                left.append(process)
        except psutil.Error:
            continue
    assert not left
    assert not ray_folder(up.settings).exists()
    assert not any(each.running for each in stack.status(up.settings))
