"""What can go wrong, as facts of the business.

Each class names one fact; its attributes are the numbers; its message is one line for the person on call: what
was wrong, where, and what to do. Adapters turn their vendor's exceptions into these. A rule that refuses a
proposal is not an error: it is a `Verdict`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Self


class OrdinisError(Exception):
    """Base of every error that Ordinis raises on purpose."""

    exit_code = 1
    _given: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **named: Any) -> Self:
        error = super().__new__(cls, *args)
        error._given = (args, named)
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is rebuilt from its message by default, and a fact has more to say than that: Ray and process
        # pools would replace the error by a complaint about the arguments of its constructor.
        return _rebuilt, (type(self), *self._given)

    @property
    def code(self) -> str:
        """The class name in kebab case: stable, for logs, problem documents and scripts."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()


def _rebuilt(kind: type[OrdinisError], args: tuple[Any, ...], named: dict[str, Any]) -> OrdinisError:
    return kind(*args, **named)


class ConfigurationError(OrdinisError):
    """A setting, rulebook or reference file does not say what it must."""

    exit_code = 2

    def __init__(self, where: str, problem: str) -> None:
        self.where, self.problem = where, problem
        super().__init__(f"{where}: {problem}")


class DataUnavailable(OrdinisError):
    """A source does not have what was asked of it."""

    exit_code = 3

    def __init__(self, source: str, what: str, advice: str = "") -> None:
        self.source, self.what = source, what
        super().__init__(f"{source} has no {what}" + (f"; {advice}" if advice else ""))


class NoVolume(OrdinisError):
    """A trade is asked for where nothing trades on an average day, so that it is no share of anything."""

    exit_code = 3

    def __init__(self, symbol: str, volume: float) -> None:
        self.symbol, self.volume = symbol, volume
        super().__init__(
            f"{symbol}: an average daily volume of {volume:g} is not above 0; one that is unknown is left out"
        )


class ContractBroken(OrdinisError):
    """A batch breaks its data contract; it is in quarantine and nothing of it was stored."""

    exit_code = 3

    def __init__(self, contract: str, batch: str, reasons: Sequence[str]) -> None:
        self.contract, self.batch, self.reasons = contract, batch, tuple(reasons)
        shown = "; ".join(self.reasons[:3]) + ("; ..." if len(self.reasons) > 3 else "")
        super().__init__(f"batch {batch} breaks contract {contract}: {shown}. See `ordinis data quarantine {batch}`")


class StaleView(OrdinisError):
    """The market view ends before the session that the caller needs."""

    def __init__(self, needed: str, last: str) -> None:
        self.needed, self.last = needed, last
        super().__init__(f"the market view ends at session {last}, {needed} was needed; ingest it first")


class InfeasibleLimits(OrdinisError):
    """No allocation can meet all limits at once.

    Every conflict is an irreducible set: without any one of its limits the others can be met. No two share a limit, and
    without all that are named the request can be met.
    """

    def __init__(self, conflict: Sequence[str], further: Sequence[Sequence[str]] = ()) -> None:
        self.conflict = tuple(conflict)
        self.conflicts = (self.conflict, *(tuple(other) for other in further))
        named = "; nor these: ".join(", ".join(each) for each in self.conflicts)
        super().__init__(f"no allocation meets these limits together: {named}")


class SolverFailed(OrdinisError):
    """A solver stopped without an answer whose certificate holds."""

    def __init__(self, solver: str, status: str) -> None:
        self.solver, self.status = solver, status
        super().__init__(f"{solver} stopped with status {status!r}")


class AllocationRefused(OrdinisError):
    """An allocation answer is unusable: not finite, late, for another question, or it breaks a limit."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"allocation answer refused: {reason}")


class AllocationUnavailable(OrdinisError):
    """The allocation service gave no answer in time."""

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"no allocation from {url}: {reason}")


class InsufficientCash(OrdinisError):
    """A fill or movement would leave the cash balance below zero."""

    def __init__(self, what: str, needed: Decimal, available: Decimal) -> None:
        self.what, self.needed, self.available = what, needed, available
        super().__init__(f"{what}: needs {needed} in cash, {available} available")


class OverrideRefused(OrdinisError):
    """A person's override does not make sense."""

    exit_code = 2

    def __init__(self, kind: str, problem: str) -> None:
        self.kind, self.problem = kind, problem
        super().__init__(f"override {kind}: {problem}")


class NotAdopted(OrdinisError):
    """A person asked to take the broker's word, and it is not yet, or no longer, the time for that."""

    exit_code = 4

    def __init__(self, what: str, problem: str) -> None:
        self.what, self.problem = what, problem
        super().__init__(f"{what} not adopted: {problem}")


class NothingNamed(OrdinisError):
    """A command was not told what to act on."""

    exit_code = 2

    def __init__(self, what: str, problem: str) -> None:
        self.what, self.problem = what, problem
        super().__init__(f"{what}: {problem}")


class ConfirmationMissing(OrdinisError):
    """A person was asked to type a name and typed something else; nothing was done."""

    exit_code = 2

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"nothing was done: {name} was to be typed")


