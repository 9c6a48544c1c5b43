"""`ordinis kill` with nothing alive but the venue and an actor that is sending orders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
