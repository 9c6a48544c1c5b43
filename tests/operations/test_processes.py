"""Starting and stopping other programs: they outlive us, end with all their children, and are never mistaken."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ordinis.errors import ProcessFailed
from ordinis.operations.processes import MARK, Processes, Program

WAIT = "import time; time.sleep(60)"
FAMILY = (
    "import subprocess, sys, time; code = 'import time; time.sleep(60)'; "
    "near = subprocess.Popen([sys.executable, '-c', code]); "
    "far = subprocess.Popen([sys.executable, '-c', code], start_new_session=True); "
    "print(near.pid, far.pid, flush=True); "
)
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path / "home")
    yield processes
    for name in ("one", "two"):
        processes.stop(name, grace=2)


def python(code: str, tmp_path: Path, name: str = "one", **environment: str) -> Program:
    return Program(name, (sys.executable, "-c", code), {"PATH": os.environ["PATH"], **environment}, tmp_path)


def gone(*pids: int) -> bool:
    """Whether none of these lives; a zombie that nobody has buried yet does not."""
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


def environment(pid: int) -> dict[str, str]:
    """Of a program that has just begun: for an instant the kernel shows none."""
    for _ in range(200):
        if found := psutil.Process(pid).environ():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{pid} has no environment")


def said(processes: Processes, name: str = "one") -> str:
    """What the program has written, once it has."""
    for _ in range(200):
        if words := processes.last_words(name):
            return words
        time.sleep(0.02)
    raise AssertionError(f"{name} says nothing")


def test_a_program_runs_in_a_session_of_its_own_and_is_started_once(processes: Processes, tmp_path: Path) -> None:
    pid = processes.start(python(WAIT, tmp_path))
    assert os.getsid(pid) == pid != os.getsid(0)
    assert processes.start(python(WAIT, tmp_path)) == processes.pid("one") == pid
    assert processes.names() == ["one"]


def test_it_is_found_again_by_another_process(processes: Processes, tmp_path: Path) -> None:
    pid = processes.start(python(WAIT, tmp_path))
    assert Processes(tmp_path / "home").pid("one") == pid
    assert Processes(tmp_path / "elsewhere").pid("one") is None


def test_it_inherits_nothing_that_is_not_named(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_SECRET", "canary")
    pid = processes.start(python(WAIT, tmp_path, NAMED="yes"))
    assert environment(pid)["NAMED"] == "yes"
    assert "BROKER_SECRET" not in environment(pid)


def test_stopping_ends_children_and_those_who_left_the_session(processes: Processes, tmp_path: Path) -> None:
    leader = processes.start(python(FAMILY + "time.sleep(60)", tmp_path))
    near, far = (int(pid) for pid in said(processes).split())
    assert {member.pid for member in processes.members("one")} == {leader, near, far}
    assert processes.stop("one", grace=3)
    assert gone(leader, near, far)
    assert not processes.stop("one")


def test_stopping_ends_orphans_whose_leader_has_died(processes: Processes, tmp_path: Path) -> None:
    processes.start(python(FAMILY, tmp_path))
    near, far = (int(pid) for pid in said(processes).split())
    while processes.pid("one") is not None:
        time.sleep(0.02)
    assert processes.stop("one", grace=3)
    assert gone(near, far)


def test_a_program_that_ignores_being_asked_is_killed(processes: Processes, tmp_path: Path) -> None:
    pid = processes.start(python(STUBBORN, tmp_path))
    assert said(processes) == "deaf"
    assert processes.stop("one", grace=0.3)
    assert gone(pid)


def test_a_stranger_with_the_same_id_is_left_alone(processes: Processes, tmp_path: Path) -> None:
    stranger = Processes(tmp_path / "stranger")
    pid = stranger.start(python(WAIT, tmp_path))
    record = tmp_path / "home" / "run" / "one.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"pid": pid, "created": psutil.Process(pid).create_time() - 3600, "command": []}))
    assert processes.pid("one") is None
    assert not processes.stop("one")
    assert stranger.pid("one") == pid
    assert stranger.stop("one", grace=2)


def test_two_homes_do_not_know_each_other(processes: Processes, tmp_path: Path) -> None:
    other = Processes(tmp_path / "other")
    mine, theirs = processes.start(python(WAIT, tmp_path)), other.start(python(WAIT, tmp_path))
    assert processes.stop("one", grace=2)
    assert gone(mine)
    assert other.pid("one") == theirs
    other.stop("one", grace=2)


def test_a_one_off_program_that_fails_says_its_last_words(processes: Processes, tmp_path: Path) -> None:
    processes.run(python("print('fine')", tmp_path, "two"), timeout=10)
    with pytest.raises(ProcessFailed, match=r"exit status 3: no such pool.*two\.log"):
        processes.run(python("print('no such pool'); raise SystemExit(3)", tmp_path, "two"), timeout=10)
    with pytest.raises(ProcessFailed, match="did not end within"):
        processes.run(python(WAIT, tmp_path, "two"), timeout=0.2)
    assert processes.names() == []


def test_the_mark_names_home_and_program(processes: Processes, tmp_path: Path) -> None:
    pid = processes.start(python(WAIT, tmp_path))
    assert environment(pid)[MARK] == f"{tmp_path / 'home'}:one"
