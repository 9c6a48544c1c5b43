"""Identity and states of orders."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from ordinis.domain.instruments import AssetClass, Instrument
from ordinis.domain.orders import LIVE, TRANSITIONS, Fill, OrderState, Side, client_order_id


def test_an_order_id_follows_from_its_decision() -> None:
    first = client_order_id("sim", "d" * 64, "AAPL", "buy", 1)
    assert first == client_order_id("sim", "d" * 64, "AAPL", "buy", 1)
    others = {
        client_order_id("sim", "d" * 64, "AAPL", "buy", 2),
        client_order_id("sim", "d" * 64, "AAPL", "sell", 1),
        client_order_id("sim", "d" * 64, "KO", "buy", 1),
        client_order_id("sim", "e" * 64, "AAPL", "buy", 1),
        client_order_id("live", "d" * 64, "AAPL", "buy", 1),
    }
    assert len(others | {first}) == 6
    assert first.startswith("or1-")
    assert len(first) == 30


def test_an_order_id_is_the_same_in_every_version() -> None:
    # An order that was sent before an upgrade must be found under the same name after it.
    assert client_order_id("sim", "d1", "AAPL", "buy", 1) == "or1-f5ncpc45ih3d2wdk6wxxmu5jt2"


def test_terminal_states_lead_nowhere() -> None:
    reached = {state for states in TRANSITIONS.values() for state in states}
    assert reached | {OrderState.INTENT} == set(OrderState)
    terminal = set(OrderState) - LIVE
    assert terminal == {
        OrderState.FILLED,
        OrderState.CANCELED,
        OrderState.REJECTED,
        OrderState.EXPIRED,
        OrderState.DENIED,
        OrderState.EXPIRED_UNSENT,
        OrderState.NEVER_ARRIVED,
    }


def test_unknown_is_left_by_an_answer_only() -> None:
    assert OrderState.NEVER_ARRIVED in TRANSITIONS[OrderState.UNKNOWN]
    assert OrderState.SENDING not in TRANSITIONS[OrderState.UNKNOWN]
    assert OrderState.DENIED not in TRANSITIONS[OrderState.UNKNOWN]


def test_a_fill_moves_cash_by_notional_and_fee() -> None:
    at = datetime(2020, 3, 16, tzinfo=UTC)
    bought = Fill("sim", "x", None, "KO", Side.BUY, Decimal(10), Decimal("50.25"), Decimal("0.50"), at)
    sold = Fill("sim", "y", None, "KO", Side.SELL, Decimal(10), Decimal("50.25"), Decimal("0.50"), at)
    assert (bought.units, bought.cash) == (Decimal(10), Decimal("-503.00"))
    assert (sold.units, sold.cash) == (Decimal(-10), Decimal("502.00"))


def test_quantities_round_towards_zero_and_prices_to_the_nearest_tick() -> None:
    share = Instrument("KO", "Coca-Cola", AssetClass.EQUITY, Decimal("0.01"), Decimal("0.5"))
    assert share.round_quantity(Decimal("3.99")) == Decimal("3.5")
    assert share.round_quantity(Decimal("-3.99")) == Decimal("-3.5")
    assert share.round_price(Decimal("10.016")) == Decimal("10.02")
