"""What is done for which session is written in our own table; the orchestrator only says when to try.

A job is done once for each session. It may be started any number of times, by a schedule, an event or a person, by two
at once, and after a crash; every run that finds nothing to do ends in a state that says why:

    NotASession   NotClosed   AlreadyDone   and what a job says of itself, such as NotValued
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import date

from prefect import task
from prefect.client.schemas.objects import State
from prefect.states import Completed

from ordinis import bootstrap
from ordinis.clock import SystemClock, trading_calendar
from ordinis.monitoring.wording import plural
from ordinis.persistence.jobs import JobStatus
from ordinis.settings import load
from tasks.artefacts import Progress
from tasks.cluster import connected


class NothingToDo(Exception):
    """There is nothing to do for this session yet; `name` is the state in which the run ends."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(reason)


def once(job: str, session: date | None, work: Callable[[date], str], *, again: bool = False) -> State:
    """Do `work` for `session`, or for the last session that closed, unless it is done and not wanted `again`.

    Args:
        work: does the job and tells in a line what it did; it may raise NothingToDo.
    """
    try:
        day = closed_session(session)
    except NothingToDo as nothing:
        return Completed(name=nothing.name, message=nothing.reason)
    jobs, clock = bootstrap.jobs(load()), SystemClock()
    with jobs.alone(job):
        if not jobs.start(job, day, clock.now(), again=again):
            return Completed(name="AlreadyDone", message=f"{job} is done for {day}")
        try:
            told = work(day)
        except NothingToDo as nothing:
            jobs.finish(job, day, clock.now(), JobStatus.FAILED, nothing.reason)
            return Completed(name=nothing.name, message=nothing.reason)
        except BaseException as error:
            # Whatever ended it, a cancellation too: the next run begins anew, and whoever waits is told.
            jobs.finish(job, day, clock.now(), JobStatus.FAILED, f"{type(error).__name__}: {error}"[:500])
            raise
        jobs.finish(job, day, clock.now(), JobStatus.DONE, told)
    return Completed(message=f"{day}: {told}")


def each_session(job: str, first: date, last: date, work: Callable[[date], str], *, again: bool = False) -> State:
    """Do `work` for each session from `first` to `last` unless it is done, and show how far it is.

    The run may be ended and begun again at any moment: what is done stays done.
    """
    sessions = trading_calendar().between(first, last)
    if not sessions:
        return Completed(name="NotASession", message=f"there is no session from {first} to {last}")
    shown, ended = (
        Progress(f"{job} of {plural(len(sessions), 'session')}, {sessions[0]} to {sessions[-1]}"),
        Counter[str](),
    )
    with connected(load()):
        for number, session in enumerate(sessions, start=1):
            ended[str(once(job, session, work, again=again).name)] += 1
            shown.move(number / len(sessions))
    told = ", ".join(f"{count} {name}" for name, count in sorted(ended.items()))
    return Completed(message=f"{job} from {sessions[0]} to {sessions[-1]}: {told}")


@task
def ask_calendar(session: date | None) -> tuple[date, str]:
    """The session that is meant, and the name of the state to end in when there is nothing to do for it."""
    calendar, now, settings = trading_calendar(), SystemClock().now(), load()
    if session is None:
        closed = calendar.last_closed(now)
        # The sample market ended long ago; its last session is as late as it gets.
        return (min(closed, settings.replay_last) if settings.source == "sample" else closed), ""
    if not calendar.is_session(session):
        return session, "NotASession"
    return session, "NotClosed" if calendar.closes(session) > now else ""


def closed_session(session: date | None) -> date:
    day, nothing = ask_calendar(session)
    if nothing:
        raise NothingToDo(nothing, f"{day} is no session" if nothing == "NotASession" else f"{day} has not closed yet")
    return day
