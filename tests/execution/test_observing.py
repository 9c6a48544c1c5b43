"""What each answer of a broker means for each state of an order, as tables; and how long an order stays in doubt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from ordinis.domain.orders import (
    TRANSITIONS,
    BrokerOrder,
    OrderIntent,
    OrderState,
    OrderType,
    Side,
    TimeInForce,
)
from ordinis.execution.observing import IN_DOUBT, OPEN, Quarantine, executed, told

NOW = datetime(2020, 3, 16, 19, 45, tzinfo=UTC)
S = OrderState
W, P, F, C, E, R, H = S.WORKING, S.PARTIAL, S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED, S.SUSPENDED
ANSWERS = (W, P, F, C, E, R, H)
UNTOUCHED = (S.INTENT, S.FILLED, S.CANCELED, S.REJECTED, S.EXPIRED, S.DENIED, S.EXPIRED_UNSENT, S.NEVER_ARRIVED)

# The states that follow when every execution is booked, by our state and the broker's.
#                   the broker says:  W      P      F       C       E       R       H
BOOKED = {
    S.SENDING:                     ((W,),  (W,),  (W, F), (W, C), (W, E), (W, C), (W, H)),
    S.UNKNOWN:                     ((W,),  (W,),  (W, F), (W, C), (W, E), (W, C), (W, H)),
    S.WORKING:                     ((),    (),    (F,),   (C,),   (E,),   (C,),   (H,)),
    S.PARTIAL:                     ((),    (),    (F,),   (C,),   (E,),   (C,),   (H,)),
    S.PENDING_CANCEL:              ((),    (),    (F,),   (C,),   (E,),   (C,),   ()),
    S.SUSPENDED:                   ((P,),  (P,),  (P, F), (C,),   (E,),   (C,),   ()),
}  # fmt: skip
# The same while an execution is missing here: nothing ends.
MISSING = {
    S.SENDING:                     ((W,),  (W,),  (W,),   (W,),   (W,),   (W,),   (W, H)),
    S.UNKNOWN:                     ((W,),  (W,),  (W,),   (W,),   (W,),   (W,),   (W, H)),
    S.WORKING:                     ((),    (),    (),     (),     (),     (),     (H,)),
    S.PARTIAL:                     ((),    (),    (),     (),     (),     (),     (H,)),
    S.PENDING_CANCEL:              ((),    (),    (),     (),     (),     (),     ()),
    S.SUSPENDED:                   ((P,),  (P,),  (),     (),     (),     (),     ()),
}  # fmt: skip
CELLS = [
    (state, answer, booked, path)
    for booked, table in ((True, BOOKED), (False, MISSING))
    for state, paths in table.items()
    for answer, path in zip(ANSWERS, paths, strict=True)
]


def ours(state: OrderState, filled: str = "0") -> OrderIntent:
    return OrderIntent(
        "or1-a", "d", "sim", "KO", "buy", 1, Side.BUY, Decimal(10), OrderType.MARKET, None, TimeInForce.DAY,
        state, Decimal(50), Decimal(500), filled_quantity=Decimal(filled),
    )  # fmt: skip


def theirs(state: OrderState, filled: str = "0") -> BrokerOrder:
    return BrokerOrder("b1", "or1-a", "KO", Side.BUY, Decimal(10), Decimal(filled), state, NOW)


@pytest.mark.parametrize(("state", "answer", "booked", "path"), CELLS)
def test_what_an_answer_means(
    state: OrderState, answer: OrderState, booked: bool, path: tuple[OrderState, ...]
) -> None:
    assert told(ours(state, "4"), theirs(answer, "4" if booked else "5")) == path


@pytest.mark.parametrize("state", UNTOUCHED)
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_order_that_was_not_sent_or_has_ended_is_not_moved(state: OrderState, answer: OrderState) -> None:
    assert told(ours(state, "4"), theirs(answer, "4")) == ()


@pytest.mark.parametrize(
    ("state", "path"),
    [(S.SENDING, (R,)), (S.UNKNOWN, (R,)), (S.WORKING, (R,)), (S.PENDING_CANCEL, (C,)), (S.SUSPENDED, (C,))],
)
def test_an_order_that_is_refused_before_anything_was_executed(state: OrderState, path: tuple[OrderState, ...]) -> None:
    assert told(ours(state), theirs(R)) == path


def test_an_order_that_is_let_go_again_works_as_before_it_was_suspended() -> None:
    assert told(ours(S.SUSPENDED), theirs(W)) == (W,)
    assert told(ours(S.SUSPENDED, "4"), theirs(W, "4")) == (P,)


def test_a_filled_order_of_which_a_part_was_taken_back_has_ended_all_the_same() -> None:
    assert told(ours(S.PARTIAL, "7"), theirs(F, "6")) == (F,)


@pytest.mark.parametrize(("state", "answer", "booked", "path"), CELLS)
def test_every_path_is_one_that_the_state_machine_has(
    state: OrderState, answer: OrderState, booked: bool, path: tuple[OrderState, ...]
) -> None:
    assert all(after in TRANSITIONS[before] for before, after in pairwise((state, *path)))


@pytest.mark.parametrize(
    ("state", "filled", "path"),
    [
        (S.SENDING, "0", (W,)),
        (S.SENDING, "0.5", (W, P)),
        (S.UNKNOWN, "9.5", (W, P)),
        (S.UNKNOWN, "10", (W, F)),
        (S.WORKING, "0", ()),
        (S.WORKING, "0.5", (P,)),
        (S.WORKING, "9.5", (P,)),
        (S.WORKING, "10", (F,)),
        (S.PARTIAL, "9.5", ()),
        (S.PARTIAL, "10", (F,)),
        (S.PENDING_CANCEL, "9.5", ()),
        (S.PENDING_CANCEL, "10", (F,)),
        (S.SUSPENDED, "0", ()),
        (S.SUSPENDED, "9.5", (P,)),
        (S.SUSPENDED, "10", (P, F)),
        *((state, "4", ()) for state in UNTOUCHED),
        *((state, "10", ()) for state in UNTOUCHED),
    ],
)
def test_what_executions_mean(state: OrderState, filled: str, path: tuple[OrderState, ...]) -> None:
    assert executed(ours(state, filled)) == path
    assert all(after in TRANSITIONS[before] for before, after in pairwise((state, *path)))


def test_the_tables_have_every_state() -> None:
    assert set(BOOKED) == set(MISSING) == IN_DOUBT | OPEN
    assert set(BOOKED) | set(UNTOUCHED) == set(OrderState)


def looked(*seconds: float) -> Quarantine:
    quarantine = Quarantine()
    for second in seconds:
        quarantine.not_found("or1-a", NOW + timedelta(seconds=second))
    return quarantine


@pytest.mark.parametrize(
    ("seconds", "passed"),
    [
        ((0, 30, 60, 90, 120), True),
        ((0, 30, 60, 90, 119.9), False),
        ((0, 60, 90, 120), False),
        ((0, 60, 90, 120, 120), False),
        ((0, 120, 60, 90, 30), False),
        ((0, 2, 5, 15, 30, 60, 120), True),
        ((), False),
    ],
    ids=[
        "five looks over two minutes",
        "too soon",
        "too few",
        "the same look twice is one",
        "an older look is none",
        "more looks than needed",
        "never looked",
    ],
)
def test_an_order_never_arrived_after_five_looks_over_two_minutes(seconds: tuple[float, ...], passed: bool) -> None:
    assert looked(*seconds).passed("or1-a") is passed


def test_each_order_has_a_quarantine_of_its_own_which_begins_anew() -> None:
    quarantine = looked(0, 30, 60, 90, 120)
    assert not quarantine.passed("or1-b")
    quarantine.begin("or1-b")
    assert quarantine.passed("or1-a")
    quarantine.begin("or1-a")
    assert not quarantine.passed("or1-a")
