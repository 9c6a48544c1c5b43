"""Up, down, status: all programs at once.

Going up starts each program when the one before it answers. What runs already is left alone, unless it has had its time
and does not answer: a service whose cluster died under it hangs for ever. Going down is going up backwards: whoever
asks stops before whoever answers, and no process of ours is left.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from ordinis.errors import ConfigurationError, ProcessFailed
from ordinis.operations.environments import ray_folder
from ordinis.operations.processes import Processes
from ordinis.operations.programs import Part, parts
from ordinis.settings import Settings

START_SECONDS = 120.0
GROWN_UP = 45.0
"""Seconds after which a program that runs should be answering."""
SECOND_THOUGHTS = 5.0
"""Seconds for which it is asked again before it is ended: it may be busy."""
POLL_SECONDS = 0.2
Progress = Callable[[str, str], None]
"""Told the name of a program and what becomes of it."""


@dataclass(frozen=True)
class ProcessStatus:
    name: str
    pid: int | None
    running: bool
    ready: bool
    """Whether it says, asked over HTTP where it can be, that it can do its work."""
    url: str
    detail: str
    """What is missing, or where to look."""


def up(settings: Settings, only: Collection[str] | None = None, progress: Progress = lambda name, what: None) -> None:
    """Start what does not run yet: everything, or the programs named by `only`.

    Raises:
        ConfigurationError: there is no such program, or the project has no prefect.yaml.
        ProcessFailed: a program ended, or did not answer in time; its log is named.
    """
    stack = parts(settings)
    unknown = set(only or ()) - {part.name for part in stack}
    if unknown:
        names = ", ".join(part.name for part in stack)
        raise ConfigurationError("programs", f"{', '.join(sorted(unknown))} is not one of {names}")
    processes = Processes(settings.home)
    for part in stack:
        if only is None or part.name in only:
            _start(part, processes, progress)


def down(settings: Settings, progress: Progress = lambda name, what: None) -> None:
    """Stop everything that was started from this home, the last first."""
    processes = Processes(settings.home)
    order = [part.name for part in parts(settings)]
    forgotten = [name for name in processes.names() if name not in order]
    for name in reversed([*forgotten, *order]):
        if processes.stop(name):
            progress(name, "stopped")
    shutil.rmtree(ray_folder(settings), ignore_errors=True)


def status(settings: Settings) -> list[ProcessStatus]:
    """Every program of the stack: whether it runs, and what it says when it is asked."""
    processes = Processes(settings.home)
    return [_status(part, processes) for part in parts(settings)]


def _start(part: Part, processes: Processes, progress: Progress) -> None:
    if _hangs(part, processes):
        progress(part.name, "does not answer: stopping")
        processes.stop(part.name)
    if processes.pid(part.name) is None:
        progress(part.name, "starting")
        # What an earlier one left behind would hold its ports.
        processes.stop(part.name)
        if part.prepare is not None:
            part.prepare()
        processes.start(part.program)
    deadline = time.monotonic() + START_SECONDS
    while missing := part.answers():
        log = str(processes.log(part.name))
        if processes.pid(part.name) is None:
            raise ProcessFailed(part.name, f"it ended: {processes.last_words(part.name)}", log)
        if time.monotonic() > deadline:
            raise ProcessFailed(part.name, f"it does not answer after {START_SECONDS:g} s: {missing}", log)
        time.sleep(POLL_SECONDS)
    if part.settle is not None:
        progress(part.name, "settling")
        part.settle()
    progress(part.name, "up")


def _hangs(part: Part, processes: Processes) -> bool:
    if processes.age(part.name) < GROWN_UP:
        return False
    deadline = time.monotonic() + SECOND_THOUGHTS
    while part.answers():
        if time.monotonic() > deadline:
            return True
        time.sleep(POLL_SECONDS)
    return False


def _status(part: Part, processes: Processes) -> ProcessStatus:
    pid = processes.pid(part.name)
    if pid is not None:
        missing = part.answers() or (part.ready() if part.ready is not None else "")
        return ProcessStatus(part.name, pid, True, not missing, part.url, missing)
    ended = part.name in processes.names()
    detail = f"it ended: {processes.last_words(part.name)}" if ended else "not started"
    return ProcessStatus(part.name, None, False, False, part.url, detail)
