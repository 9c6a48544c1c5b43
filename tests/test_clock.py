"""The exchange's days and the only sources of now."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordinis.clock import ReplayClock, SystemClock, trading_calendar
from ordinis.errors import DataUnavailable

CALENDAR = trading_calendar()


def test_the_calendar_begins_with_the_sample() -> None:
    assert CALENDAR.sessions[0] == date(1990, 1, 2)
    assert len(CALENDAR.between(date(1990, 1, 2), date(2022, 12, 28))) == 8313


def test_holidays_and_half_days_are_known() -> None:
    assert not CALENDAR.is_session(date(2021, 12, 24))  # Christmas, observed
    assert not CALENDAR.is_session(date(2001, 9, 12))
    assert CALENDAR.closes(date(2021, 11, 26)) == datetime(2021, 11, 26, 18, 0, tzinfo=UTC)  # half day
    assert CALENDAR.trading_instant(date(2021, 11, 26)) == datetime(2021, 11, 26, 17, 45, tzinfo=UTC)


def test_summer_time_moves_the_close_in_utc_and_not_in_new_york() -> None:
    assert CALENDAR.closes(date(2020, 3, 6)).hour == 21
    assert CALENDAR.closes(date(2020, 3, 9)).hour == 20


def test_an_order_given_after_the_close_trades_in_the_next_session() -> None:
    friday = CALENDAR.closes(date(2020, 3, 13))
    assert CALENDAR.session_of(friday) == date(2020, 3, 13)
    assert CALENDAR.session_of(friday + timedelta(seconds=1)) == date(2020, 3, 16)
    assert CALENDAR.last_closed(friday) == date(2020, 3, 13)
    assert CALENDAR.last_closed(friday - timedelta(seconds=1)) == date(2020, 3, 12)


@given(st.sampled_from(CALENDAR.sessions[1:-1]))
def test_next_and_previous_undo_each_other(session: date) -> None:
    assert CALENDAR.previous_session(CALENDAR.next_session(session)) == session
    assert CALENDAR.back(session, 1) == CALENDAR.previous_session(session)
    assert CALENDAR.is_open(CALENDAR.trading_instant(session))
    assert not CALENDAR.is_open(CALENDAR.closes(session) + timedelta(seconds=1))
    assert CALENDAR.opens(session) < CALENDAR.trading_instant(session) < CALENDAR.closes(session)


@pytest.mark.parametrize("day", [date(2020, 3, 14), date(1989, 12, 29)])
def test_a_day_without_a_session_is_named(day: date) -> None:
    with pytest.raises(DataUnavailable, match=str(day)):
        CALENDAR.closes(day)


def test_before_the_first_session_there_is_nothing() -> None:
    with pytest.raises(DataUnavailable, match="session before 1990-01-02"):
        CALENDAR.previous_session(date(1990, 1, 2))


def test_a_replayed_clock_stands_still_and_will_not_go_back() -> None:
    clock = ReplayClock(datetime(2020, 3, 16, tzinfo=UTC))
    assert clock.now() == clock.now()
    clock.advance(datetime(2020, 3, 17, tzinfo=UTC))
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(datetime(2020, 3, 16, tzinfo=UTC))


def test_naive_instants_are_refused() -> None:
    with pytest.raises(ValueError, match="naive"):
        ReplayClock(datetime(2020, 3, 16))  # noqa: DTZ001
    assert SystemClock().now().tzinfo is UTC
