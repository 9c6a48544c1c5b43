"""Flows as they read: what they end in, and what stands in the records afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from prefect.client.schemas.objects import State
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    temporary_settings,
)

from flows.attribution import attribution
from flows.backfill import backfill
from flows.calibration import calibration
from flows.ingest import ingest
from flows.nightly import nightly
from flows.report import report
from ordinis import bootstrap
from ordinis.clock import trading_calendar
from ordinis.data.bar_store import BarStore
from ordinis.errors import DataUnavailable
from ordinis.operations.environments import token
from ordinis.persistence.jobs import Jobs, JobStatus
from ordinis.settings import load
from tasks.after_close import book_is_valued
from tasks.bars import fetch_bars
from tasks.jobs import NothingToDo, ask_calendar, once
from tests.operations.running import LAST, PROJECT, Running, artefacts

SUNDAY, HOLIDAY, SESSION = date(2022, 6, 5), date(2022, 5, 30), date(2022, 6, 1)
FLOWS = {
    "ingest": ingest,
    "calibration": calibration,
    "attribution": attribution,
    "report": report,
    "nightly": nightly,
    "backfill": backfill,
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings as a flow run finds them: in the environment."""
    monkeypatch.setenv("ORDINIS_HOME", str(tmp_path))
    monkeypatch.setenv("ORDINIS_PROJECT", str(PROJECT))
    return tmp_path


@pytest.fixture
def jobs(home: Path) -> Jobs:
    return bootstrap.jobs(load())


