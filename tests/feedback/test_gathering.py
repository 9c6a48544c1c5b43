"""Every order's end is heard of once, whatever happened when: on the real ledger and both kinds of records."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import pytest

from ordinis.domain.executions import Execution
from ordinis.domain.orders import Side
from ordinis.errors import StoreUnavailable
from ordinis.feedback.gathering import gather
from ordinis.persistence.engine import connect
from ordinis.persistence.feedback_records import CalibrationRecord, FeedbackRecords
from ordinis.persistence.schema import upgrade
from ordinis.persistence.unit_of_work import SqlLedger
from tests.monitoring.book import CALENDAR, SESSIONS, BookWriter, order_id

D = Decimal
FIRST, SECOND, THIRD = SESSIONS[:3]
LAST = date.max


@pytest.fixture
def records(database_url: str) -> Iterator[FeedbackRecords]:
    engine = connect(database_url)
    upgrade(engine, "records")
    yield FeedbackRecords(engine)
    engine.dispose()


@pytest.fixture
def book() -> BookWriter:
    book = BookWriter()
    book.deposit(FIRST, "10000")
    return book


def listen(book: BookWriter, records: FeedbackRecords) -> int:
    return gather(book.ledger, records, "venue", CALENDAR)


def test_what_became_of_each_order_is_kept_and_read_back_as_it_was(book: BookWriter, records: FeedbackRecords) -> None:
    decision = book.decide(FIRST, {}, [("AAPL", Side.BUY, "80", "60"), ("KO", Side.BUY, "50", "50")])
    book.fill(decision, "AAPL", "60.06", "0.50")
    assert listen(book, records) == 1, "KO was not sent"
    at = CALENDAR.trading_instant(FIRST)
    assert records.executions("sim", FIRST) == [
        Execution(
            order_id(decision, "AAPL"),
            "AAPL",
            Side.BUY,
            "venue",
            FIRST,
            D(80),
            D(80),
            D(60),
            D("60.06"),
            D("0.5"),
            at,
            at,
        )
    ]
    assert records.executions("other", FIRST) == []
    book.fill(decision, "KO", "49.99", "0.25")
    assert listen(book, records) == 1
    assert [row.symbol for row in records.executions("sim", FIRST)] == sorted(
        ["AAPL", "KO"], key=lambda symbol: order_id(decision, symbol)
    )
    assert listen(book, records) == 0


def test_what_is_told_or_taken_back_later_corrects_what_was_kept(book: BookWriter, records: FeedbackRecords) -> None:
    decision = book.decide(FIRST, {}, [("AAPL", Side.BUY, "80", "60")])
    booked = book.fill(decision, "AAPL", "60.06", "0.50")
    listen(book, records)
    other = book.decide(SECOND, {}, [("KO", Side.BUY, "10", "50")])
    book.fill(other, "KO", "50.00", "0.05")
    book.fill(decision, "AAPL", "60.06", "-0.50", reverses=booked)
    assert listen(book, records) == 2
    [apple, coke] = records.executions("sim", SECOND)
    assert (apple.symbol, apple.filled, apple.price, apple.fees) == ("AAPL", D(0), None, D(0))
    assert (coke.symbol, coke.filled) == ("KO", D(10))
    assert records.executions("sim", FIRST) == [apple], "it stays in the session in which it was sent"
    assert records.executions("sim", SECOND, SECOND) == [coke]


class Interrupted:
    """Records of a process that is killed before they are written, or that another one overtakes."""

    def __init__(self, records: FeedbackRecords, book: BookWriter | None = None) -> None:
        self._records, self._book = records, book

    def read_through(self, account: str) -> tuple[int, str]:
        return self._records.read_through(account)

    def keep_executions(
        self, account: str, rows: list[Execution], *, after: int, place: int, mark: str, anew: bool
    ) -> bool:
        if self._book is None:
            raise StoreUnavailable("records", "killed")
        book, self._book = self._book, None
        assert gather(book.ledger, self._records, "venue", CALENDAR) == len(rows)
        self.overtaken = not self._records.keep_executions(account, rows, after=after, place=place, mark=mark)
        self._book = book
        return not self.overtaken or self._records.keep_executions(account, [], after=place, place=place, mark=mark)


def test_a_process_that_is_killed_between_reading_and_writing_loses_nothing(
    book: BookWriter, records: FeedbackRecords
) -> None:
    decision = book.decide(FIRST, {}, [("AAPL", Side.BUY, "80", "60")])
    book.fill(decision, "AAPL", "60.06", "0.50")
    with pytest.raises(StoreUnavailable):
        gather(book.ledger, Interrupted(records), "venue", CALENDAR)
    assert records.executions("sim", LAST) == []
    assert listen(book, records) == 1
    assert len(records.executions("sim", LAST)) == 1


def test_of_two_that_listen_at_once_one_writes(book: BookWriter, records: FeedbackRecords) -> None:
    decision = book.decide(FIRST, {}, [("AAPL", Side.BUY, "80", "60")])
    book.fill(decision, "AAPL", "60.06", "0.50")
    slow = Interrupted(records, book)
    gather(book.ledger, slow, "venue", CALENDAR)
    assert slow.overtaken
    assert len(records.executions("sim", LAST)) == 1


@pytest.mark.parametrize("sessions", [1, 5], ids=["shorter", "longer"])
def test_another_ledger_is_read_from_its_beginning(book: BookWriter, records: FeedbackRecords, sessions: int) -> None:
    """The one before was lost, and a backup or a new one lies in its place."""
    for session in SESSIONS[:2]:
        lost = book.decide(session, {}, [("AAPL", Side.BUY, "80", "60")])
        book.fill(lost, "AAPL", "60.06", "0.50")
    assert listen(book, records) == 2
    other = BookWriter()
    other.deposit(FIRST, "10000")
    for session in SESSIONS[:sessions]:
        other.fill(other.decide(session, {}, [("KO", Side.BUY, "10", "50")]), "KO", "50.01", "0.05")
    assert listen(other, records) == sessions
    assert [row.symbol for row in records.executions("sim", LAST)] == ["KO"] * sessions
    assert listen(other, records) == 0


def test_accounts_of_one_ledger_are_kept_apart(database_url: str, records: FeedbackRecords, book: BookWriter) -> None:
    decision = book.decide(FIRST, {}, [("AAPL", Side.BUY, "80", "60")])
    book.fill(decision, "AAPL", "60.06", "0.50")
    other = SqlLedger(database_url, "other")
    assert gather(other, records, "venue", CALENDAR) == 0
    assert listen(book, records) == 1
    other.close()


class TestCalibrations:
    def test_the_newest_that_was_promoted_is_in_force(self, records: FeedbackRecords) -> None:
        made = [
            CalibrationRecord(session, f"v{number}", promoted, "because", "{}")
            for number, (session, promoted) in enumerate([(FIRST, True), (SECOND, False), (THIRD, True)])
        ]
        assert records.in_force("sim") is None
        for record in made:
            records.keep_calibration("sim", record)
        assert records.calibrations("sim") == made
        assert records.calibrations("other") == []
        assert records.in_force("sim") == made[2]
        assert records.in_force("sim", THIRD) == made[0], "what a night made is in force from the next one on"
        assert records.in_force("sim", FIRST) is None
        assert records.in_force("other") is None
        assert records.calibration("sim", SECOND) == made[1]
        assert records.calibration("sim", SESSIONS[3]) is None

    def test_a_night_done_again_replaces_its_own(self, records: FeedbackRecords) -> None:
        records.keep_calibration("sim", CalibrationRecord(FIRST, "v0", True, "because", "{}"))
        again = CalibrationRecord(FIRST, "v1", False, "no", "{}")
        records.keep_calibration("sim", again)
        assert records.calibrations("sim") == [again]
