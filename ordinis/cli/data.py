"""Commands on data: bring it in through its contract, look at what was turned away, show what is stored."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ordinis.cli.app import AsJson, app, console, show

data = typer.Typer(help="Bring bars in through their contract; see what is stored and what was turned away.",
                   no_args_is_help=True)  # fmt: skip
app.add_typer(data, name="data")
Day = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"])]


@data.command()
def ingest(
    first: Day = datetime(2014, 1, 2),  # noqa: DTZ001 - a day, not an instant
    last: Day = datetime(2022, 12, 28),  # noqa: DTZ001
    file: Annotated[
        Path | None, typer.Option(help="A CSV file with the contract's columns instead of the source.")
    ] = None,
) -> None:
    """Bring bars into the store. Running it again changes nothing.

    A row that breaks the contract goes to quarantine with its reason; so does a whole batch where the contract says.
    """
    from ordinis import bootstrap
    from ordinis.clock import SystemClock
    from ordinis.data.files import FileSource
    from ordinis.data.ingest import ingest as bring_in
    from ordinis.settings import load

    settings = load()
    instruments = bootstrap.instruments(settings)
    source, symbols, begin, end = bootstrap.source(settings), sorted(instruments), first.date(), last.date()
    if file is not None:
        source = given = FileSource(file)
        symbols, (begin, end) = sorted(given.symbols() & instruments.keys()), given.span()
    report = bring_in(
        source,
        bootstrap.bar_store(settings),
        bootstrap.records(settings),
        settings.contracts,
        symbols,
        begin,
        end,
        SystemClock(),
        instruments,
    )
    console.print(
        f"Batch {report.batch_id[:12]}: {report.rows} rows, {report.clean} clean, {report.new} new, "
        f"{report.rejected} in quarantine."
    )


@data.command()
def quarantine(
    batch: Annotated[str, typer.Argument(help="Id of a batch, or its beginning.")] = "", as_json: AsJson = False
) -> None:
    """List the batches, or the rows of one batch that were turned away, with the reason for each."""
    from ordinis import bootstrap
    from ordinis.errors import NotFound
    from ordinis.settings import load

    records = bootstrap.records(load())
    batches = [row for row in records.batches() if row.id.startswith(batch)]
    if not batch:
        rows = [(b.id[:12], b.contract, b.source, b.rows, b.clean, b.rejected, b.at) for b in batches]
        show("Batches", ("batch", "contract", "source", "rows", "clean", "rejected", "at"), rows, as_json)
        return
    if len(batches) != 1:
        raise NotFound("batch", batch, f"{len(batches)} begin like that")
    found = [(r.row_no, r.symbol, r.session, "; ".join(r.reasons)) for r in records.quarantined(batches[0].id)]
    show(f"Quarantine of batch {batches[0].id[:12]}", ("row", "symbol", "session", "reasons"), found, as_json)