@pytest.fixture
def prefect(up: Running, home: Path) -> Iterator[None]:
    """The running server, for flows that run in this process."""
    talk = {
        PREFECT_API_URL: up.settings.prefect_url,
        PREFECT_API_AUTH_STRING: token(up.settings.prefect_password_path),
        PREFECT_HOME: home / "prefect",
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False,
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    with temporary_settings(talk):
        yield


def status(jobs: Jobs, job: str) -> list[tuple[date, JobStatus]]:
    return [(run.logical_date, run.status) for run in jobs.runs(job)]


class TestBodies:
    """Task bodies as plain functions."""

    def test_one_session_s_bars_come_once(self, home: Path) -> None:
        assert fetch_bars.fn(SESSION) == "26 bars, 26 new, 0 in quarantine"
        assert fetch_bars.fn(SESSION) == "26 bars, 0 new, 0 in quarantine"

    def test_a_session_that_the_source_does_not_have(self, home: Path) -> None:
        with pytest.raises(DataUnavailable):
            fetch_bars.fn(date(2023, 6, 1))

    def test_a_book_that_never_was_is_not_valued(self, home: Path) -> None:
        assert not book_is_valued.fn(SESSION)

    @pytest.mark.parametrize(
        ("asked", "answered"),
        [
            (SESSION, (SESSION, "")),
            (SUNDAY, (SUNDAY, "NotASession")),
            (HOLIDAY, (HOLIDAY, "NotASession")),
            (date(2027, 6, 1), (date(2027, 6, 1), "NotClosed")),
            (None, (date(2022, 12, 28), "")),
        ],
    )
    def test_the_calendar_is_asked_first(self, home: Path, asked: date | None, answered: tuple[date, str]) -> None:
        assert ask_calendar.fn(asked) == answered

    @pytest.mark.processes
    def test_without_a_cluster_the_numbers_are_crunched_on_a_small_ray_of_our_own(self, home: Path) -> None:
        code = (
            "import os; from ordinis.settings import load; from tasks.cluster import on_ray; here = os.getpid(); "
            "settings = load().model_copy(update={'ray_port': 1}); "
            "print(on_ray(settings, lambda number: (number + 1, os.getpid() != here), 41)); "
            "import ray; print(ray.is_initialized())"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.split("\n")[:2] == ["(42, True)", "False"]


@pytest.mark.processes
@pytest.mark.usefixtures("prefect")
class TestFlows:
    @pytest.mark.parametrize(
        ("name", "day", "ends"),
        [
            ("ingest", SUNDAY, "NotASession"),
            ("calibration", HOLIDAY, "NotASession"),
            ("attribution", HOLIDAY, "NotASession"),
            ("report", date(2027, 6, 1), "NotClosed"),
            ("nightly", SUNDAY, "NotASession"),
        ],
    )
    def test_on_a_day_without_a_close_there_is_nothing_to_do(self, jobs: Jobs, name: str, day: date, ends: str) -> None:
        state: State = FLOWS[name](day, return_state=True)
        assert (state.name, state.is_completed()) == (ends, True)
        assert status(jobs, name) == []

    def test_ingest_is_done_once_for_a_session(self, jobs: Jobs) -> None:
        first: State = ingest(SESSION, return_state=True)
        assert (first.name, first.message) == ("Completed", "2022-06-01: 26 bars, 26 new, 0 in quarantine")
        assert status(jobs, "ingest") == [(SESSION, JobStatus.DONE)]
        assert ingest(SESSION, return_state=True).name == "AlreadyDone"
        again: State = ingest(SESSION, again=True, return_state=True)
        assert again.message == "2022-06-01: 26 bars, 0 new, 0 in quarantine"
        assert status(jobs, "ingest") == [(SESSION, JobStatus.DONE)]

    def test_without_a_session_it_is_the_last_that_the_source_has(self, jobs: Jobs) -> None:
        assert ingest(return_state=True).message.startswith("2022-12-28: 26 bars")
        assert jobs.done("ingest", date(2022, 12, 28))

    @pytest.mark.parametrize("name", ["calibration", "attribution", "report"])
    def test_a_book_without_a_value_has_nothing_to_find_out_or_report_yet(self, jobs: Jobs, name: str) -> None:
        state: State = FLOWS[name](SESSION, return_state=True)
        assert (state.name, state.is_completed()) == ("NotValued", True)
        assert status(jobs, name) == [(SESSION, JobStatus.FAILED)]

    def test_a_backfill_does_each_session_that_is_not_done(self, jobs: Jobs) -> None:
        ingest(SESSION)
        state: State = backfill("ingest", date(2022, 5, 28), SESSION, return_state=True)
        assert state.message == "ingest from 2022-05-31 to 2022-06-01: 1 AlreadyDone, 1 Completed"
        assert status(jobs, "ingest") == [(SESSION, JobStatus.DONE), (date(2022, 5, 31), JobStatus.DONE)]
        again: State = backfill("ingest", date(2022, 5, 31), SESSION, return_state=True)
        assert again.message == "ingest from 2022-05-31 to 2022-06-01: 2 AlreadyDone"
        wanted: State = backfill("ingest", date(2022, 5, 31), SESSION, again=True, return_state=True)
        assert wanted.message == "ingest from 2022-05-31 to 2022-06-01: 2 Completed"
        assert backfill("attribution", SUNDAY, SUNDAY, return_state=True).name == "NotASession"
        unvalued: State = backfill("attribution", SESSION, SESSION, return_state=True)
        assert unvalued.message == "attribution from 2022-06-01 to 2022-06-01: 1 NotValued"

    def test_a_night_in_which_a_step_had_nothing_to_do_is_unfinished(self, jobs: Jobs) -> None:
        state: State = nightly(SESSION, return_state=True)
        assert state.name == "Unfinished"
        assert "calibration ended NotValued" in str(state.message)
        assert jobs.done("ingest", SESSION)
        assert status(jobs, "nightly") == [(SESSION, JobStatus.FAILED)]

    def test_what_fails_is_recorded_and_begins_anew(self, jobs: Jobs) -> None:
        def broken(_session: date) -> str:
            raise ZeroDivisionError("by zero")

        with pytest.raises(ZeroDivisionError):
            once("job", SESSION, broken)
        assert [(run.status, run.detail) for run in jobs.runs("job")] == [
            (JobStatus.FAILED, "ZeroDivisionError: by zero")
        ]
        assert once("job", SESSION, lambda session: "well").message == "2022-06-01: well"
        assert once("job", SESSION, broken).name == "AlreadyDone"

    def test_a_job_may_say_that_there_is_nothing_to_do_yet(self, jobs: Jobs) -> None:
        def early(_session: date) -> str:
            raise NothingToDo("TooEarly", "come back")

        assert once("job", SESSION, early).name == "TooEarly"
        assert once("job", SESSION, lambda session: "now").name == "Completed"


class TestDeployments:
    """prefect.yaml, read."""

    @pytest.fixture
    def deployments(self) -> dict[str, dict[str, object]]:
        content = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))
        return {each["name"]: each for each in content["deployments"]}

    def test_each_flow_has_one_under_its_own_name(self, deployments: dict[str, dict[str, object]]) -> None:
        assert {name: each["entrypoint"] for name, each in deployments.items()} == {
            name: f"flows/{name}.py:{name}" for name in FLOWS
        }
        assert all(flow.name == name for name, flow in FLOWS.items())

    def test_each_runs_one_at_a_time_and_lets_the_next_wait(self, deployments: dict[str, dict[str, object]]) -> None:
        for each in deployments.values():
            assert each["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


@pytest.mark.processes
class TestKilled:
    """A night's step in a process of its own, killed with no word at one moment or another, and begun again."""

    CODE = (
        "import sys; from datetime import date; from flows.{step} import {step}; "
        "{step}(date.fromisoformat(sys.argv[1]), again=bool(sys.argv[2:]))"
    )

    @staticmethod
    def begin(up: Running, home: Path, step: str, *arguments: str, **settings: str) -> subprocess.Popen[bytes]:
        talk = {
            "PREFECT_API_URL": up.settings.prefect_url,
            "PREFECT_API_AUTH_STRING": token(up.settings.prefect_password_path),
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            "ORDINIS_HOME": str(home),
            "ORDINIS_PROJECT": str(PROJECT),
            "ORDINIS_RAY_PORT": str(up.settings.ray_port),
            **settings,
        }
        command = [sys.executable, "-c", TestKilled.CODE.format(step=step), str(LAST), *arguments]
        with (home / f"{step}.log").open("ab") as told:
            return subprocess.Popen(
                command, cwd=PROJECT, env={**os.environ, **talk}, stdout=told, stderr=told, start_new_session=True
            )

    @staticmethod
    def kept(home: Path) -> dict[str, object]:
        """All that the steps keep, as it lies in the database."""
        with sqlite3.connect(f"file:{home / 'records.db'}?mode=ro", uri=True) as database:
            tables = ("finding", "execution", "consumed", "calibration")
            return {table: database.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall() for table in tables}

    @pytest.fixture
    def homes(self, up: Running, tmp_path: Path) -> tuple[Path, Path]:
        """Two homes with the ledger and the bars of the stack that runs, and nothing found out yet."""
        deadline = time.monotonic() + 240
        while not bootstrap.jobs(up.settings).done("nightly", LAST):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        made = (tmp_path / "killed", tmp_path / "whole")
        for home in made:
            home.mkdir()
            shutil.copytree(up.settings.lake_path, home / "lake")
            bootstrap.backup_ledger(up.settings, home / "ledger.db")
            for name in ("ray-token", "token"):
                shutil.copy(up.settings.home / name, home / name)
        return made

    def test_begun_again_it_keeps_the_same_bytes(self, up: Running, homes: tuple[Path, Path]) -> None:
        killed, whole = homes
        for step in ("calibration", "attribution"):
            # A start takes seconds before anything is read: the last of these moments lies in the work.
            for patience in (0.5, 2.5, 4.0, 5.5):
                child = self.begin(up, killed, step)
                with suppress(subprocess.TimeoutExpired):
                    child.wait(patience)
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            for home in homes:
                last = self.begin(up, home, step)
                assert last.wait(90) == 0, (home / f"{step}.log").read_text()[-2000:]
        assert self.kept(killed) == self.kept(whole)
        assert self.kept(whole)["finding"]
        assert self.kept(whole)["execution"]
        done = bootstrap.jobs(up.settings.model_copy(update={"home": killed}))
        assert all(done.done(step, LAST) for step in ("calibration", "attribution"))
        self.revise(whole)
        for step in ("calibration", "attribution"):
            assert self.begin(up, whole, step, "again").wait(90) == 0, (whole / f"{step}.log").read_text()[-2000:]
        assert self.kept(killed) == self.kept(whole), "what is known since changes no night that is done again"

    @staticmethod
    def revise(home: Path) -> None:
        """The closes of a month turn out to have been others."""
        store = BarStore(home / "lake", trading_calendar())
        bars = store.read(["AAPL", "KO"], LAST - timedelta(days=30), LAST).drop(columns=["source", "revision"])
        bars["close"] *= np.linspace(1.01, 1.05, len(bars))
        assert store.append(bars.assign(known_at=pd.Timestamp(datetime.now(UTC))), "mended", revision=True) == len(bars)

    def test_without_its_factors_a_night_is_degraded_and_warns(self, up: Running, homes: tuple[Path, Path]) -> None:
        home, _ = homes
        child = self.begin(up, home, "attribution", ORDINIS_FACTORS=str(home / "factors.csv"))
        assert child.wait(90) == 0, (home / "attribution.log").read_text()[-2000:]
        [run] = bootstrap.jobs(up.settings.model_copy(update={"home": home})).runs("attribution")
        assert run.status is JobStatus.DONE
        assert "1 remark: No factors: " in run.detail
        shown = artefacts(up)["attribution-warning"]
        assert shown.startswith("# Incomplete")
        assert "Risk is by plain covariance" in shown
