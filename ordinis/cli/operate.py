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
    name: Annotated[str, typer.Argument(help="ingest, attribution, report or nightly.")],
    session: Session = None,
) -> None:
    """Start a run of the deployment, the same that the schedule starts, and follow it to its end."""
    from ordinis.errors import ProcessFailed
    from ordinis.operations.prefect_api import PrefectApi
    from ordinis.settings import load

    settings = load()
    parameters = {} if session is None else {"session": session.date().isoformat()}
    with PrefectApi(settings) as prefect:
        begun = prefect.run(name, parameters)
        console.print(f"{name}: run {begun.name}")
        run = prefect.follow(begun.id, _tell)
    if run.kind != "COMPLETED":
        raise ProcessFailed(f"flow {name}", f"run {run.name} ended {run.state}: {run.message}")


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
