"""In whatever order a broker tells its news, and however often, the same news give the same ledger to the byte."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ordinis.domain.orders import BrokerOrder, Fill, OrderState, Side
from ordinis.execution.canonical import canonical_ledger
from ordinis.execution.intents import OrderEngine
from ordinis.execution.reconcile import reconcile
from ordinis.persistence.unit_of_work import SqlLedger
from tests.execution.world import Lossy, World

News = Callable[[OrderEngine], object]
CASES = 1_000
MANY = 10_000


class Deaf(Lossy):
    """Takes nothing, answers nothing: what was sent stays in doubt."""

    def submit(self, request: object) -> object:  # type: ignore[override]
        from ordinis.domain.orders import Ambiguous

        return Ambiguous("no answer in time")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three orders were sent, and nothing is known of any of them."""
    world = World(tmp_path_factory.mktemp("news"))
    reconcile(world.engine())
    decision = world.decide(("AAPL", Side.BUY, "50"), ("KO", Side.BUY, "60"), ("XOM", Side.BUY, "40"))
    world.engine(Deaf(world.venue, deaf=True)).execute(decision, world.prices())
    assert set(world.states().values()) == {OrderState.UNKNOWN}
    return world


def the_news(world: World) -> tuple[list[News], list[News]]:
    """All that the broker has to say, and how it says that every order has ended."""
    with world.ledger.begin(write=False) as unit:
        ids = {intent.symbol: intent.client_order_id for intent in unit.orders.all()}
    at = world.clock.now()

    def status(symbol: str, quantity: str, filled: str, state: OrderState) -> News:
        order = BrokerOrder(f"b-{symbol}", ids[symbol], symbol, Side.BUY, Decimal(quantity), Decimal(filled), state, at)
        return lambda engine: engine.hear(order)

    def fill(symbol: str, number: str, quantity: str, price: str, reverses: str | None = None) -> Fill:
        side = Side.BUY if reverses is None else Side.SELL
        fee = Decimal("0.05") if reverses is None else Decimal("-0.05")
        return Fill(
            "sim", f"{ids[symbol]}-{number}", ids[symbol], symbol, side, Decimal(quantity), Decimal(price), fee,
            at + timedelta(seconds=len(number)), None if reverses is None else f"{ids[symbol]}-{reverses}",
        )  # fmt: skip

    fills = [
        fill("AAPL", "1", "20", "54.75"),
        fill("AAPL", "2", "30", "54.8"),
        fill("KO", "1", "25", "53.5"),
        fill("XOM", "1", "40", "42.25"),
        fill("XOM", "1-bust", "40", "42.25", reverses="1"),
        fill("XOM", "1-corrected", "40", "42.2"),
    ]
    ends = [
        status("AAPL", "50", "50", OrderState.FILLED),
        status("KO", "60", "25", OrderState.CANCELED),
        status("XOM", "40", "40", OrderState.FILLED),
    ]
    on_the_way = [
        status("AAPL", "50", "0", OrderState.WORKING),
        status("AAPL", "50", "20", OrderState.PARTIAL),
        status("KO", "60", "0", OrderState.WORKING),
        status("KO", "60", "25", OrderState.PARTIAL),
        status("XOM", "40", "0", OrderState.WORKING),
    ]

    def told(fill: Fill) -> News:
        return lambda engine: engine.book([fill], source="stream")

    return [*map(told, fills), *on_the_way, *ends], ends


def a_copy(prepared: World, path: Path) -> SqlLedger:
    source, target = sqlite3.connect(str(prepared.ledger.engine.url.database)), sqlite3.connect(path)
    source.backup(target)
    source.close()
    target.close()
    return SqlLedger(f"sqlite:///{path}", "sim")


def after(prepared: World, path: Path, news: Sequence[News]) -> str:
    path.unlink(missing_ok=True)
    ledger = a_copy(prepared, path)
    engine = OrderEngine(ledger, prepared.venue, prepared.clock, prepared.engine().gates)
    for tell in news:
        tell(engine)
    with ledger.begin(write=False) as unit:
        unit.verify()
    text = canonical_ledger(ledger)
    ledger.close()
    return text


def permuted(prepared: World, folder: Path, seeds: range) -> set[str]:
    """Every ledger that comes of the news in random order, each up to three times, and at last how the orders ended."""
    news, ends = the_news(prepared)
    found = set()
    for seed in seeds:
        rng = random.Random(seed)
        told = [item for item in news for _ in range(rng.choice([1, 1, 2, 3]))]
        rng.shuffle(told)
        found.add(after(prepared, folder / "ledger.db", [*told, *ends]))
    return found


def test_news_in_any_order_give_one_ledger(prepared: World, tmp_path: Path) -> None:
    news, _ = the_news(prepared)
    assert permuted(prepared, tmp_path, range(CASES)) == {after(prepared, tmp_path / "one.db", news)}


@pytest.mark.slow
def test_many_orders_of_news_give_one_ledger(prepared: World, tmp_path: Path) -> None:
    assert len(permuted(prepared, tmp_path, range(CASES, CASES + MANY))) == 1


def test_other_news_give_another_ledger(prepared: World, tmp_path: Path) -> None:
    news, ends = the_news(prepared)
    assert after(prepared, tmp_path / "a.db", news) != after(prepared, tmp_path / "b.db", [*news[1:], *ends])


def test_the_last_state_is_that_of_the_broker(prepared: World, tmp_path: Path) -> None:
    news, _ = the_news(prepared)
    text = after(prepared, tmp_path / "ledger.db", news)
    for state in ("FILLED", "CANCELED"):
        assert f'"state":"{state}"' in text
