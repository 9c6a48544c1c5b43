"""How much of a buy fits: a book of round numbers, one limit at a time, checked by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ordinis.costs.conditions import MarketConditions
from ordinis.costs.models import ProportionalCost, SquareRootCost
from ordinis.domain.instruments import AssetClass, Instrument
from ordinis.domain.limits import Limits
from ordinis.domain.market import Quote
from ordinis.domain.orders import Fill, OrderIntent, OrderState, OrderType, PlannedOrder, Side, TimeInForce
from ordinis.domain.portfolio import Movement
from ordinis.execution.prices import Prices
from ordinis.execution.room import WorstCase, room
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import CostModel

NOW = datetime(2020, 3, 16, 19, 45, tzinfo=UTC)
SECTORS = {"KO": "staples", "PEP": "staples", "XOM": "energy"}
WIDE = Limits(position_cap=1.0, gross_cap=1.0, cash_buffer=0.0, sector_cap=1.0, sectors=SECTORS)
FREE = ProportionalCost(0.0)
QUOTES = {symbol: Quote(symbol, Decimal(10), NOW) for symbol in ("KO", "PEP", "XOM", "BRK")}
PRICES = Prices(QUOTES, {}, MarketConditions({"KO": 0.02}))
KO = Instrument("KO", "KO", AssetClass.EQUITY, Decimal("0.01"), Decimal(1), adv=None)


def a_book(cash: str = "1000", **values: str) -> WorstCase:
    return WorstCase(Decimal(cash), {symbol: Decimal(value) for symbol, value in values.items()})


def fits(
    book: WorstCase,
    limits: Limits = WIDE,
    *,
    quantity: str = "100",
    instrument: Instrument = KO,
    costs: CostModel = FREE,
    ceiling: float = 1.0,
    participation_cap: float | None = None,
    prices: Prices = PRICES,
) -> Decimal:
    """Units of a buy at 10 that fit."""
    symbol = instrument.symbol
    order = PlannedOrder(symbol, "buy", Side.BUY, Decimal(quantity), Decimal(10))
    return room(order, book, prices, instrument, limits, costs, ceiling=ceiling, participation_cap=participation_cap)


def test_never_more_than_was_asked_and_never_more_than_the_book_is_worth() -> None:
    assert fits(a_book(), quantity="7") == 7
    assert fits(a_book(), quantity="700") == 100


@pytest.mark.parametrize(
    ("limits", "ceiling", "units"),
    [
        # Equity is 1000, of which 200 are in KO, 100 in PEP and 50 in XOM.
        (replace(WIDE, position_cap=0.5), 1.0, 30),
        (WIDE, 0.4, 20),
        (replace(WIDE, position_cap=0.3), 0.4, 10),
        (replace(WIDE, position_cap=0.2), 1.0, 0),
        (replace(WIDE, position_cap=0.1), 1.0, 0),
        (replace(WIDE, gross_cap=0.75), 1.0, 40),
        (replace(WIDE, sector_cap=0.5), 1.0, 20),
        (replace(WIDE, cash_buffer=0.45), 1.0, 20),
    ],
    ids=[
        "position cap",
        "a person's ceiling",
        "cap and ceiling",
        "at its cap",
        "past its cap",
        "gross cap",
        "sector cap counts KO and PEP",
        "cash buffer",
    ],
)
def test_each_limit_leaves_its_room(limits: Limits, ceiling: float, units: int) -> None:
    assert fits(a_book("650", KO="200", PEP="100", XOM="50"), limits, ceiling=ceiling) == units


def test_a_symbol_without_a_sector_has_no_sector_cap() -> None:
    unsorted = replace(KO, symbol="BRK")
    assert fits(a_book("800", KO="200"), replace(WIDE, sector_cap=0.1), instrument=unsorted) == 80


def test_a_book_that_is_all_bought_has_no_room_and_no_cash_to_ask_for() -> None:
    # The position is exactly at its cap and the cash already below the buffer.
    limits = replace(WIDE, position_cap=0.95, cash_buffer=0.1)
    assert fits(a_book("50", KO="950"), limits) == 0


def test_cash_that_is_owed_already_buys_nothing() -> None:
    assert fits(a_book("-10", XOM="1010"), WIDE) == 0


@pytest.mark.parametrize(("cap", "adv", "units"), [(0.05, 1000.0, 50), (0.05, None, 100), (None, 1000.0, 100)])
def test_a_buy_is_at_most_a_share_of_the_daily_volume_where_both_are_known(
    cap: float | None, adv: float | None, units: int
) -> None:
    assert fits(a_book("2000"), instrument=replace(KO, adv=adv), participation_cap=cap) == units


def test_cash_pays_for_slippage_and_fee_as_well() -> None:
    # A percent of slippage: 1000 in cash pay for 99 units at 10.1.
    assert fits(a_book(), costs=ProportionalCost(100.0)) == 99


def test_slippage_grows_with_the_volatility_of_the_symbol() -> None:
    # 100 units of 400 a day: 0.02 * sqrt(1/4) = 1 % on 10, so 1000 in cash pay for 99 units at 10.1.
    steep = SquareRootCost(half_spread_bps=0.0, eta=1.0, commission_bps=0.0)
    assert fits(a_book(), instrument=replace(KO, adv=400.0), costs=steep) == 99


def test_lots_are_whole() -> None:
    assert fits(a_book(), replace(WIDE, position_cap=0.055)) == 5
    assert fits(a_book(), replace(WIDE, position_cap=0.055), instrument=replace(KO, lot=Decimal("0.1"))) == Decimal(
        "5.5"
    )


def live(symbol: str, side: Side, quantity: str, filled: str = "0") -> OrderIntent:
    """An order at 20 a unit that reserved one percent more than it is worth."""
    return OrderIntent(
        f"or1-{symbol}", "d", "sim", symbol, side.value, 1, side, Decimal(quantity), OrderType.MARKET, None,
        TimeInForce.DAY, OrderState.PARTIAL, Decimal(20), Decimal(quantity) * Decimal("20.2"),
        filled_quantity=Decimal(filled),
    )  # fmt: skip


def test_the_worst_case_counts_every_live_buy_as_filled_and_no_live_sale() -> None:
    ledger = SqlLedger("sqlite://", "sim")
    with ledger.begin() as unit:
        unit.book.movement(Movement("sim", "m1", "deposit", Decimal(1000), NOW))
        for symbol, units in (("KO", 10), ("PEP", 5)):
            row = Fill("sim", symbol, None, symbol, Side.BUY, Decimal(units), Decimal(20), Decimal(0), NOW)
            unit.book.fill(row, source="poll", received_at=NOW)
        orders = [live("KO", Side.BUY, "8", "2"), live("XOM", Side.BUY, "1"), live("PEP", Side.SELL, "5")]
        book = WorstCase.of(unit, orders, PRICES)
    # Held: 10 KO and 5 PEP at 10 now, 700 in cash. Bought besides: 6 KO and 1 XOM, at 20, for 20.2 each.
    assert book.values == {"KO": Decimal(220), "PEP": Decimal(50), "XOM": Decimal(20)}
    assert book.cash == Decimal("558.6")
    assert book.equity == Decimal("848.6")


def test_an_order_of_nothing_reserves_nothing() -> None:
    ledger = SqlLedger("sqlite://", "sim")
    with ledger.begin() as unit:
        unit.book.movement(Movement("sim", "m1", "deposit", Decimal(1000), NOW))
        book = WorstCase.of(unit, [live("KO", Side.BUY, "0")], PRICES)
    assert (book.cash, book.equity) == (Decimal(1000), Decimal(1000))


def test_a_measured_volume_goes_before_the_one_that_the_reference_says() -> None:
    thin = replace(PRICES, conditions=replace(PRICES.conditions, volumes={"KO": 400.0}))
    steep = SquareRootCost(half_spread_bps=0.0, eta=1.0, commission_bps=0.0)
    # 100 units of 400 a day cost 1010; of a thousand million a day, 1000.01.
    assert fits(a_book("1005"), instrument=replace(KO, adv=1e9), costs=steep, prices=thin) == 99
    assert fits(a_book("1005"), instrument=replace(KO, adv=1e9), costs=steep) == 100
    assert fits(a_book(), instrument=replace(KO, adv=1e9), participation_cap=0.05, prices=thin) == 20
    still = replace(PRICES, conditions=MarketConditions({"KO": 0.02}, {"KO": 0.0}))
    assert fits(a_book(), instrument=replace(KO, adv=1e9), participation_cap=0.05, prices=still) == 0
