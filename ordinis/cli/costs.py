"""Commands for what trading costs: the model in force, how it came about, and how well orders were carried out."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ordinis.cli.app import AsJson, app, confirmed, console, operator, show

if TYPE_CHECKING:
    from ordinis.costs.models import SquareRootCost

costs = typer.Typer(help="What trading is expected to cost, and what it did cost.", invoke_without_command=True)
app.add_typer(costs, name="costs")


class Grouping(StrEnum):
    SYMBOL = "symbol"
    VENUE = "venue"
    TIME = "time"


@costs.callback()
def costs_in_force(context: typer.Context, as_json: AsJson = False) -> None:
    """Print the cost model in force, by liquidity bucket, and which symbols are in which."""
    if context.invoked_subcommand is not None:
        return
    from ordinis import bootstrap
    from ordinis.costs.models import CalibratedCost, ProportionalCost, SquareRootCost
    from ordinis.settings import load

    settings = load()
    model = bootstrap.costs(settings)
    columns = ("of", "half spread, bp", "eta", "delta", "permanent", "commission, bp", "symbols")
    if isinstance(model, CalibratedCost):
        places = [sorted(s for s, place in model.bucket.items() if place == n) for n in range(len(model.buckets))]
        rows = [_row(f"bucket {n}", bucket, ", ".join(places[n])) for n, bucket in enumerate(model.buckets)]
        rows.append(_row("book", model.book, "all others"))
        title = f"Cost model {model.version[:12]}, calibrated on the book's own orders"
    elif isinstance(model, SquareRootCost):
        rows, title = [_row("book", model, "all")], "Cost model that everything starts from"
    else:
        told = model.bps if isinstance(model, ProportionalCost) else float("nan")
        rows, title = [("book", told, 0.0, 1.0, 0.0, 0.0, "all")], "Proportional cost model"
    show(title, columns, rows, as_json)


def _row(name: str, model: SquareRootCost, symbols: str) -> tuple[object, ...]:
    return (name, model.half_spread_bps, model.eta, model.delta, model.permanent, model.commission_bps, symbols)


@costs.command("history")
def costs_history(as_json: AsJson = False) -> None:
    """List what each night's calibration made, whether it was promoted, and why."""
    from ordinis import bootstrap
    from ordinis.settings import load

    settings = load()
    kept = bootstrap.feedback_records(settings).calibrations(settings.account)
    rows = [(str(row.session), row.version[:12], row.promoted, row.reason) for row in reversed(kept)]
    show("Calibrations, the latest first", ("session", "version", "promoted", "reason"), rows, as_json)


@costs.command("use")
def costs_use(
    version: Annotated[str, typer.Argument(help="The beginning of a version that was promoted, from `costs history`.")],
) -> None:
    """Go back to an earlier version of the cost model; the next one that is promoted takes its place."""
    from ordinis import bootstrap
    from ordinis.settings import load

    settings = load()
    found = bootstrap.promoted_version(settings, version)
    confirmed(settings, f"Orders are planned by the cost model of {found.session} from the next session on.")
    bootstrap.use_version(settings, found, operator())
    console.print(f"Cost model {found.name[:12]} of {found.session} is in force.")


@costs.command("quality")
def costs_quality(
    by: Annotated[Grouping, typer.Option(help="What to group orders by.")] = Grouping.SYMBOL, as_json: AsJson = False
) -> None:
    """Show how well orders were carried out: fill rate, shortfall and latency, and what to do about their size."""
    from ordinis import bootstrap
    from ordinis.clock import trading_calendar
    from ordinis.feedback.executions import by_symbol, by_time_of_day, by_venue, quality_by
    from ordinis.settings import load

    settings = load()
    rows = bootstrap.feedback_records(settings).executions(settings.account, date.max)
    keys = {
        Grouping.SYMBOL: by_symbol,
        Grouping.VENUE: by_venue,
        Grouping.TIME: by_time_of_day(trading_calendar()),
    }
    advice = bootstrap.advice(settings, rows) if by is Grouping.SYMBOL else {}
    told = [
        (
            name,
            found.orders,
            found.fill_rate,
            found.shortfall_p50,
            found.shortfall_p95,
            found.fees,
            found.latency_p95,
            *([advice[name].factor if name in advice else 1.0] if by is Grouping.SYMBOL else []),
        )
        for name, found in quality_by(rows, keys[by]).items()
    ]
    columns = [by.value, "orders", "filled", "shortfall p50, bp", "p95, bp", "fees, bp", "seconds to fill, p95"]
    show("Orders that were sent", [*columns, *(["size, times"] if by is Grouping.SYMBOL else [])], told, as_json)
    for row in advice.values():
        if row.factor < 1.0 and not as_json:
            console.print(f"{row.symbol}: orders should shrink to {row.factor:.0%}: {row.reason}", soft_wrap=True)
