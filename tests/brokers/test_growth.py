"""What the venue is asked again and again is answered by an index, however many orders it has seen."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from ordinis.brokers.book import VenueBook
from tests.brokers.market import CALENDAR, TODAY


def test_no_question_to_the_venue_reads_its_whole_history(tmp_path: Path) -> None:
    asked: list[str] = []
    book, now = VenueBook(tmp_path / "venue.db", "sim"), CALENDAR.opens(TODAY)
    book._db.set_trace_callback(asked.append)
    since = now - timedelta(days=1)
    book.order("a")
    book.open_orders()
    book.closed_orders(since)
    book.fills(since)
    book.execution("a")
    book.movements(since)
    book.due(now)
    book.next_due()
    assert len(asked) == 8
    with closing(sqlite3.connect(tmp_path / "venue.db")) as other:
        steps = [row[3] for query in asked for row in other.execute(f"EXPLAIN QUERY PLAN {query}")]
    # Of the open orders there are few, and the partial index holds no others.
    assert [step for step in steps if "SCAN" in step] == ["SCAN orders USING INDEX open_orders"]
    assert not any("TEMP B-TREE" in step for step in steps)
