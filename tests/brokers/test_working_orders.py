"""Orders that take their time at the venue: parts, remainders, halts, cancels, the end of the day, afterthoughts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from ordinis.brokers.book import VenueBook
from ordinis.brokers.simulated import Part, SimulatedBroker
from ordinis.brokers.tape import PriceTape
from ordinis.clock import ReplayClock
from ordinis.costs.models import ProportionalCost
from ordinis.domain.orders import Accepted, Known, OrderRequest, OrderState, Refused, Side
from tests.brokers.market import CALENDAR, SESSIONS, TODAY, history, instruments

EPOCH = datetime(1990, 1, 1, tzinfo=UTC)
NOON = CALENDAR.opens(TODAY) + timedelta(hours=2)
MINUTE = timedelta(minutes=1)
THIRDS = tuple(Part(Fraction(1, 3), MINUTE * n) for n in (1, 2, 3))


def a_venue(
    clock: ReplayClock,
    parts: Sequence[Part] = THIRDS,
    halted_until: Callable[[str, datetime], datetime | None] = lambda symbol, at: None,
    book: Path | str = ":memory:",
) -> SimulatedBroker:
    venue = SimulatedBroker(
        VenueBook(book, "sim"), PriceTape(history()), instruments("1"), ProportionalCost(10.0), clock, CALENDAR,
        lambda request: parts, halted_until,
    )  # fmt: skip
    venue.open_account(Decimal(10_000), CALENDAR.opens(SESSIONS[0]))
    return venue


def buy(quantity: str, name: str = "or1-a", symbol: str = "AAPL", side: Side = Side.BUY) -> OrderRequest:
    return OrderRequest(name, symbol, side, Decimal(quantity))


def state(venue: SimulatedBroker, name: str = "or1-a") -> tuple[OrderState, Decimal]:
    order = venue.order(name).value
    assert order is not None
    return order.state, order.filled_quantity


def test_an_order_is_executed_in_its_parts_and_the_last_takes_the_rest() -> None:
    clock = ReplayClock(NOON)
    venue = a_venue(clock)
    assert venue.submit(buy("100")) == Accepted(venue.open_orders().value[0])
    assert state(venue) == (OrderState.WORKING, 0)
    seen = []
    for _ in range(3):
        clock.advance(clock.now() + MINUTE)
        seen.append(state(venue))
    assert seen == [(OrderState.PARTIAL, 33), (OrderState.PARTIAL, 66), (OrderState.FILLED, 100)]
    assert [fill.quantity for fill in venue.fills(EPOCH).value] == [33, 33, 34]
    assert [fill.at for fill in venue.fills(EPOCH).value] == [NOON + MINUTE * n for n in (1, 2, 3)]
    assert venue.open_orders() == Known([])


def test_what_happens_does_not_depend_on_when_one_looks(tmp_path: Path) -> None:
    """The same parts at the same instants, also when the venue's program was restarted in between."""
    clock = ReplayClock(NOON)
    patient = a_venue(clock)
    patient.submit(buy("100"))
    interrupted = a_venue(clock, book=tmp_path / "venue.db")
    interrupted.submit(buy("100"))
    clock.advance(NOON + MINUTE)
    interrupted.positions()
    interrupted = a_venue(clock, book=tmp_path / "venue.db")
    clock.advance(NOON + 10 * MINUTE)
    assert interrupted.fills(EPOCH) == patient.fills(EPOCH)
    assert interrupted.account() == patient.account()


def test_what_is_not_executed_expires_with_its_session() -> None:
    clock = ReplayClock(NOON)
    venue = a_venue(clock, [Part(Fraction("0.4"), MINUTE)])
    venue.submit(buy("100"))
    clock.advance(CALENDAR.closes(TODAY) - MINUTE)
    assert state(venue) == (OrderState.PARTIAL, 40)
    clock.advance(CALENDAR.closes(TODAY))
    assert state(venue) == (OrderState.EXPIRED, 40)
    assert venue.positions() == Known({"AAPL": Decimal(40)})


def test_a_cancel_ends_what_was_still_to_come() -> None:
    clock = ReplayClock(NOON)
    venue = a_venue(clock)
    venue.submit(buy("90"))
    clock.advance(NOON + MINUTE)
    assert isinstance(venue.cancel("or1-a"), Accepted)
    clock.advance(NOON + 10 * MINUTE)
    assert state(venue) == (OrderState.CANCELED, 30)
    assert venue.cancel("or1-a") == Refused("the order is CANCELED")


