"""Days of an order engine as a story that hypothesis tells: each rule is a sentence, after which the books are read.

A story that ends badly is shrunk and printed as the few sentences that matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import wraps
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from ordinis.brokers.simulated import AMENDED
from ordinis.domain.limits import TradingState
from ordinis.execution.control import resume, unlock
from ordinis.execution.killpoints import KillPoint
from tests.brokers.market import CALENDAR, SYMBOLS
from tests.execution import inspection
from tests.execution.stage import LIMITS, MINUTE, WAYS, Stage

COUNT = st.integers(1, 3)
SEVERITY = st.sampled_from([0.1, 0.5, 0.9])
SYMBOL = st.sampled_from(SYMBOLS)
P = KillPoint
ON_THE_WAY = (P.INTENT, P.SENDING, P.WIRE, P.REPLIED, P.ACKNOWLEDGED, P.FILLED, P.CANCELLING)
SHARES = st.dictionaries(SYMBOL, st.integers(1, 60), min_size=1, max_size=2)
WAY, IN_FORCE = st.sampled_from(sorted(WAYS)), st.sampled_from([1, 7])
FATES = {
    "lost": ("request lost",),
    "late": ("request late",),
    "late, and refused when sent again": ("request late", "refused"),
    "taken, and the reply is lost": ("reply lost",),
    "taken, and not found at first": ("reply lost", "not found at first"),
    "refused": ("refused",),
}
REPORTS = {"reported late": ("reported late",), "reported twice and out of order": ("reported twice", "reordered")}


def sentence(**given: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A rule, after which the books are looked at; a rule of its own for that would fill the printed story."""

    def told(act: Callable[..., None]) -> Callable[..., None]:
        @wraps(act)
        def then_look(self: Stage, **drawn: Any) -> None:
            act(self, **drawn)
            self.look_at_the_books()

        looked: Callable[..., None] = rule(**given)(then_look)  # type: ignore[call-overload]
        return looked

    return told


