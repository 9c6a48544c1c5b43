"""`ordinis kill` with nothing alive but the venue and an actor that is sending orders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ordinis.settings import Settings
from tests.execution.trading_floor import TradingFloor, until

ENOUGH, SESSIONS = 20, 5
SENDING = 'SELECT seq FROM order_event WHERE payload LIKE \'%"state":"SENDING"%\''


@pytest.mark.processes
def test_a_kill_with_everything_else_dead_stops_the_orders(tmp_path: Path) -> None:
    with TradingFloor(tmp_path / "home") as floor:
        until("orders are being sent", lambda: len(floor.accepted()) >= ENOUGH)
        killed = floor.kill()
        assert killed.status == 0, killed.said
        accepted, sent = floor.accepted(), floor.read("ledger.db", SENDING)
        valued = len(floor.read("ledger.db", "SELECT 1 FROM valuation"))
        # The actor lives on and closes its sessions, so nothing but the kill keeps it from sending.
        until("sessions close", lambda: len(floor.read("ledger.db", "SELECT 1 FROM valuation")) >= valued + SESSIONS)
        assert floor.actor.poll() is None

        assert killed.started < killed.flag_seen < killed.ended
        # One thread sends: at most the one order passes that was on its way when the flag went up.
        assert sum(at > killed.flag_seen for at in floor.accepted()) <= 1
        assert floor.accepted() == accepted
        assert floor.read("ledger.db", SENDING) == sent
        names = {name for (name,) in floor.read("venue.db", "SELECT client_order_id FROM orders")}
        intended = floor.read("ledger.db", "SELECT coid FROM order_intent WHERE sent_at IS NOT NULL")
        assert names <= {name for (name,) in intended}
        assert floor.read("venue.db", "SELECT client_order_id FROM orders WHERE state IN ('WORKING', 'PARTIAL')") == []
        assert floor.read("venue.db", "SELECT suspended FROM account") == [(1,)]
        assert floor.read("ledger.db", "SELECT state, reason FROM control") == [("KILLED", "drill")]
        events = floor.read("ledger.db", "SELECT seq, payload FROM order_event ORDER BY seq")
        stopped = [seq for seq, payload in events if "G2" in str(json.loads(payload).get("reason", ""))]
        assert not stopped or not [seq for (seq,) in sent if seq > stopped[0]]


WATCH = """
import os
import sys
flag = sys.argv.pop()
def heard(event, arguments):
    if event == "open" and str(arguments[0]) == flag:
        loaded = {"numpy", "pandas", "sqlalchemy", "httpx"} & sys.modules.keys()
        print("when the flag was written:", sorted(loaded))
    elif event == "open" and str(arguments[0]) == os.path.dirname(flag):
        print("its folder was synced")
sys.addaudithook(heard)
from ordinis.cli import main
main()
"""


def test_nothing_that_takes_long_to_load_is_loaded_before_the_flag_is_written(tmp_path: Path) -> None:
    flag = Settings(home=tmp_path).kill_flag
    command = [sys.executable, "-c", WATCH, "kill", "--reason", "a test", str(flag)]
    done = subprocess.run(command, env=os.environ | {"ORDINIS_HOME": str(tmp_path)}, capture_output=True, text=True)
    told = ["when the flag was written: []", "its folder was synced"]
    assert done.stdout.splitlines()[:2] == told, done.stdout + done.stderr
    assert "a test" in flag.read_text(encoding="utf-8")