def test_open_orders_count_as_if_they_filled() -> None:
    clock = ReplayClock(NOON)
    venue = a_venue(clock)
    assert isinstance(venue.submit(buy("100")), Accepted)
    refused = venue.submit(buy("100", "or1-b"))
    assert isinstance(refused, Refused)
    assert "insufficient cash" in refused.reason
    clock.advance(NOON + 3 * MINUTE)
    assert isinstance(venue.submit(buy("60", "or1-c", side=Side.SELL)), Accepted)
    assert venue.submit(buy("60", "or1-d", side=Side.SELL)) == Refused("short sale: 60 asked, 40 held")


def test_a_halt_refuses_orders_and_holds_up_executions() -> None:
    ends = NOON + 30 * MINUTE
    clock = ReplayClock(NOON)
    venue = a_venue(clock, halted_until=lambda symbol, at: ends if NOON < at < ends and symbol == "AAPL" else None)
    venue.submit(buy("90"))
    clock.advance(NOON + 10 * MINUTE)
    assert state(venue) == (OrderState.WORKING, 0)
    assert venue.submit(buy("1", "or1-b")) == Refused("trading in AAPL is halted")
    assert isinstance(venue.submit(buy("1", "or1-c", "KO")), Accepted)
    clock.advance(ends)
    assert state(venue) == (OrderState.FILLED, 90)
    assert {fill.at for fill in venue.fills(EPOCH).value if fill.symbol == "AAPL"} == {ends}


def test_a_busted_execution_is_reversed_to_the_cent() -> None:
    clock = ReplayClock(NOON)
    venue = a_venue(clock)
    venue.submit(buy("90"))
    clock.advance(NOON + 10 * MINUTE)
    cash = venue.account().value.cash
    first = venue.fills(EPOCH).value[0]
    assert venue.bust(first.exec_id)
    assert not venue.bust(first.exec_id)
    assert venue.positions() == Known({"AAPL": Decimal(60)})
    assert venue.account().value.cash == cash - first.cash
    [reversal] = [fill for fill in venue.fills(EPOCH).value if fill.reverses]
    assert (reversal.reverses, reversal.side, reversal.quantity) == (first.exec_id, Side.SELL, first.quantity)
    assert state(venue) == (OrderState.FILLED, 60)


def test_a_correction_changes_the_price_and_nothing_else() -> None:
    clock = ReplayClock(NOON)
    venue = a_venue(clock)
    venue.submit(buy("90"))
    clock.advance(NOON + 10 * MINUTE)
    cash = venue.account().value.cash
    first = venue.fills(EPOCH).value[0]
    assert venue.bust(first.exec_id, corrected=first.price - 1)
    assert venue.positions() == Known({"AAPL": Decimal(90)})
    assert venue.account().value.cash == cash + first.quantity
    assert state(venue) == (OrderState.FILLED, 90)


def test_what_was_sold_cannot_be_busted_away() -> None:
    clock = ReplayClock(NOON)
    venue = a_venue(clock)
    venue.submit(buy("90"))
    clock.advance(NOON + 3 * MINUTE)
    first = venue.fills(EPOCH).value[0]
    venue.submit(buy("90", "or1-b", side=Side.SELL))
    clock.advance(NOON + 10 * MINUTE)
    assert not venue.bust(first.exec_id)


def test_a_split_and_a_dividend_are_movements() -> None:
    clock = ReplayClock(NOON)
    venue = a_venue(clock)
    venue.submit(buy("91"))
    clock.advance(NOON + 3 * MINUTE)
    cash = venue.account().value.cash
    venue.dividend("div-1", "AAPL", Decimal("0.015"))
    venue.split("split-1", "AAPL", Decimal("1.5"))
    venue.split("split-1", "AAPL", Decimal("1.5"))
    assert venue.account().value.cash == cash + Decimal("1.36")
    assert venue.positions() == Known({"AAPL": Decimal(136)})
    told = [(m.kind, m.symbol, m.quantity, m.cash) for m in venue.movements(NOON).value]
    assert told == [("dividend", "AAPL", 0, Decimal("1.36")), ("split", "AAPL", 45, 0)]


def test_a_split_cancels_what_is_open_in_its_symbol() -> None:
    clock = ReplayClock(NOON)
    venue = a_venue(clock)
    venue.submit(buy("10"))
    venue.submit(buy("10", "or1-b", "KO"))
    venue.split("split-1", "AAPL", Decimal(2))
    assert [order.symbol for order in venue.open_orders().value] == ["KO"]


@pytest.mark.parametrize("share", ["0.001", "0"])
def test_a_part_smaller_than_a_lot_is_left_out(share: str) -> None:
    clock = ReplayClock(NOON)
    venue = a_venue(clock, [Part(Fraction(share)), Part(Fraction("0.5"), MINUTE)])
    venue.submit(buy("10"))
    clock.advance(NOON + MINUTE)
    assert state(venue) == (OrderState.PARTIAL, 5)
