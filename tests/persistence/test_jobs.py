"""Which job is done for which date, on SQLite and on PostgreSQL, by several programs at once."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import MetaData, Table, insert

from ordinis.errors import NotFound
from ordinis.persistence.engine import connect
from ordinis.persistence.jobs import JobRun, Jobs, JobStatus
from ordinis.persistence.record_tables import record_metadata
from ordinis.persistence.schema import _config, upgrade

NOW = datetime(2020, 3, 16, 21, 0, 0, 123456, tzinfo=UTC)
MONDAY, TUESDAY = date(2020, 3, 16), date(2020, 3, 17)
WORKER = """
import sys, time
from datetime import UTC, date, datetime
from pathlib import Path
from ordinis.persistence.engine import connect
from ordinis.persistence.jobs import Jobs
url, seconds, done = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
jobs, day = Jobs(connect(url), "sim"), date(2020, 3, 16)
with jobs.alone("nightly"):
    print("begins", flush=True)
    if jobs.start("nightly", day, datetime.now(UTC)):
        time.sleep(seconds)
        with done.open("a") as file:
            file.write("done\\n")
        jobs.finish("nightly", day, datetime.now(UTC))
"""


@pytest.fixture
def jobs(database_url: str) -> Iterator[Jobs]:
    engine = connect(database_url)
    upgrade(engine, "records")
    yield Jobs(engine, "sim", of_market=("ingest",))
    engine.dispose()


def begin(url: str, seconds: float, done: Path) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WORKER, url, str(seconds), str(done)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_a_job_is_done_once_for_a_date(jobs: Jobs) -> None:
    assert not jobs.done("nightly", MONDAY)
    assert jobs.start("nightly", MONDAY, NOW)
    assert not jobs.done("nightly", MONDAY)
    jobs.finish("nightly", MONDAY, NOW + timedelta(minutes=1), detail="26 bars")
    assert jobs.done("nightly", MONDAY)
    assert not jobs.start("nightly", MONDAY, NOW + timedelta(hours=1))
    ended = JobRun("nightly", MONDAY, JobStatus.DONE, NOW, NOW + timedelta(minutes=1), "26 bars")
    assert jobs.runs("nightly") == [ended]
    assert jobs.start("nightly", MONDAY, NOW + timedelta(hours=2), again=True)
    assert jobs.runs("nightly") == [JobRun("nightly", MONDAY, JobStatus.RUNNING, NOW + timedelta(hours=2), None, "")]


@pytest.mark.parametrize("failed", [True, False])
def test_a_job_that_failed_or_was_killed_begins_again(jobs: Jobs, failed: bool) -> None:
    jobs.start("nightly", MONDAY, NOW)
    if failed:
        jobs.finish("nightly", MONDAY, NOW, JobStatus.FAILED, "no data")
    later = NOW + timedelta(hours=1)
    assert jobs.start("nightly", MONDAY, later)
    assert jobs.runs("nightly") == [JobRun("nightly", MONDAY, JobStatus.RUNNING, later, None, "")]


def test_jobs_and_dates_are_kept_apart_and_the_latest_date_comes_first(jobs: Jobs) -> None:
    for job, day in (("nightly", MONDAY), ("retrain", TUESDAY), ("nightly", TUESDAY)):
        jobs.start(job, day, NOW)
    jobs.finish("nightly", MONDAY, NOW)
    found = [(run.logical_date, run.status) for run in jobs.runs("nightly")]
    assert found == [(TUESDAY, JobStatus.RUNNING), (MONDAY, JobStatus.DONE)]
    assert not jobs.done("retrain", MONDAY)


def test_a_job_that_never_began_cannot_end(jobs: Jobs) -> None:
    with pytest.raises(NotFound, match="no job run 'nightly for 2020-03-16'; start it first"):
        jobs.finish("nightly", MONDAY, NOW)


def test_what_is_done_for_one_account_is_not_done_for_another(jobs: Jobs, database_url: str) -> None:
    engine = connect(database_url)
    other = Jobs(engine, "second", of_market=("ingest",))
    for job in ("ingest", "nightly"):
        jobs.start(job, MONDAY, NOW)
        jobs.finish(job, MONDAY, NOW)
    assert other.done("ingest", MONDAY), "bars are the market's"
    assert not other.done("nightly", MONDAY)
    with jobs.alone("nightly"), other.alone("nightly"):
        assert other.start("nightly", MONDAY, NOW)
    assert (len(jobs.runs("nightly")), len(other.runs("nightly"))) == (1, 1)
    engine.dispose()


def test_two_programs_at_once_do_the_work_once(jobs: Jobs, database_url: str, tmp_path: Path) -> None:
    done = tmp_path / "done"
    workers = [begin(database_url, 0.5, done) for _ in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    assert done.read_text() == "done\n"
    assert jobs.done("nightly", MONDAY)


def test_a_killed_program_keeps_nobody_waiting(jobs: Jobs, database_url: str, tmp_path: Path) -> None:
    hangs = begin(database_url, 600.0, tmp_path / "never")
    assert hangs.stdout is not None
    assert hangs.stdout.readline() == "begins\n"
    waits = begin(database_url, 0.0, tmp_path / "done")
    time.sleep(2.0)
    assert waits.poll() is None, "it waits for the living one"
    os.kill(hangs.pid, signal.SIGKILL)
    hangs.wait()
    assert waits.wait(60) == 0
    assert (tmp_path / "done").read_text() == "done\n"
    assert jobs.done("nightly", MONDAY)


def test_who_waits_says_so(jobs: Jobs, database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    busy = begin(database_url, 1.0, tmp_path / "done")
    assert busy.stdout is not None
    assert busy.stdout.readline() == "begins\n"
    with caplog.at_level(logging.WARNING), jobs.alone("nightly"):
        assert jobs.done("nightly", MONDAY)
    assert "nightly sim is being done by another program: waiting for it" in caplog.text
    assert busy.wait(60) == 0


def test_jobs_of_before_there_were_accounts_are_the_market_s_or_are_done_again(database_url: str) -> None:
    engine, config = connect(database_url), _config("records")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "records_0002")
        columns = (column._copy() for column in record_metadata.tables["job_run"].columns if column.name != "account")
        before = Table("job_run", MetaData(), *columns)
        for job in ("ingest", "nightly"):
            row = {"job": job, "logical_date": MONDAY, "status": "done", "started_at": NOW, "detail": "26 bars"}
            connection.execute(insert(before).values(row))
    upgrade(engine, "records")
    jobs = Jobs(engine, "sim", of_market=("ingest",))
    assert jobs.runs("ingest") == [JobRun("ingest", MONDAY, JobStatus.DONE, NOW, None, "26 bars")]
    assert jobs.runs("nightly") == []
    engine.dispose()
