"""Commands with which a person stops, slows and overrides trading: kill, halt, reduce, resume, override, baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ordinis.cli.app import AsJson, app, confirmed, console, operator, show
from ordinis.domain.limits import TradingState
from ordinis.domain.overrides import Override, OverrideKind, agree
from ordinis.errors import NothingNamed

if TYPE_CHECKING:
    from ordinis.execution.kill import Step
    from ordinis.settings import Settings

override = typer.Typer(
    help="Hold, cap or freeze one symbol against the model, for a while. The tighter of override and limit wins.",
    no_args_is_help=True,
)
app.add_typer(override, name="override")


def _readable(text: str) -> str:
    """As UTF-8 can write it, whatever the terminal's encoding is: no reason is one not to stop."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


Why = Annotated[str, typer.Option(help="Why; kept in the ledger.", callback=_readable)]
Symbol = Annotated[str, typer.Argument(help="Symbol of the universe or of a holding.")]
Kind = Annotated[
    OverrideKind,
    typer.Argument(help="pin, max and min take a weight; no_trade, reduce_only none. See `ordinis baseline` too."),
]
Days = Annotated[int, typer.Option(min=1, max=3650, help="Calendar days until it ends by itself.")]


@app.command()
def kill(reason: Why) -> None:
    """Stop trading now. Needs neither Ray, Prefect nor the allocation service.

    Each step is tried whatever became of the others; the exit code is 1 when any of them failed.
    """
    from ordinis import bootstrap
    from ordinis.clock import SystemClock
    from ordinis.errors import ConfigurationError
    from ordinis.execution.kill import kill as stop
    from ordinis.settings import Whereabouts, load

    try:
        flag = load().kill_flag
    except ConfigurationError:
        # The flag stops every order by itself; the other steps will say what is wrong with the settings.
        flag = Whereabouts().kill_flag
    steps = stop(
        flag,
        lambda: bootstrap.ledger_for_control(load()),
        lambda: bootstrap.broker_for_control(load()),
        reason=reason,
        by=operator(),
        at=SystemClock().now(),
    )
    _show_steps("Kill", steps)


@app.command()
def halt(reason: Why) -> None:
    """Send no order until `ordinis resume`; orders that are open at the broker are cancelled by the actor."""
    _slow_down(TradingState.HALTED, reason)


@app.command()
def reduce(reason: Why) -> None:
    """Send sales only until `ordinis resume`: nothing may be added to the book."""
    _slow_down(TradingState.REDUCING, reason)


@app.command()
def resume(
    reason: Annotated[str, typer.Option(help="Why it is safe to trade again; kept in the ledger.")],
    symbol: Annotated[
        str | None, typer.Option(help="Lift the lock of this symbol instead, once its difference is gone.")
    ] = None,
) -> None:
    """Trade again after a kill or a halt, once the ledger and the broker agree."""
    from ordinis import bootstrap
    from ordinis.execution.control import resume as release
    from ordinis.execution.control import unlock
    from ordinis.settings import load

    name = "" if symbol is None else _symbol(symbol)
    settings = load()
    # On the market's own clock: whether a loss came before or after this counts.
    ledger, by, at = bootstrap.ledger_for_control(settings), operator(), bootstrap.market_now(settings)

    def reconcile() -> str:
        return bootstrap.reconcile_now(settings, lifting=name)

    if name:
        _show_steps("Unlock", unlock(name, ledger, reconcile, reason=reason, by=by, at=at))
        return
    broker = bootstrap.broker_for_control(settings)
    _show_steps("Resume", release(settings.kill_flag, ledger, broker, reconcile, reason=reason, by=by, at=at))


class Cause(StrEnum):
    """What a difference is, in the end."""

    CORRECTION = "correction"
    """Profit or loss: an execution, a dividend or a fee that was never told."""
    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    TRANSFER = "transfer"
    """Units or money that people moved: neither profit nor loss."""


