"""Commands of the operator: up, down, status, flows, and the report."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ordinis.cli.app import AsJson, app, console, show

if TYPE_CHECKING:
    from ordinis.operations.prefect_api import FlowRun
    from ordinis.settings import Settings

flow = typer.Typer(help="Start flows as their schedules would, and see what is planned.", no_args_is_help=True)
app.add_typer(flow, name="flow")
Again = Annotated[bool, typer.Option("--again", help="Also what is done: over the same data it changes nothing.")]
BACKFILLED = ("ingest", "calibration", "attribution")
PATIENCE = 120.0
"""Seconds in which a server may restart while a backfill is followed."""
SESSION_SECONDS = 120.0
"""A backfill is given up after so many for each session."""
Session = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Session; without one, the last.")]


@app.command()
def up(
    only: Annotated[
        list[str] | None, typer.Option(help="Start this program alone; may be given more than once.")
    ] = None,
) -> None:
    """Start everything: Prefect and its worker, Ray, the allocation service, the venue and the actor.

    Sessions of the sample market are replayed, one every few seconds; each close starts the nightly flow, and the next
    session waits for it. What runs already is left alone.
    """
    from ordinis.operations.stack import up as start
    from ordinis.settings import load

    settings = load()
    fill_store(settings)
    start(settings, only, lambda name, what: console.print(f"{name}: {what}"))
    console.print(f"\nPrefect asks for the user and password in {settings.prefect_password_path}.")
    console.print("`ordinis status` shows where each program answers, `ordinis down` stops them all.")


def fill_store(settings: Settings) -> None:
    """Bring in the sessions before the first replayed one, unless they are there."""
    from ordinis import bootstrap
    from ordinis.clock import trading_calendar
    from ordinis.errors import DataUnavailable

    before = trading_calendar().previous_session(settings.replay_first)
    try:
        ready = bootstrap.bar_store(settings).complete_through(bootstrap.universe(settings)) >= before
    except DataUnavailable:
        ready = False
    if not ready:
        report = bootstrap.backfill(settings, before)
        console.print(f"data: {report.new} bars through {before}")


@app.command()
def down() -> None:
    """Stop everything that `ordinis up` started, and leave no process behind."""
    from ordinis.operations.stack import down as stop
    from ordinis.settings import load

    stop(load(), lambda name, what: console.print(f"{name}: {what}"))


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show every program, whether it runs, is ready and where it answers, and whether trading is stopped.

    Exit code 1 when a program is not ready.
    """
    from ordinis.cli.control import said
    from ordinis.operations.stack import status as ask
    from ordinis.settings import load

    settings = load()
    found = ask(settings)
    rows = [(p.name, p.pid or "", p.running, p.ready, p.url, p.detail) for p in found]
    columns, trading = ("program", "pid", "running", "ready", "address", "detail"), said(settings)
    if as_json:
        programs = [dict(zip(columns, row, strict=True)) for row in rows]
        print(json.dumps({"programs": programs, "trading": asdict(trading)}, default=str, indent=2))
    else:
        show("Ordinis", columns, rows)
        for line in trading.lines:
            console.print(line, soft_wrap=True)
    if not all(p.ready for p in found):
        raise typer.Exit(1)


@flow.command("run")
def flow_run(
    name: Annotated[str, typer.Argument(help="ingest, calibration, attribution, report or nightly.")],
    session: Session = None,
    again: Again = False,
) -> None:
    """Start a run of the deployment, the same that the schedule starts, and follow it to its end."""
    from ordinis.errors import ProcessFailed
    from ordinis.operations.prefect_api import PrefectApi
    from ordinis.settings import load

    settings = load()
    parameters: dict[str, object] = {} if session is None else {"session": session.date().isoformat()}
    parameters |= {"again": True} if again else {}
    with PrefectApi(settings) as prefect:
        begun = prefect.run(name, parameters)
        console.print(f"{name}: run {begun.name}")
        run = prefect.follow(begun.id, _tell)
    if run.kind != "COMPLETED":
        raise ProcessFailed(f"flow {name}", f"run {run.name} ended {run.state}: {run.message}")


@flow.command("backfill")
def flow_backfill(
    step: Annotated[str, typer.Argument(help="ingest, calibration or attribution.")],
    first: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First session.")],
    last: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last session.")],
    again: Again = False,
) -> None:
    """Do one step of the night for a range of sessions, and show how far it is.

    Sessions that are done are left alone, so it may be stopped and started again at any moment.
    """
    from rich.progress import Progress

    from ordinis import bootstrap
    from ordinis.clock import trading_calendar
    from ordinis.errors import ConfigurationError, ProcessFailed
    from ordinis.operations.prefect_api import PrefectApi
    from ordinis.persistence.jobs import JobStatus
    from ordinis.settings import load

    if step not in BACKFILLED:
        raise ConfigurationError("backfill", f"{step!r} is not {', '.join(BACKFILLED)}")
    settings = load()
    sessions = set(trading_calendar().between(first.date(), last.date()))
    if not sessions:
        raise ConfigurationError("backfill", f"there is no session from {first.date()} to {last.date()}")
    jobs = bootstrap.jobs(settings)
    dates = {"first": first.date().isoformat(), "last": last.date().isoformat()}
    parameters: dict[str, object] = {"step": step, **dates, "again": again}
    with PrefectApi(settings, PATIENCE) as prefect, Progress(console=console) as progress:
        bar = progress.add_task(f"{step} of {len(sessions)} sessions", total=len(sessions))

        def show_progress() -> None:
            done = {run.logical_date for run in jobs.runs(step) if run.status is JobStatus.DONE}
            progress.update(bar, completed=len(done & sessions))

        begun = prefect.run("backfill", parameters)
        run = prefect.follow(begun.id, timeout=len(sessions) * SESSION_SECONDS, on_poll=show_progress)
        show_progress()
    console.print(f"{run.state}: {run.message}", highlight=False)
    if run.kind != "COMPLETED":
        raise ProcessFailed("backfill", f"run {run.name} ended {run.state}: {run.message}")


def _tell(run: FlowRun) -> None:
    console.print(f"  {run.state}" + (f": {run.message}" if run.message else ""), highlight=False)


@flow.command("schedules")
def flow_schedules(as_json: AsJson = False) -> None:
    """List the schedules that the server follows, with the next run of each."""
    from ordinis.operations.prefect_api import PrefectApi
    from ordinis.settings import load

    with PrefectApi(load()) as prefect:
        rows = []
        for row in prefect.schedules():
            planned = prefect.scheduled(row.deployment)
            rows.append((row.deployment, row.cron, row.timezone, row.active, planned[0].starts if planned else ""))
    show("Schedules", ("flow", "cron", "time zone", "active", "next run"), rows, as_json)


@app.command()
def report(session: Session = None) -> None:
    """Write the report of the book: HTML and pictures."""
    from ordinis import bootstrap
    from ordinis.settings import load

    settings = load()
    console.print(f"Report: {bootstrap.report(settings, session.date() if session else _last_valued(settings))}")


def _last_valued(settings: Settings) -> date:
    from ordinis import bootstrap

    with bootstrap.ledger(settings).begin(write=False) as unit:
        last = unit.book.last_valuation()
    return settings.replay_first if last is None else last.session
