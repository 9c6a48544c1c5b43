"""Which job is done for which date: a schedule that fires twice, or two programs at once, do the work once.

A job is of the market, as the ingest of bars is, or of one account. Whoever does one holds it alone, by a lock that
the operating system or the database takes from a dead process, and the next waits and then sees that it is done. A job
that failed or was killed begins anew.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path

from sqlalchemy import ColumnElement, Engine, bindparam, func, insert, select, update
from sqlalchemy.exc import OperationalError

from ordinis.errors import NotFound, StoreUnavailable
from ordinis.persistence.engine import shown, sqlite_file
from ordinis.persistence.record_database import RecordDatabase
from ordinis.persistence.record_tables import job_run

TRY_LOCK = select(func.pg_try_advisory_lock(func.hashtext(bindparam("role"))))
LOCK = select(func.pg_advisory_lock(func.hashtext(bindparam("role"))))

logger = logging.getLogger(__name__)


class JobStatus(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class JobRun:
    job: str
    logical_date: date
    """The session that the job is for, whenever it runs."""
    status: JobStatus
    started_at: datetime
    finished_at: datetime | None
    detail: str


class Jobs(RecordDatabase):
    """Those of one account, and those of the market.

    Args:
        of_market: names of the jobs that are done once for all accounts.
    """

    def __init__(self, engine: Engine, account: str, of_market: Collection[str] = ()) -> None:
        super().__init__(engine)
        self._account, self._of_market = account, frozenset(of_market)

    @contextmanager
    def alone(self, job: str) -> Iterator[None]:
        """Nobody else does `job` meanwhile; waits for whoever does, however long.

        Raises:
            StoreUnavailable: there is no lock to be had.
        """
        name = f"{job} {self._owner(job)}".strip()
        file = sqlite_file(self._engine)
        if self._engine.dialect.name == "postgresql":
            with _database_lock(self._engine, f"job {name}", name):
                yield
        elif file is not None:
            with _file_lock(file.with_name(f"{file.name}.{name.replace(' ', '-')}.lock"), name):
                yield
        else:
            yield

    def start(self, job: str, logical_date: date, at: datetime, *, again: bool = False) -> bool:
        """Note that a job begins; one that failed or was killed begins again, and one that is done with `again`.

        Returns:
            False when it is done already.
        """
        fresh = {"status": JobStatus.RUNNING, "started_at": at, "finished_at": None, "detail": ""}
        key = self._is(job, logical_date)
        with self._begin() as connection:
            found = connection.execute(select(job_run.c.status).where(key)).scalar()
            if found == JobStatus.DONE and not again:
                return False
            if found is None:
                row = {"job": job, "account": self._owner(job), "logical_date": logical_date, **fresh}
                connection.execute(insert(job_run).values(row))
            else:
                connection.execute(update(job_run).where(key).values(fresh))
        return True

    def finish(
        self, job: str, logical_date: date, at: datetime, status: JobStatus = JobStatus.DONE, detail: str = ""
    ) -> None:
        """Note how a job ended.

        Raises:
            NotFound: it was never started.
        """
        ended = update(job_run).where(self._is(job, logical_date))
        with self._begin() as connection:
            done = connection.execute(ended.values(status=status, finished_at=at, detail=detail))
            if done.rowcount == 0:
                raise NotFound("job run", f"{job} for {logical_date}", "start it first")

    def runs(self, job: str) -> Sequence[JobRun]:
        """The latest date first."""
        mine = (job_run.c.job == job) & (job_run.c.account == self._owner(job))
        return [
            JobRun(row.job, row.logical_date, JobStatus(row.status), row.started_at, row.finished_at, row.detail)
            for row in self._rows(select(job_run).where(mine).order_by(job_run.c.logical_date.desc()))
        ]

    def done(self, job: str, logical_date: date) -> bool:
        found = self._rows(select(job_run.c.status).where(self._is(job, logical_date)))
        return [row.status for row in found] == [JobStatus.DONE]

    def _owner(self, job: str) -> str:
        return "" if job in self._of_market else self._account

    def _is(self, job: str, logical_date: date) -> ColumnElement[bool]:
        mine = (job_run.c.job == job) & (job_run.c.account == self._owner(job))
        return mine & (job_run.c.logical_date == logical_date)


@contextmanager
def _file_lock(path: Path, name: str) -> Iterator[None]:
    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise StoreUnavailable(str(path), f"the job's lock cannot be opened: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            logger.warning("%s is being done by another program: waiting for it", name)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _database_lock(engine: Engine, role: str, name: str) -> Iterator[None]:
    try:
        connection = engine.execution_options(isolation_level="AUTOCOMMIT").connect()
    except OperationalError as error:
        raise StoreUnavailable(shown(engine), str(error.orig)) from error
    # Not from the pool, which would keep the session, and with it the lock, for others.
    connection.detach()
    with connection:
        try:
            if not connection.execute(TRY_LOCK, {"role": role}).scalar_one():
                logger.warning("%s is being done by another program: waiting for it", name)
                connection.execute(LOCK, {"role": role})
        except OperationalError as error:
            raise StoreUnavailable(shown(engine), str(error.orig)) from error
        yield
