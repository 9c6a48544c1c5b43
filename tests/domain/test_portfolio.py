"""A book's loss and drawdown are those of its holdings, not of money that came or went."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from ordinis.domain.portfolio import Movement, PortfolioSnapshot, Valuation, carried

CLOSED = datetime(2020, 3, 16, 20, tzinfo=UTC)
LATER = CLOSED + timedelta(hours=18)
LAST = Valuation("sim", date(2020, 3, 16), CLOSED, Decimal(9000), Decimal(4000), Decimal(5000), Decimal(10000))


CLOSES = {"KO": Decimal(50)}


def moved(cash: str, kind: str = "deposit", symbol: str | None = None, quantity: str = "0") -> Movement:
    return Movement("sim", "a1", kind, Decimal(cash), LATER, symbol, Decimal(quantity))


@pytest.mark.parametrize(
    ("movements", "equity", "peak"),
    [
        ([], "9000", "10000"),
        ([moved("-3000", "withdrawal")], "6000", str(Decimal(10000) * 6000 / 9000)),
        ([moved("900")], "9900", "11000"),
        ([moved("900"), moved("-900", "withdrawal")], "9000", "10000"),
        ([moved("90", "dividend"), moved("-1", "fee")], "9000", "10000"),
        ([moved("0", "transfer", symbol="KO", quantity="10")], "9500", str(Decimal(10000) * 9500 / 9000)),
        ([moved("0", "transfer", symbol="SPUN", quantity="10")], "9000", "10000"),
        ([moved("0", "split", symbol="KO", quantity="10")], "9000", "10000"),
    ],
)
def test_deposits_and_withdrawals_since_the_close_are_neither_profit_nor_loss(
    movements: list[Movement], equity: str, peak: str
) -> None:
    assert carried(LAST, movements, CLOSES) == (Decimal(equity), Decimal(peak))


def test_a_withdrawal_leaves_loss_and_drawdown_as_they_were() -> None:
    for cash in (Decimal(0), Decimal(-3000), Decimal(3000)):
        previous, peak = carried(LAST, [moved(str(cash))], CLOSES)
        book = PortfolioSnapshot("sim", LATER, Decimal(9000) + cash, {}, {}, peak, previous)
        assert book.daily_return == pytest.approx(0.0, abs=1e-12)
        assert book.drawdown == pytest.approx(0.1)


def test_before_the_first_close_there_is_nothing_to_carry() -> None:
    assert carried(None, [moved("10000")], CLOSES) == (Decimal(0), Decimal(0))


@pytest.mark.parametrize(
    ("restarted", "peak"), [(CLOSED, "9000"), (LATER, "9000"), (CLOSED - timedelta(hours=1), "10000")]
)
def test_the_peak_counts_from_where_a_person_resumed_after_a_drawdown(restarted: datetime, peak: str) -> None:
    assert carried(LAST, [], CLOSES, restarted) == (Decimal(9000), Decimal(peak))
    assert carried(LAST, [moved("900")], CLOSES, restarted) == (Decimal(9900), Decimal(peak) * Decimal("1.1"))
