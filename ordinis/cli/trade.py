"""Commands of the trading desk: trade, limits, explain, replay, and the simulated venue."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from ordinis.cli.app import AsJson, app, console, errors, show

if TYPE_CHECKING:
    from ordinis.domain.market import MarketEvent
    from ordinis.ports import Ledger
    from ordinis.settings import Settings


@app.command()
def trade(
    replay: Annotated[
        bool, typer.Option("--replay", help="Live through the replayed sample market; the only market so far.")
    ] = True,
    sessions: Annotated[int | None, typer.Option(min=1, help="Stop after this many sessions.")] = None,
    local: Annotated[bool, typer.Option("--local", help="Ask an allocator in this process, not the service.")] = False,
    nightly: Annotated[
        bool, typer.Option("--nightly", help="After each close start the nightly flow and wait until it is done.")
    ] = False,
) -> None:
    """Run the execution actor: decide once a session, check, trade, book.

    It goes on where the ledger says it stopped, after a reconciliation with the broker.
    """
    from ordinis import bootstrap
    from ordinis.clock import trading_calendar
    from ordinis.domain.market import TradingWindow
    from ordinis.errors import ConfigurationError
    from ordinis.execution.replaying import live_through, pause, resume_session, start_clock
    from ordinis.settings import load

    if not replay:
        raise ConfigurationError("trade", "the sample market can only be replayed")
    settings = load()
    bootstrap.logging_to()
    calendar = trading_calendar()
    book = bootstrap.ledger(settings)
    book.claim()
    first = resume_session(book, calendar, settings.replay_first)
    last = settings.replay_last
    if sessions is not None:
        covered = calendar.between(first, last)
        last = covered[min(sessions, len(covered)) - 1] if covered else last
    if first > last:
        console.print(f"Nothing to do: the ledger is at session {calendar.previous_session(first)}.")
        return
    clock = start_clock(calendar, first, bootstrap.venue_time(settings))
    actor = bootstrap.actor(settings, clock, book, remote=not local)

    def after_close(session: date) -> None:
        if nightly:
            _run_nightly(settings, session, book)
        if session < last:
            pause(book, settings.replay_seconds)

    def before(event: MarketEvent) -> None:
        if isinstance(event, TradingWindow):
            bootstrap.take_up_costs(settings, actor)
            bootstrap.take_up_exposures(settings, actor)

    events = bootstrap.source(settings).stream(bootstrap.universe(settings), first, last)
    live_through(actor, clock, events, after_close, before)
    answers = sorted(actor.latencies)
    if answers:
        p50, p99 = answers[len(answers) // 2], answers[min(len(answers) - 1, int(len(answers) * 0.99))]
        console.print(f"{len(answers)} allocations asked, p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms")
    console.print(f"Traded sessions {first} to {last}.")


def _run_nightly(settings: Settings, session: date, book: Ledger) -> None:
    from ordinis import bootstrap
    from ordinis.operations.prefect_api import after_close

    jobs = bootstrap.jobs(settings)

    def done() -> bool:
        book.renew()
        return jobs.done("nightly", session)

    after_close(settings, session, done)


@app.command()
def venue() -> None:
    """Run the simulated broker as a program of its own, with its book in its own file."""
    import uvicorn

    from ordinis import bootstrap
    from ordinis.settings import load

    settings = load()
    application = bootstrap.venue(settings)
    uvicorn.run(application, host=settings.host, port=settings.venue_port, log_level="warning", access_log=False)


@app.command()
def explain(
    order: Annotated[str, typer.Argument(help="The beginning of an order's id, or a symbol: its newest order.")],
    as_json: AsJson = False,
) -> None:
    """Show where an order came from: what happened to it, the decision, limits, allocator and data behind it."""
    from ordinis import bootstrap
    from ordinis.domain.canonical import canonical
    from ordinis.monitoring.explanation import explain as look_up
    from ordinis.settings import load

    found = look_up(bootstrap.ledger_for_control(load()), order)
    if as_json:
        print(canonical(found))
        return
    row, decision, asked = found.order, found.decision, found.inputs
    shortfall = "" if found.shortfall is None else f", cost {found.shortfall:.2f} bp of the price it was planned at"
    answered = found.answered.get(row.symbol, 0.0)
    console.print(
        f"Order {row.client_order_id}, attempt {row.attempt}\n"
        f"  {row.side} {row.quantity} {row.symbol}: {row.state}, {row.filled_quantity} executed{shortfall}\n"
        f"Decision {decision.id[:12]} of session {asked['session']}, {decision.status} by {decision.approved_by}\n"
        f"  {decision.model_sha} ({decision.source}) asked for {answered:.2%} of equity, the rules left "
        f"{decision.weights.get(row.symbol, 0.0):.2%}, held were {found.held:.2%}\n"
        f"  seen: {len(asked['view']['symbols'])} symbols through {asked['view']['through']}, "
        f"view {asked['view']['sha'][:12]}; regime {', '.join(f'{k} {v}' for k, v in asked['regime'].items())}"
        + (f"\n  {decision.reason}" if decision.reason else ""),
        highlight=False,
        soft_wrap=True,
    )
    show("What happened", ("at", "told by", "what"), [(h.at, h.source, h.what) for h in found.happenings])
    if found.cancels:
        show("Cancels", ("at", "by", "reason"), [(c.requested_at, c.by, c.reason) for c in found.cancels])
    checks = [(v.rule, v.limit, v.value, v.passed, v.detail) for v in found.verdicts]
    show("Limits", ("rule", "limit", "value", "passed", "detail"), checks)


@app.command()
def replay(
    decision: Annotated[str, typer.Argument(help="Id of a decision, or its beginning; without one, all of them.")] = "",
) -> None:
    """Recompute stored decisions from their stored inputs: the same bytes, or the difference.

    Without a decision the whole ledger is repeated: every decision recomputed, every order traded again at a fresh
    venue, and the two ledgers compared.
    """
    from ordinis import bootstrap
    from ordinis.settings import load

    settings = load()
    if decision:
        again = bootstrap.recompute(settings, decision)
        row = again.draft.decision
        console.print(f"Decision {row.id[:12]} of {again.question.session}: recomputed, the same to the byte.")
        return
    count = 0

    def on_decision(_: object) -> None:
        nonlocal count
        count += 1
        if count % 50 == 0:
            errors.print(f"{count} decisions recomputed")

    text = bootstrap.replay_ledger(settings, on_decision)
    console.print(
        f"{count} decisions recomputed and traded again: {len(text.splitlines())} ledger lines, the same to the byte."
    )
