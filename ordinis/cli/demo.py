"""`ordinis demo`: the whole cycle once on the sample market, with every real part on this machine."""

from __future__ import annotations

import csv
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from ordinis.cli.app import app, console, show
from ordinis.cli.operate import _tell, fill_store

if TYPE_CHECKING:
    from ordinis.settings import Settings

FIRST = date(2019, 11, 1)
NIGHTS = 2
LOOKED_BACK = 20
"""Sessions before them whose return and risk are attributed afterwards."""
MONDAY, SATURDAY = 0, 5
DAMAGED = (
    ("AAPL", SATURDAY, "113.1"),
    ("JNJ", MONDAY, "2290.1"),  # twenty times the close before
    ("KO", MONDAY, "-48.9"),
    ("MSFT", MONDAY, ""),
    ("XXXX", MONDAY, "10.0"),
)
"""Symbol, day of the week after the stretch, close: wrong in five ways."""


@app.command()
def demo(
    sessions: Annotated[int, typer.Option(min=NIGHTS + 1, help="Sessions that the actor trades.")] = 250,
) -> None:
    """Run the whole cycle once on real prices: data in, a report out. Takes a few minutes.

    Data pass their contract, a damaged batch is turned away, the actor trades a stretch of the replayed market through
    a simulated broker and asks the allocation service over HTTP, the nightly flow runs, every decision is computed
    again, and the report is written. All programs are stopped at the end.
    """
    from ordinis.operations.stack import down
    from ordinis.settings import load

    chosen = load()
    home = chosen.home.absolute() / "demo"
    stop_programs = chosen.model_copy(update={"home": home})
    down(stop_programs)
    shutil.rmtree(home, ignore_errors=True)
    settings = _on_free_ports(chosen.model_copy(update={"home": home, "replay_first": FIRST, "replay_seconds": 0.0}))
    settings = settings.model_copy(update={"allocator": "managed-minimum-variance", "request_timeout": 10.0})
    started = time.monotonic()
    try:
        _cycle(settings, sessions)
    finally:
        _title("Stopping every program")
        down(settings)
    console.print(f"\nDone in {time.monotonic() - started:.0f} s.", highlight=False)
    console.print(f"Report: [bold]{home / 'report' / 'report.html'}[/bold]", soft_wrap=True)
    console.print("Next: `ordinis up` for a living system, `ordinis --help` for everything else.")


def _cycle(settings: Settings, sessions: int) -> None:
    from ordinis.clock import trading_calendar
    from ordinis.operations.stack import up

    calendar = trading_calendar()
    stretch = calendar.between(settings.replay_first, settings.replay_last)[:sessions]
    _title("Data through their contract")
    fill_store(settings)
    _ingest_stretch(settings, stretch[-1])
    _damaged_batch(settings, stretch[-1])
    _title("Prefect, Ray, the allocation service and the simulated broker")
    # The actor is started below, so that its own words are seen here.
    up(settings, ["prefect", "worker", "ray", "serve", "venue"], lambda name, what: console.print(f"  {name}: {what}"))
    _title(f"The actor trades {sessions} sessions, {stretch[0]} to {stretch[-1]}")
    _actor(settings, "--sessions", str(sessions - NIGHTS))
    _backfill(settings, stretch[:-NIGHTS][-LOOKED_BACK:])
    console.print(f"  The last {NIGHTS} sessions with the nightly flow after each close:", highlight=False)
    _actor(settings, "--sessions", str(NIGHTS), "--nightly")
    _flows(settings)
    _title("What trading costs, by the book's own orders")
    _ordinis(settings, "costs", "history")
    _title("Every decision computed again")
    _ordinis(settings, "replay")


def _ingest_stretch(settings: Settings, last: date) -> None:
    """The stretch's own bars; each is known from its close on, and every reader asks as of an instant."""
    from ordinis import bootstrap

    report = bootstrap.backfill(settings, last, settings.replay_first)
    console.print(f"  {report.new} bars of the stretch stored, {report.rejected} turned away", highlight=False)


def _damaged_batch(settings: Settings, after: date) -> None:
    """A file that is wrong in five ways, to show what becomes of it."""
    from ordinis import bootstrap

    path = settings.home / "damaged.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["symbol", "session", "open", "high", "low", "close", "volume"])
        for symbol, weekday, close in DAMAGED:
            day = after + timedelta(days=1 + (weekday - after.weekday() - 1) % 7)
            writer.writerow([symbol, day, "", "", "", close, ""])
    _ordinis(settings, "data", "ingest", "--file", str(path), quiet=True)
    records = bootstrap.records(settings)
    batch = next(row for row in records.batches() if "damaged" in row.source)
    rows = [(row.symbol, row.session, "; ".join(row.reasons)) for row in records.quarantined(batch.id)]
    title = f"  A batch damaged on purpose: {batch.clean} of its {batch.rows} rows stored, the others in quarantine"
    show(title, ("symbol", "session", "reason"), rows)


def _actor(settings: Settings, *arguments: str) -> None:
    _ordinis(settings.model_copy(update={"broker": "venue"}), "trade", "--replay", *arguments)


def _backfill(settings: Settings, sessions: Sequence[date]) -> None:
    """Where return and risk came from in the last sessions, as a person would ask for it."""
    console.print(f"  Attribution of the {len(sessions)} sessions before the last {NIGHTS}:", highlight=False)
    dates = ("--first", str(sessions[0]), "--last", str(sessions[-1]))
    _ordinis(settings, "flow", "backfill", "attribution", *dates)


def _flows(settings: Settings) -> None:
    from ordinis.operations.prefect_api import PrefectApi

    _title("Flows")
    with PrefectApi(settings) as prefect:
        begun = prefect.run("ingest", {"session": settings.replay_first.isoformat()})
        prefect.follow(begun.id, _tell)
        rows = []
        for name in ("nightly", "ingest", "calibration", "attribution", "report"):
            runs = prefect.runs(name)
            ended = [run for run in runs if run.final]
            states = Counter(run.state for run in ended)
            planned = sum(run.kind == "SCHEDULED" for run in runs)
            rows.append(
                (name, ", ".join(f"{n} {state}" for state, n in sorted(states.items())) or "inside nightly", planned)
            )
    show("  Runs of the deployments", ("flow", "ended", "scheduled"), rows)


def _ordinis(settings: Settings, *arguments: str, quiet: bool = False) -> None:
    """Run a command as a person would, in a process of its own."""
    from ordinis.errors import ProcessFailed

    command = [sys.executable, "-m", "ordinis", *arguments]
    # What it prints is set in by two.
    environment = {**os.environ, **settings.environment(), "COLUMNS": str(console.width - 2)}
    log = settings.home / "demo.log"
    with log.open("a", encoding="utf-8") as told:
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=told, text=True, check=False
        )  # fmt: skip
    if not quiet:
        for line in done.stdout.splitlines():
            console.print(f"  {line}", highlight=False)
    if done.returncode not in (0, 3 if quiet else 0):
        raise ProcessFailed(f"ordinis {arguments[0]}", f"ended with exit code {done.returncode}", str(log))


def _on_free_ports(settings: Settings) -> Settings:
    """The same settings on ports that nobody uses, so that the demo disturbs nothing that is up."""
    names = [name for name in type(settings).model_fields if name.endswith("_port")]
    probes = [socket.socket() for _ in names]
    try:
        for probe in probes:
            probe.bind((settings.host, 0))
        return settings.model_copy(update={n: p.getsockname()[1] for n, p in zip(names, probes, strict=True)})
    finally:
        for probe in probes:
            probe.close()


def _title(text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]")
