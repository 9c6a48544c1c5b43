"""The live window: what comes late, twice or not at all, and what it then shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordinis.data.live_window import Irregularity, LiveWindow, Notice
from ordinis.data.sample import SampleSource
from ordinis.domain.market import Bar, SessionClosed
from ordinis.errors import DataUnavailable
from ordinis.ports import PriceHistory
from tests.data.batches import CALENDAR, SESSIONS

SYMBOLS = ("AAA", "BBB")
MON, TUE, WED, THU, FRI = SESSIONS


def bar(symbol: str, session: date, close: str | None = None, volume: str | None = None) -> Bar:
    told = Decimal(close) if close else Decimal(100 * (1 + SYMBOLS.index(symbol)) + session.day)
    return Bar(symbol, session, told, volume=None if volume is None else Decimal(volume))


def closed(session: date, *bars: Bar) -> SessionClosed:
    return SessionClosed(session, CALENDAR.closes(session), bars or tuple(bar(symbol, session) for symbol in SYMBOLS))


def a_window(long: int = 4) -> LiveWindow:
    return LiveWindow(SYMBOLS, CALENDAR, short=1, mid=2, long=long)


def kinds(notices: Sequence[Notice]) -> list[tuple[Irregularity, str, date]]:
    return [(notice.kind, notice.symbol, notice.session) for notice in notices]


def test_bars_in_time_raise_no_notice() -> None:
    window = a_window()
    assert [window.feed(closed(session)) for session in (MON, TUE)] == [(), ()]
    found = window.history()
    assert (found.symbols, found.sessions) == (SYMBOLS, (MON, TUE))
    assert found.closes.tolist() == [[102.0, 202.0], [103.0, 203.0]]
    assert found.volumes is None
    assert window.last_session == TUE
    assert not window.counts


def test_a_bar_that_does_not_come_is_missing_and_one_that_comes_later_is_late() -> None:
    window = a_window()
    assert kinds(window.feed(closed(MON, bar("AAA", MON)))) == [(Irregularity.MISSING, "BBB", MON)]
    assert np.isnan(window.history().closes[0, 1])
    late = window.feed(closed(TUE, bar("AAA", TUE), bar("BBB", TUE), bar("BBB", MON)))
    assert kinds(late) == [(Irregularity.LATE, "BBB", MON)]
    assert late[0].detail == "came with the close of 2020-03-03"
    assert window.history().closes.tolist() == [[102.0, 202.0], [103.0, 203.0]]


def test_a_bar_told_again_is_counted_and_harmless() -> None:
    window = a_window()
    window.feed(closed(MON))
    assert window.feed(closed(MON)) == ()
    assert window.feed(closed(TUE, *closed(TUE).bars, bar("AAA", TUE))) == ()
    assert window.counts == {Irregularity.REPEATED: 3}
    assert window.history().sessions == (MON, TUE)


def test_the_first_of_two_values_stays() -> None:
    window = a_window()
    (notice,) = window.feed(closed(MON, bar("AAA", MON), bar("AAA", MON, "99.5"), bar("BBB", MON)))
    assert (notice.kind, notice.detail) == (
        Irregularity.CONTRADICTED,
        "has close 102.0, volume nan; told 99.5, nan",
    )
    assert window.history().closes[0, 0] == 102.0


def test_another_volume_is_another_value() -> None:
    window = a_window()
    window.feed(closed(MON, bar("AAA", MON, volume="10"), bar("BBB", MON)))
    assert kinds(window.feed(closed(MON, bar("AAA", MON, volume="11")))) == [(Irregularity.CONTRADICTED, "AAA", MON)]
    volumes = window.history().volumes
    assert volumes is not None
    assert volumes[0, 0] == 10.0


def test_sessions_that_nobody_told_of_are_rows_of_nan() -> None:
    window = a_window()
    window.feed(closed(MON))
    notices = window.feed(closed(THU))
    assert kinds(notices) == [(Irregularity.MISSING, symbol, session) for session in (TUE, WED) for symbol in SYMBOLS]
    assert window.history().sessions == (MON, TUE, WED, THU)
    assert np.isnan(window.history().closes).any(axis=1).tolist() == [False, True, True, False]
    assert kinds(window.feed(closed(TUE))) == [(Irregularity.LATE, symbol, TUE) for symbol in SYMBOLS]
    assert window.last_session == THU
    assert window.counts == {Irregularity.MISSING: 4, Irregularity.LATE: 2}


def test_a_holiday_is_not_a_gap() -> None:
    window = a_window()
    window.feed(closed(date(2020, 4, 9)))
    assert window.feed(closed(date(2020, 4, 13))) == ()


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (bar("AAA", MON, "0"), Irregularity.UNUSABLE),
        (bar("AAA", MON, "-1"), Irregularity.UNUSABLE),
        (bar("AAA", MON, "NaN"), Irregularity.UNUSABLE),
        (bar("AAA", MON, "Infinity"), Irregularity.UNUSABLE),
        (bar("AAA", MON, "1", "-1"), Irregularity.UNUSABLE),
        (bar("AAA", TUE), Irregularity.PREMATURE),
        (bar("AAA", date(2020, 3, 1)), Irregularity.STRANGE),
        (bar("AAA", date(2020, 2, 28)), Irregularity.TOO_LATE),
        (Bar("ZZZ", MON, Decimal(1)), Irregularity.STRANGE),
    ],
)
def test_a_bar_that_cannot_be_placed_is_reported_and_its_symbol_stays_missing(told: Bar, kind: Irregularity) -> None:
    window = a_window()
    notices = window.feed(closed(MON, told, bar("BBB", MON)))
    assert [notice.kind for notice in notices] == [kind, Irregularity.MISSING]
    assert np.isnan(window.history().closes[0, 0])


def test_a_session_that_the_calendar_does_not_have_is_refused() -> None:
    sunday = date(2020, 3, 1)
    with pytest.raises(DataUnavailable, match="calendar XNYS has no session on 2020-03-01"):
        a_window().feed(SessionClosed(sunday, CALENDAR.closes(MON), ()))


def test_only_the_last_sessions_are_kept() -> None:
    window = a_window(long=3)
    sessions = CALENDAR.between(date(2020, 1, 2), date(2020, 3, 6))
    for session in sessions:
        window.feed(closed(session))
        kept = window.history()
        assert kept.sessions == tuple(s for s in sessions if s <= session)[-3:]
        assert kept.closes[:, 0].tolist() == [100.0 + s.day for s in kept.sessions]
    assert window.history(2).sessions == (THU, FRI)
    assert window.history(99).sessions == (WED, THU, FRI)
    assert kinds(window.feed(closed(TUE))) == [(Irregularity.TOO_LATE, symbol, TUE) for symbol in SYMBOLS]


def test_a_history_is_a_copy() -> None:
    window = a_window()
    window.feed(closed(MON))
    window.history().closes[0, 0] = -1.0
    assert window.history().closes[0, 0] == 102.0


def test_coverage_counts_what_is_missing_and_what_was_before_the_window() -> None:
    window = a_window(long=4)
    window.feed(closed(MON))
    window.feed(closed(TUE, bar("AAA", TUE)))
    assert {length: share.tolist() for length, share in window.coverage.items()} == {
        1: [1.0, 0.0],
        2: [1.0, 0.5],
        4: [0.5, 0.25],
    }
    assert a_window().coverage[4].tolist() == [0.0, 0.0]


def test_a_seeded_window_goes_on_where_the_store_ended() -> None:
    window = a_window(long=3)
    window.feed(closed(MON))
    stored = PriceHistory(
        symbols=("BBB", "ZZZ"),
        sessions=(date(2020, 2, 26), date(2020, 2, 27), date(2020, 2, 28), MON, WED),
        closes=np.arange(10.0).reshape(5, 2) + 1,
        volumes=np.arange(10.0).reshape(5, 2),
    )
    assert kinds(window.seed(stored)) == [(Irregularity.MISSING, symbol, TUE) for symbol in SYMBOLS]
    assert window.feed(closed(THU)) == ()
    found = window.history()
    assert found.sessions == (TUE, WED, THU)
    np.testing.assert_array_equal(found.closes, [[np.nan, np.nan], [np.nan, 9.0], [105.0, 205.0]])
    assert found.volumes is not None
    np.testing.assert_array_equal(found.volumes[:, 1], [np.nan, 8.0, np.nan])


def test_a_window_seeded_with_nothing_is_empty() -> None:
    window = a_window()
    assert window.seed(PriceHistory(SYMBOLS, (), np.empty((0, 2)))) == ()
    assert window.last_session is None
    assert window.history().closes.shape == (0, 2)


def test_windows_must_grow() -> None:
    with pytest.raises(ValueError, match="windows must grow: 21, 10, 756"):
        LiveWindow(SYMBOLS, CALENDAR, mid=10)


@given(data=st.data())
def test_the_order_in_which_bars_arrive_does_not_matter(data: st.DataObject) -> None:
    """Each bar comes with some close at or after its own, once or twice, in any order."""
    arrivals: dict[date, list[Bar]] = {session: [] for session in SESSIONS}
    for position, session in enumerate(SESSIONS):
        for symbol in SYMBOLS:
            for arrival in data.draw(st.lists(st.sampled_from(SESSIONS[position:]), min_size=1, max_size=2)):
                arrivals[arrival].append(bar(symbol, session))
    window = a_window(long=5)
    for session, bars in arrivals.items():
        window.feed(SessionClosed(session, CALENDAR.closes(session), tuple(data.draw(st.permutations(bars)))))
    expected = [[100.0 + session.day, 200.0 + session.day] for session in SESSIONS]
    assert window.history().closes.tolist() == expected
    assert window.counts[Irregularity.MISSING] == window.counts[Irregularity.LATE]
    assert window.counts[Irregularity.REPEATED] == sum(map(len, arrivals.values())) - 2 * len(SESSIONS)


def test_a_replayed_sample_is_the_sample() -> None:
    source = SampleSource()
    symbols = ("AAPL", "XOM")
    window = LiveWindow(symbols, CALENDAR)
    for event in source.stream(symbols, date(2016, 1, 4), date(2022, 12, 28)):
        if isinstance(event, SessionClosed):
            assert window.feed(event) == ()
    whole, found = source.prices(symbols), window.history()
    assert found.sessions == whole.sessions[-756:]
    np.testing.assert_array_equal(found.closes, whole.closes[-756:])
    assert {length: share.tolist() for length, share in window.coverage.items()} == {
        n: [1.0, 1.0] for n in (21, 63, 756)
    }
