"""The flag of the kill switch: that it is there is what counts, whatever it says and whoever wrote it."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from ordinis import bootstrap
from ordinis.domain.limits import TradingState
from ordinis.execution.control import resume
from ordinis.execution.kill import kill
from ordinis.settings import Settings
from tests.execution.world import World


def lifted(world: World) -> list[tuple[bool, str]]:
    at = world.clock.now()
    steps = resume(world.flag, world.ledger, world.venue, lambda: "they agree", reason="fine", by="anna", at=at)
    return [(step.done, step.detail) for step in steps]


def test_on_a_disk_that_is_full_the_flag_stands_and_says_what_it_may_not_outlive(world: World) -> None:
    stop = partial(kill, world.flag, lambda: world.ledger, lambda: world.venue, reason="drill", by="anna")
    world.flag.symlink_to("/dev/full")
    steps = stop(at=world.clock.now())
    assert [step.done for step in steps] == [True] * 4
    assert steps[0].detail == f"{world.flag} is set, but may not outlive a power cut: No space left on device"
    world.flag.unlink()
    world.flag.symlink_to(world.flag.parent / "nowhere" / "flag")
    steps = stop(at=world.clock.now())
    assert [step.done for step in steps] == [False, True, True, True], "nothing stands there"
    assert "No such file" in steps[0].detail


def test_a_flag_that_a_person_wrote_by_hand_in_any_encoding_is_lifted(world: World) -> None:
    world.flag.write_bytes("Börse zu".encode("latin-1"))
    assert all(done for done, _ in lifted(world))
    assert not world.flag.exists()


def test_a_flag_that_cannot_be_read_is_named_and_stays(world: World) -> None:
    world.flag.mkdir()
    assert lifted(world) == [(False, f"{world.flag} cannot be read: Is a directory")]
    assert world.flag.exists()


def test_a_reason_in_another_encoding_is_no_reason_not_to_stop(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    ledger = bootstrap.ledger(settings)
    reason = "Börse zu".encode("latin-1")
    command = [sys.executable, "-m", "ordinis", "kill", "--reason", os.fsdecode(reason)]
    environment = os.environ | {"ORDINIS_HOME": str(tmp_path), "COLUMNS": "160", "PYTHONUTF8": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in done.stderr
    told = settings.kill_flag.read_text(encoding="utf-8")
    assert told.endswith(": B\\udcf6rse zu\n")
    with ledger.begin(write=False) as unit:
        row = unit.control.state()
    ledger.close()
    assert row is not None
    assert (row.state, row.reason) == (TradingState.KILLED, "B\\udcf6rse zu")


def test_nor_is_a_name_that_nobody_can_write(world: World) -> None:
    steps = kill(
        world.flag, lambda: world.ledger, lambda: world.venue, reason="drill", by="J\udcf6rg", at=world.clock.now()
    )
    assert steps[0].done
    assert world.flag.read_text(encoding="utf-8").endswith(" J\\udcf6rg: drill\n")