class IllegalTransition(OrdinisError):
    """An order was asked to move between two states that the state machine does not join."""

    def __init__(self, client_order_id: str, before: str, after: str) -> None:
        self.client_order_id, self.before, self.after = client_order_id, before, after
        super().__init__(f"order {client_order_id} cannot go from {before} to {after}")


class LedgerConflict(OrdinisError):
    """The ledger already holds something else under the same key, or was changed by another writer."""

    exit_code = 4

    def __init__(self, what: str, problem: str) -> None:
        self.what, self.problem = what, problem
        super().__init__(f"{what}: {problem}")


class FillChanged(LedgerConflict):
    """The broker tells an execution that is booked already, with other numbers."""

    def __init__(self, exec_id: str) -> None:
        super().__init__(f"fill {exec_id}", "is booked with other numbers; the broker's book changed")


class LedgerDamaged(OrdinisError):
    """The ledger is not what was written: its pages, its chains, or what is derived from them."""

    exit_code = 4

    def __init__(self, table: str, row: str, problem: str) -> None:
        """`row` names a row of `table`; where it is empty, `table` says in words what is damaged."""
        self.table, self.row, self.problem = table, row, problem
        super().__init__(
            f"ledger {self.what}: {problem}. Do not trade on it: put a backup back with `ordinis restore PATH`. The "
            "broker still knows what was executed: the fills since are imported at the next start "
            "(docs/operating.md, A damaged ledger)"
        )

    @property
    def what(self) -> str:
        return f"table {self.table}, row {self.row}" if self.row else self.table


class BackupUnusable(OrdinisError):
    """A backup was not made, or is not one; the ledger is as it was."""

    exit_code = 4

    def __init__(self, path: str, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"backup {path}: {problem}; the ledger was left as it is")


class StoreUnavailable(OrdinisError):
    """The database did not answer: locked, full, missing, or of another version."""

    exit_code = 4

    def __init__(self, url: str, problem: str) -> None:
        self.url, self.problem = url, problem
        super().__init__(f"store {url}: {problem}")


class AnotherWriter(OrdinisError):
    """Another execution actor holds the ledger."""

    exit_code = 4

    def __init__(self, holder: str, fence: int = 0, until: str = "") -> None:
        """`until` is when its lease ends; empty, as is `fence`, where it has none."""
        self.holder, self.fence, self.until = holder, fence, until
        lease = f" (fence {fence}, lease until {until})" if until else ""
        super().__init__(
            f"the ledger is held by {holder}{lease}; stop that actor first. A dead one is replaced at once, one that "
            "hangs when its lease has ended (docs/operating.md, Two actors)"
        )


class LeaseLost(OrdinisError):
    """Another execution actor has taken the ledger over from this one, which may write and send nothing more."""

    exit_code = 4

    def __init__(self, account: str, fence: int, holder: str, newer: int) -> None:
        self.account, self.fence, self.holder, self.newer = account, fence, holder, newer
        super().__init__(
            f"account {account} was taken over by {holder}, fence {newer}: this process, fence {fence}, had not "
            "renewed its lease, or had lost its connection. It stops and sends nothing more; the other goes on with "
            "its orders (docs/operating.md, Two actors)"
        )


class NotReconciled(OrdinisError):
    """The broker's book and the ledger disagree, or could not be compared."""

    exit_code = 5

    def __init__(self, differences: Sequence[str]) -> None:
        self.differences = tuple(differences)
        super().__init__("not reconciled, so not trading: " + "; ".join(self.differences))


class ClocksDiffer(NotReconciled):
    """The broker's clock and ours are too far apart for anything that one of them dates to be believed."""


class TradingStopped(OrdinisError):
    """Trading is halted or killed, and only a person may start it again."""

    exit_code = 5

    def __init__(self, state: str, reason: str, by: str) -> None:
        self.state, self.reason, self.by = state, reason, by
        super().__init__(f"trading is {state} since {by} said: {reason}. `ordinis resume --reason ...` to start again")


class BrokerUnavailable(OrdinisError):
    """The broker did not answer a query; nothing may be inferred from that."""

    exit_code = 5

    def __init__(self, query: str, reason: str) -> None:
        self.query, self.reason = query, reason
        super().__init__(f"the broker did not answer {query}: {reason}")


class ReplayDiffers(OrdinisError):
    """A stored decision was computed again and came out otherwise."""

    exit_code = 6

    def __init__(self, decision: str, differences: Sequence[str]) -> None:
        self.decision, self.differences = decision, tuple(differences)
        super().__init__(f"decision {decision} does not replay: " + "; ".join(self.differences[:5]))


class ProcessFailed(OrdinisError):
    """A process that Ordinis started ended or did not become ready."""

    exit_code = 7

    def __init__(self, name: str, problem: str, log: str = "") -> None:
        self.name, self.problem, self.log = name, problem, log
        super().__init__(f"{name}: {problem}" + (f"; its log is {log}" if log else ""))


class NotFound(OrdinisError):
    """A person asked for something that does not exist."""

    exit_code = 8

    def __init__(self, kind: str, name: str, advice: str = "") -> None:
        self.kind, self.name = kind, name
        super().__init__(f"no {kind} {name!r}" + (f"; {advice}" if advice else ""))
