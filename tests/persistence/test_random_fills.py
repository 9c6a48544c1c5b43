"""Thousands of random executions, booked in batches: cash and units are what exact fractions say, to 0.00."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import islice

import pytest

from ordinis.domain.orders import Fill, Side
from ordinis.domain.portfolio import Movement
from ordinis.errors import LedgerDamaged
from ordinis.persistence.unit_of_work import SqlLedger

QUICK, MANY, BATCH = 5_000, 100_000, 500
SYMBOLS = tuple(f"S{number:02}" for number in range(20))
OPENING = datetime(2020, 3, 16, 14, 30, tzinfo=UTC)
CASH = Decimal("1000000.01")


def executions(rng: random.Random) -> Iterator[Fill]:
    """Buys and sells of whole and fractional units, fees to the cent; one in twenty is taken back later."""
    recent: list[Fill] = []
    for number in range(10**9):
        at = OPENING + timedelta(milliseconds=137 * number)
        if recent and rng.random() < 0.05:
            undone = recent.pop(rng.randrange(len(recent)))
            other = Side.SELL if undone.side is Side.BUY else Side.BUY
            name = f"{undone.exec_id}-bust"
            yield replace(undone, exec_id=name, side=other, fee=-undone.fee, at=at, reverses=undone.exec_id)
            continue
        places = rng.choice([0, 0, 3, 9])
        fill = Fill(
            account="sim", exec_id=f"e{number}", client_order_id=None, symbol=rng.choice(SYMBOLS),
            side=rng.choice([Side.BUY, Side.SELL]), quantity=Decimal(rng.randrange(1, 10**6)).scaleb(-places),
            price=Decimal(rng.randrange(1, 10**9)).scaleb(-rng.choice([2, 4, 6])),
            fee=Decimal(rng.randrange(0, 500)).scaleb(-2), at=at,
        )  # fmt: skip
        recent = [*recent[-50:], fill]
        yield fill


def exact(fills: Sequence[Fill]) -> tuple[Fraction, dict[str, Fraction]]:
    """Cash and units by symbol, summed as fractions, which round nothing."""
    cash, units = Fraction(CASH), defaultdict[str, Fraction](Fraction)
    for fill in fills:
        signed = Fraction(fill.quantity) * (1 if fill.side is Side.BUY else -1)
        cash -= signed * Fraction(fill.price) + Fraction(fill.fee)
        units[fill.symbol] += signed
    return cash, {symbol: held for symbol, held in units.items() if held}


def book(ledger: SqlLedger, fills: Sequence[Fill], rng: random.Random) -> None:
    """In batches of a commit each; what was just booked is told again now and then."""
    with ledger.begin() as unit:
        unit.book.movement(Movement("sim", "deposit", "deposit", CASH, OPENING))
        unit.commit()
    for batch in (fills[first : first + BATCH] for first in range(0, len(fills), BATCH)):
        with ledger.begin() as unit:
            for fill in batch:
                assert unit.book.fill(fill, source="poll", received_at=fill.at)
            assert not unit.book.fill(rng.choice(batch), source="stream", received_at=OPENING)
            unit.commit()


def agree(ledger: SqlLedger, fills: Sequence[Fill]) -> None:
    cash, units = exact(fills)
    with ledger.begin(write=False) as unit:
        unit.verify()
        assert Fraction(unit.book.cash()) == cash
        assert {symbol: Fraction(held) for symbol, held in unit.book.holdings().items()} == units
        kept = unit.book.fills()
    assert sorted(kept, key=lambda fill: fill.exec_id) == sorted(fills, key=lambda fill: fill.exec_id)
    assert exact(kept) == (cash, units)


@pytest.mark.parametrize("size", [QUICK, pytest.param(MANY, marks=pytest.mark.slow)])
def test_random_fills_are_booked_to_the_last_digit(database_url: str, size: int) -> None:
    rng, ledger = random.Random(size), SqlLedger(database_url, "sim")
    fills = list(islice(executions(rng), size))
    assert sum(fill.reverses is not None for fill in fills) > size / 40
    book(ledger, fills, rng)
    agree(ledger, fills)
    ledger.close()


def test_a_cent_too_much_shows(database_url: str) -> None:
    rng, ledger = random.Random(1), SqlLedger(database_url, "sim")
    fills = list(islice(executions(rng), 300))
    book(ledger, fills, rng)
    agree(ledger, fills)
    with pytest.raises(AssertionError):
        agree(ledger, [*fills[:-1], replace(fills[-1], fee=fills[-1].fee + Decimal("0.01"))])
    with ledger.begin() as unit:
        unit.book._set_balance(unit.book.cash() + Decimal("0.01"), None)
        unit.commit()
    with pytest.raises(LedgerDamaged, match="by its fills and movements"):
        agree(ledger, fills)
    ledger.close()
