"""Programs that outlive whoever started them.

A program is started at the head of a session of its own, with its output in a log file and a record of its process
id and the instant at which it began. Ids are used again: a process is ours only when both agree. Stopping asks the
program first (SIGTERM), so that it can put its own children to rest, and then ends whatever is left of its session and
its descendants, SIGTERM again and at last SIGKILL. Children that left the session are recognised by a mark that they
inherited in their environment.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ordinis.errors import ProcessFailed

logger = logging.getLogger(__name__)

MARK = "ORDINIS_PROGRAM"
"""Variable that every process of a program inherits: home and name of the program."""
SAME_START = 1.0
"""Seconds by which two readings of one process's start may differ."""
TAIL = 2_000


@dataclass(frozen=True)
class Program:
    """What to run, and what it may know: it inherits no variable that is not named here."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    directory: Path


class Processes:
    """The programs that were started from one home folder."""

    def __init__(self, home: Path) -> None:
        self._home = home.absolute()
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def log(self, name: str) -> Path:
        return self._home / "logs" / f"{name}.log"

    def start(self, program: Program) -> int:
        """Start `program` unless it runs already; returns its process id."""
        running = self.pid(program.name)
        return self._spawn(program).pid if running is None else running

    def run(self, program: Program, timeout: float) -> None:
        """Run a program to its end.

        Raises:
            ProcessFailed: it failed, or did not end within `timeout` seconds.
        """
        try:
            status = self._spawn(program).wait(timeout)
        except subprocess.TimeoutExpired:
            problem = f"it did not end within {timeout:g} s"
        else:
            problem = f"exit status {status}: {self.last_words(program.name)}" if status else ""
        self.stop(program.name)
        if problem:
            raise ProcessFailed(program.name, problem, str(self.log(program.name)))

    def pid(self, name: str) -> int | None:
        """The process id of a program that runs; None when it does not, whoever else has its id by now."""
        leader = self._leader(name)
        return None if leader is None else leader.pid

    def age(self, name: str) -> float:
        """Seconds since a program that runs was started; 0 when it does not."""
        leader = self._leader(name)
        return 0.0 if leader is None else max(0.0, time.time() - float(leader.create_time()))

    def stop(self, name: str, grace: float = 15.0) -> bool:
        """End a program and everything that it started; True when there was anything to end."""
        leader, left = self._leader(name), self.members(name)
        found = bool(left)
        if leader is not None and left:
            with suppress(psutil.NoSuchProcess):
                leader.terminate()
            _wait([leader], grace)
        for number, patience in ((signal.SIGTERM, grace / 3), (signal.SIGKILL, grace)):
            # Looked for again each time: what is being ended may still be starting others.
            left = [process for process in {*left, *self.members(name)} if _alive(process)]
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            _wait(left, patience)
        self._record(name).unlink(missing_ok=True)
        if name in self._children:
            self._children.pop(name).poll()
        if found:
            logger.info("stopped program=%s", name)
        return found

    def members(self, name: str) -> list[psutil.Process]:
        """Every living process of a program: its leader's session, whoever bears its mark, and their descendants."""
        leader = self._leader(name)
        found: set[psutil.Process] = set()
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                in_session = leader is not None and os.getsid(process.pid) == leader.pid
                if in_session or process.environ().get(MARK) == self._mark(name):
                    found |= {process, *process.children(recursive=True)}
        return [process for process in found if _alive(process)]

    def names(self) -> list[str]:
        """Programs that were started and not stopped."""
        return sorted(path.stem for path in (self._home / "run").glob("*.json"))

    def last_words(self, name: str) -> str:
        """The last line of a program's log, for messages."""
        try:
            with self.log(name).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
                lines = file.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:300]

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        log, record = self.log(program.name), self._record(program.name)
        for path in (log, record):
            path.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                program.command,
                cwd=program.directory,
                env={**program.environment, MARK: self._mark(program.name)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # Kept, because a process that ends stays a zombie until its parent, if that is still us, has looked.
        self._children[program.name] = process
        with suppress(psutil.NoSuchProcess):
            created = psutil.Process(process.pid).create_time()
            record.write_text(json.dumps({"pid": process.pid, "created": created, "command": program.command}))
        logger.info("started program=%s pid=%d log=%s", program.name, process.pid, log)
        return process

    def _leader(self, name: str) -> psutil.Process | None:
        """The process of the record, if it is still the one that was recorded."""
        if name in self._children:
            self._children[name].poll()
        try:
            record = json.loads(self._record(name).read_text())
            process = psutil.Process(record["pid"])
            same = abs(process.create_time() - record["created"]) < SAME_START
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None
        return process if same and _alive(process) else None

    def _record(self, name: str) -> Path:
        return self._home / "run" / f"{name}.json"

    def _mark(self, name: str) -> str:
        return f"{self._home}:{name}"


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _wait(processes: Sequence[psutil.Process], seconds: float) -> None:
    """Until none of `processes` lives, or `seconds` are over. A zombie that its parent never buries does not count."""
    deadline = time.monotonic() + seconds
    while any(map(_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.02)