class OrderEngineStory(Stage):
    @initialize(dedupes=st.booleans())
    def the_account_is_opened(self, dedupes: bool) -> None:
        """`dedupes`: the broker knows a client order id again, so that a second copy is harmless."""
        self.connect(dedupes)
        self._go_on(look=True)
        self._decide({"AAPL": 25, "KO": 25}, {}, MINUTE)
        assert self.reference.units["AAPL"] > 0

    # decisions and time

    @sentence(buy=SHARES, executed=WAY, minutes=IN_FORCE)
    def a_decision_to_buy(self, buy: dict[str, int], executed: str, minutes: int) -> None:
        """`buy` in percent of the opening cash: as much as three positions may be, and more."""
        self._trade(buy, {}, executed, minutes)

    @sentence(sell=SHARES, executed=WAY, minutes=IN_FORCE)
    def a_decision_to_sell(self, sell: dict[str, int], executed: str, minutes: int) -> None:
        """`sell` in percent of what is held."""
        self._trade({}, sell, executed, minutes)

    @sentence(sell=SHARES, buy=SHARES, executed=WAY, minutes=IN_FORCE)
    def a_decision_to_shift(self, sell: dict[str, int], buy: dict[str, int], executed: str, minutes: int) -> None:
        self._trade(buy, sell, executed, minutes)

    @sentence(seconds=st.sampled_from([1, 10, 35, 60, 150, 600]))
    def time_passes(self, seconds: int) -> None:
        self._pass(timedelta(seconds=seconds))
        self._go_on()

    @sentence()
    def two_minutes_pass_in_small_steps(self) -> None:
        for _ in range(6):
            self._pass(timedelta(seconds=25))
            self._go_on()

    @sentence()
    def the_exchange_closes_for_the_night(self) -> None:
        session = CALENDAR.session_of(self.clock.now())
        self._pass(CALENDAR.closes(session) + MINUTE - self.clock.now())
        self._go_on()
        self._pass(CALENDAR.opens(CALENDAR.next_session(session)) + 30 * MINUTE - self.clock.now())
        self._go_on()

    @sentence()
    def the_books_are_compared(self) -> None:
        self._go_on(look=True)

    # the venue

    @sentence(symbol=SYMBOL)
    def trading_in_a_symbol_is_halted(self, symbol: str) -> None:
        self.halts.append((symbol, self.clock.now(), self.clock.now() + 5 * MINUTE))

    @sentence(which=st.integers(0, 9))
    def the_venue_ends_an_order(self, which: int) -> None:
        working = self.venue.open_orders().value
        if working:
            self.venue.cancel(working[which % len(working)].client_order_id)

    @sentence(which=st.integers(0, 9), corrected=st.sampled_from([None, "0.99", "1.01"]))
    def an_execution_is_taken_back(self, which: int, corrected: str | None) -> None:
        done = [f for f in self.venue.fills(inspection.EPOCH).value if not f.exec_id.endswith(AMENDED)]
        if done:
            fill = done[-1 - which % len(done)]
            price = None if corrected is None else (fill.price * Decimal(corrected)).quantize(Decimal("0.000001"))
            self.venue.bust(fill.exec_id, price)

    @sentence(symbol=SYMBOL, ratio=st.sampled_from([None, "2", "1.5", "0.5"]))
    def a_split_or_a_dividend(self, symbol: str, ratio: str | None) -> None:
        """A dividend without a `ratio`."""
        self.number += 1
        if ratio is None:
            self.venue.dividend(f"dividend-{self.number}", symbol, Decimal("0.37"))
        else:
            self.venue.split(f"split-{self.number}", symbol, Decimal(ratio))

    # the wire

    @sentence(are=st.sampled_from(sorted(FATES)), times=COUNT, badly=SEVERITY)
    def the_next_orders(self, are: str, times: int, badly: float) -> None:
        for fault in FATES[are]:
            self.faults.ask(fault, times, badly)

    @sentence(times=COUNT, of=st.sampled_from(["", "order "]), old=st.booleans())
    def the_next_queries_fail(self, times: int, of: str, old: bool) -> None:
        """All queries, or those for orders; an `old` answer is no answer either."""
        self.faults.ask("answer is old" if old else "query fails", times, subject=of)

    @sentence(are=st.sampled_from(sorted(REPORTS)), times=COUNT, badly=SEVERITY)
    def the_next_executions(self, are: str, times: int, badly: float) -> None:
        for fault in REPORTS[are]:
            self.faults.ask(fault, times, badly)

    @sentence(times=COUNT, badly=SEVERITY)
    def the_next_cancels_are_lost(self, times: int, badly: float) -> None:
        self.faults.ask("cancel lost", times, badly)

    @sentence(buy=SHARES, executed=WAY, heard=st.booleans())
    def the_time_of_a_decision_ends_while_cancels_are_lost(
        self, buy: dict[str, int], executed: str, heard: bool
    ) -> None:
        """`heard`: by the venue, so that the answers alone are lost."""
        self._trade(buy, {}, executed, 1)
        self.faults.ask("cancel lost", len(buy), 0.9 if heard else 0.1)
        self._pass(MINUTE)
        self._go_on()

    # the process

    @sentence()
    def the_engine_is_started_anew(self) -> None:
        self.engine = None
        self._go_on()

    @sentence(steps=st.integers(1, 12))
    def the_process_will_die(self, steps: int) -> None:
        """At its `steps`-th kill point from now."""
        self.plans = [*[lambda: None] * (steps - 1), self._die]

    @sentence(after=st.sampled_from(ON_THE_WAY))
    def the_process_will_die_halfway(self, after: KillPoint) -> None:
        """The next time that an order has come so far."""
        self.dies_after = after

    @sentence(buy=SHARES, minutes=IN_FORCE, away=st.sampled_from([1, 150, 600]))
    def the_process_dies_before_it_sends(self, buy: dict[str, int], minutes: int, away: int) -> None:
        """`away`: seconds until it is started again."""
        self.dies_after = P.INTENT
        self._trade(buy, {}, "at once", minutes)
        self._pass(timedelta(seconds=away))
        self._go_on()

    # people

    @precondition(lambda self: self._busy())
    @sentence(steps=st.integers(0, 6))
    def somebody_kills_trading(self, steps: int) -> None:
        """At once, or at the engine's `steps`-th kill point from now."""
        if steps:
            self.plans = [*[lambda: None] * (steps - 1), self._kill]
        else:
            self._kill()

    @precondition(lambda self: self._busy() and self.reference.state == "ACTIVE")
    @sentence(state=st.sampled_from([TradingState.REDUCING, TradingState.HALTED]))
    def somebody_slows_trading_down(self, state: TradingState) -> None:
        self._control(state)

    @precondition(lambda self: self.reference.state != "ACTIVE")
    @sentence()
    def somebody_resumes_trading(self) -> None:
        steps = self._lift("", lambda look: resume(
            self.flag, self.ledger, self.broker, look, reason="looked", by="anna", at=self.clock.now()
        ))  # fmt: skip
        assert not all(step.done for step in steps) or (self.reference.state == "ACTIVE" and not self.flag.exists())

    @precondition(lambda self: self._busy() and not self.reference.locked)
    @sentence(symbol=SYMBOL)
    def somebody_locks_a_symbol(self, symbol: str) -> None:
        self._control(TradingState.HALTED, symbol)

    @precondition(lambda self: self.reference.locked)
    @sentence()
    def somebody_unlocks_a_symbol(self) -> None:
        symbol = min(self.reference.locked)
        self._lift(symbol, lambda look: unlock(
            symbol, self.ledger, look, reason="counted", by="anna", at=self.clock.now()
        ))  # fmt: skip

    @sentence(position_cap=st.sampled_from([0.2, 0.4]))
    def somebody_edits_the_limits(self, position_cap: float) -> None:
        """New limits come with a new start, and what was decided under the old ones is not sent any more."""
        self.revision += 1
        self._edit_limits(replace(LIMITS, position_cap=position_cap))
        self.engine = None
        self._go_on()