@app.command()
def adopt(
    reason: Annotated[str, typer.Option(help="Why the broker is right; kept in the ledger.")],
    cause: Annotated[
        Cause,
        typer.Option("--as", help="correction is profit or loss, the others are money or units that people moved."),
    ],
    symbol: Annotated[str | None, typer.Argument(help="A locked symbol.")] = None,
    cash: Annotated[bool, typer.Option("--cash", help="The cash, while trading is halted for it.")] = False,
) -> None:
    """Book what the broker has more or less than the ledger. Nothing is traded.

    For a difference that no execution and no movement explains, after its cause is known: an order whose execution the
    broker never reports, a transfer that it books without a word. `ordinis resume` then lifts the lock or the halt.
    """
    from ordinis import bootstrap
    from ordinis.settings import load

    name = "" if symbol is None else _symbol(symbol)
    if bool(name) == cash:
        raise NothingNamed("adopt", "name a symbol, or --cash")
    row = bootstrap.adopt_now(load(), name, cause.value, reason=reason, by=operator())
    told = f"{row.quantity:+} units of {name}" if name else f"cash {row.cash:+}"
    lifted = f"ordinis resume --symbol {name}" if name else "ordinis resume"
    console.print(f"Booked as a {row.kind}: {told}. `{lifted} --reason ...` lets it trade again.")


@override.command("set")
def override_set(
    symbol: Symbol,
    kind: Kind,
    reason: Why,
    weight: Annotated[float | None, typer.Argument(help="Fraction of equity, such as 0.05.")] = None,
    days: Days = 7,
) -> None:
    """Override the model in one symbol from the next decision on; unsent orders that it forbids stay unsent."""
    from ordinis import bootstrap
    from ordinis.settings import load

    settings = load()
    row = _written(settings, bootstrap.traded_symbol(settings, symbol), kind, weight, reason, days)
    console.print(
        f"{row.symbol}: {_told(row)} until {row.expires_at:%Y-%m-%d %H:%M} UTC. "
        f"`ordinis override lift {row.symbol} {row.kind} --reason ...` ends it."
    )


@override.command("lift")
def override_lift(symbol: Symbol, kind: Kind, reason: Why) -> None:
    """End an override now."""
    from ordinis.settings import load

    row = _lifted(load(), symbol.upper(), kind, reason)
    console.print(f"{row.symbol}: {_told(row)} of {row.by} is lifted.")


@override.command("list")
def override_list(as_json: AsJson = False) -> None:
    """Show the overrides in force, with author, reason and end."""
    from ordinis import bootstrap
    from ordinis.settings import load

    settings = load()
    ledger, now = bootstrap.ledger_for_control(settings), bootstrap.market_now(settings)
    with ledger.begin(write=False) as unit:
        found = unit.control.overrides(now)
    rows = [
        (
            o.symbol or "(account)",
            o.kind,
            "" if o.value is None else o.value,
            o.by,
            o.reason,
            f"{o.at:%Y-%m-%d %H:%M}",
            f"{o.expires_at:%Y-%m-%d %H:%M}",
        )
        for o in found
    ]
    show("Overrides", ("symbol", "kind", "weight", "by", "reason", "since (UTC)", "until (UTC)"), rows, as_json)


@app.command()
def baseline(
    reason: Why,
    days: Days = 30,
    lift: Annotated[bool, typer.Option("--lift", help="Let the model answer again.")] = False,
) -> None:
    """Roll back to the baseline: from the next decision on it answers instead of the model.

    What is left unsent of the model's last decision stays unsent. The same limits and gates apply, and no code of a
    model is loaded.
    """
    from ordinis.settings import load

    settings = load()
    if lift:
        row = _lifted(settings, "", OverrideKind.BASELINE, reason)
        console.print(f"{settings.allocator} answers again; {row.by} had asked for {settings.baseline}.")
        return
    row = _written(settings, "", OverrideKind.BASELINE, None, reason, days)
    console.print(
        f"{settings.baseline} answers from the next decision on, until {row.expires_at:%Y-%m-%d %H:%M} UTC. "
        "`ordinis baseline --lift --reason ...` ends it."
    )


