"""From an order back to its decision, limits, allocator and data."""

from __future__ import annotations

import pytest

from ordinis.domain.limits import TradingState
from ordinis.domain.orders import OrderState
from ordinis.errors import NotFound
from ordinis.monitoring.explanation import explain
from ordinis.ports import ControlRow
from tests.brokers.market import TODAY
from tests.execution.test_actor import Fixed, an_actor


def test_an_order_is_explained_from_its_fills_to_its_data() -> None:
    actor = an_actor(allocator=Fixed({"AAPL": 0.25, "KO": 0.1, "XOM": 0.0}))
    decision = actor.trade(TODAY)
    assert decision is not None
    found = explain(actor.engine.ledger, "aapl")
    assert found.order.state is OrderState.FILLED
    assert found.decision == decision
    # The allocator asked for a quarter, the position cap left a fifth, and nothing was held before.
    assert (found.answered["AAPL"], found.decision.weights["AAPL"], found.held) == (0.25, pytest.approx(0.2), 0.0)
    assert [verdict.rule for verdict in found.verdicts if not verdict.passed] == ["position cap"]
    assert [happening.what.split(":")[0] for happening in found.happenings if happening.what.isupper()] == [
        "INTENT", "SENDING", "WORKING", "FILLED",
    ]  # fmt: skip
    [fill] = found.fills
    paid = (fill.price / found.order.reference_price - 1) + fill.fee / (fill.quantity * found.order.reference_price)
    assert found.shortfall == pytest.approx(float(paid) * 1e4)
    assert found.inputs["view"]["through"] == decision.as_of.date().replace(day=13).isoformat()


def test_an_order_is_found_by_the_beginning_of_its_id() -> None:
    actor = an_actor(allocator=Fixed({"AAPL": 0.1, "KO": 0.1, "XOM": 0.0}))
    actor.trade(TODAY)
    one = explain(actor.engine.ledger, "KO").order
    assert explain(actor.engine.ledger, one.client_order_id[:10]).order == one


def test_a_denied_order_says_why() -> None:
    actor = an_actor(allocator=Fixed({"AAPL": 0.1, "KO": 0.1, "XOM": 0.0}))
    with actor.engine.ledger.begin() as unit:
        unit.control.set(ControlRow(TradingState.HALTED, "odd fills", "anna", actor.engine.clock.now(), "KO"))
        unit.commit()
    actor.trade(TODAY)
    found = explain(actor.engine.ledger, "KO")
    assert [happening.what for happening in found.happenings] == [
        "DENIED: G13: KO is locked since anna said: odd fills"
    ]
    assert found.shortfall is None


@pytest.mark.parametrize(
    ("name", "problem"), [("or1-", "2 orders are called that; give more"), ("NOPE", "0 orders are called that; give")]
)
def test_a_name_that_is_not_one_order_is_refused(name: str, problem: str) -> None:
    actor = an_actor(allocator=Fixed({"AAPL": 0.1, "KO": 0.1, "XOM": 0.0}))
    actor.trade(TODAY)
    with pytest.raises(NotFound, match=problem):
        explain(actor.engine.ledger, name)