@app.command()
def flatten(
    reason: Why,
    days: Days = 30,
    lift: Annotated[bool, typer.Option("--lift", help="Let the book be built again.")] = False,
) -> None:
    """Sell everything from the next decision on, and buy nothing, under the same gates and limits.

    To stop at once instead, and keep what is held, use `ordinis kill`.
    """
    from ordinis.settings import load

    settings = load()
    if lift:
        row = _lifted(settings, "", OverrideKind.FLAT, reason)
        console.print(f"The book may be built again; {row.by} had asked for everything to be sold.")
        return
    confirmed(settings, "Everything held will be sold.")
    row = _written(settings, "", OverrideKind.FLAT, None, reason, days)
    console.print(
        f"Everything is sold from the next decision on, and nothing bought until {row.expires_at:%Y-%m-%d %H:%M} UTC. "
        "`ordinis flatten --lift --reason ...` ends it."
    )


@dataclass(frozen=True)
class Said:
    """What people and breakers have said of trading."""

    state: str
    """A trading state, or why it cannot be told."""
    reason: str
    by: str
    kill_flag: str
    """Its path while it is set."""
    locks: Mapping[str, str]
    """Why, by symbol."""
    overrides: int

    @property
    def lines(self) -> list[str]:
        told = [f"Trading is {self.state}" + (f" since {self.by} said: {self.reason}" if self.by else "")]
        told += [f"The kill flag {self.kill_flag} is set"] if self.kill_flag else []
        told += [f"{symbol} is locked: {why}" for symbol, why in self.locks.items()]
        return told + ([f"{self.overrides} overrides are in force: `ordinis override list`"] if self.overrides else [])


def said(settings: Settings) -> Said:
    """What is in force now, as far as it can be read."""
    from ordinis import bootstrap
    from ordinis.errors import NotFound, OrdinisError

    flag = str(settings.kill_flag) if settings.kill_flag.exists() else ""
    try:
        ledger, now = bootstrap.ledger_for_control(settings), bootstrap.market_now(settings)
        with ledger.begin(write=False) as unit:
            row, locks, wishes = unit.control.state(), unit.control.locks(), unit.control.overrides(now)
    except NotFound:
        return Said("not begun: there is no ledger yet", "", "", flag, {}, 0)
    except OrdinisError as error:
        return Said(f"not known: {error}", "", "", flag, {}, 0)
    return Said(
        str(TradingState.ACTIVE if row is None else row.state),
        "" if row is None else row.reason,
        "" if row is None else row.by,
        flag,
        {lock.symbol: f"{lock.by} said: {lock.reason}" for lock in locks},
        len(wishes),
    )


def _slow_down(state: TradingState, reason: str) -> None:
    from ordinis import bootstrap
    from ordinis.clock import SystemClock
    from ordinis.execution.control import slow_down
    from ordinis.settings import load

    ledger, by = bootstrap.ledger_for_control(load()), operator()
    console.print(slow_down(ledger, state, reason=reason, by=by, at=SystemClock().now()))


def _symbol(name: str) -> str:
    """A symbol that was typed; an empty one is a script's variable that was not set."""
    if not name.strip():
        raise NothingNamed("symbol", "is empty")
    return name.strip().upper()


def _written(
    settings: Settings, symbol: str, kind: OverrideKind, weight: float | None, reason: str, days: int
) -> Override:
    from ordinis import bootstrap

    ledger, at = bootstrap.ledger_for_control(settings), bootstrap.market_now(settings)
    row = Override(symbol, kind, weight, operator(), reason, at, at + timedelta(days=days))
    with ledger.begin() as unit:
        agree(row, unit.control.overrides(at))
        unit.control.override(row)
        standing = unit.control.state()
        unit.commit()
    if standing is not None and standing.state in (TradingState.HALTED, TradingState.KILLED):
        console.print(f"Trading is {standing.state}: nothing of this happens before `ordinis resume`.")
    return row


def _lifted(settings: Settings, symbol: str, kind: OverrideKind, reason: str) -> Override:
    from ordinis import bootstrap
    from ordinis.execution.control import lift

    ledger = bootstrap.ledger_for_control(settings)
    return lift(ledger, symbol, kind, reason=reason, by=operator(), at=bootstrap.market_now(settings))


def _told(row: Override) -> str:
    return f"{row.kind}" if row.value is None else f"{row.kind} {row.value:.2%}"


def _show_steps(title: str, steps: Sequence[Step]) -> None:
    rows = [(step.name, "done" if step.done else "FAILED", step.detail) for step in steps]
    show(title, ("step", "result", "detail"), rows)
    if any(row[1] == "FAILED" for row in rows):
        raise typer.Exit(1)
