"""Commands of the researcher: one back-test, or the table of baselines."""

from __future__ import annotations

import logging
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from ordinis.cli.app import AsJson, app, console, errors, show

if TYPE_CHECKING:
    from ordinis.evaluation.backtest import Backtest

Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"])]
COLUMNS = ("strategy", "return", "volatility", "Sharpe", "max drawdown", "Calmar")


@app.command()
def backtest(
    allocator: Annotated[
        str, typer.Option(help="Name, or path/to/file.py:ClassName for one of your own.")
    ] = "managed-minimum-variance",
    first: Day = None,
    last: Day = None,
    report: Annotated[Path | None, typer.Option(help="Folder for the report with its pictures.")] = None,
    as_json: AsJson = False,
) -> None:
    """Back-test one allocator on the sample market, in the actor's own trading cycle.

    Limits and trading rules are those of the profile (ORDINIS_PROFILE: standard, configurations, research).
    """
    from ordinis import bootstrap
    from ordinis.evaluation.backtest import backtest as run
    from ordinis.settings import load

    settings = load()
    # A back-test's denied orders are in its ledger; here they would only tear the progress bar.
    bootstrap.logging_to(level=logging.ERROR)
    rules = bootstrap.rulebook(settings)
    begin = first.date() if first else settings.replay_first
    end = last.date() if last else settings.replay_last
    market = bootstrap.sample_market(settings)
    with Progress(console=errors, transient=True) as progress:
        task = progress.add_task(allocator, total=len(market.calendar.between(begin, end)))
        result = run(
            market,
            bootstrap.allocator_for(settings, allocator),
            bootstrap.allocator_for(settings, settings.baseline),
            rules,
            bootstrap.venue_costs(settings),
            first=begin,
            last=end,
            opening_cash=settings.opening_cash,
            account=settings.account,
            on_session=lambda _: progress.advance(task),
        )
    title = f"{begin} to {end}, profile {rules.profile}"
    show(title, COLUMNS, [_row(result.name, result)], as_json)
    if report is not None:
        path = bootstrap.backtest_report(settings, result, market, report)
        console.print(f"Report: {path}")


@app.command()
def baselines(
    first: Day = None,
    last: Day = None,
    jobs: Annotated[int, typer.Option(min=1, help="Back-tests that run side by side.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Reproduce the table of baselines: eight strategies on 20 stocks, 2000 to 2022, 10 basis points a side.

    Takes about ten minutes. The columns "recorded" are the design's own figures, measured by another program that
    traded at the very close it had seen; here a decision trades at the prices of the session after.
    """
    from concurrent.futures import ProcessPoolExecutor

    from ordinis.evaluation.baselines import BASELINES, FIRST, LAST

    begin, end = (first.date() if first else FIRST), (last.date() if last else LAST)
    with Progress(console=errors, transient=True) as progress, ProcessPoolExecutor(jobs) as pool:
        task = progress.add_task("back-tests", total=len(BASELINES))
        pending = [pool.submit(_baseline, place, begin, end) for place in range(len(BASELINES))]
        for done in pending:
            done.add_done_callback(lambda _: progress.advance(task))
        rows = [done.result() for done in pending]
    recorded = ("recorded Sharpe", "recorded volatility", "recorded drawdown")
    show(f"Baselines, {begin} to {end}, 10 bp a side", (*COLUMNS, *recorded), rows, as_json)


def _baseline(place: int, first: date, last: date) -> tuple[object, ...]:
    """One line of the table, in a process of its own."""
    from ordinis import bootstrap
    from ordinis.evaluation.baselines import BASELINES, run_baseline
    from ordinis.settings import load

    bootstrap.logging_to(level=logging.ERROR)
    settings = load().model_copy(update={"profile": "research"})
    baseline = BASELINES[place]
    result = run_baseline(
        baseline, bootstrap.sample_market(settings), bootstrap.rulebook(settings), first=first, last=last
    )
    return (*_row(baseline.name, result), *baseline.recorded)


def _row(name: str, result: Backtest) -> tuple[str, float, float, float, float, float]:
    from ordinis.evaluation import statistics

    returns = result.returns
    return (
        name,
        statistics.annualised_return(returns),
        statistics.annualised_volatility(returns),
        statistics.sharpe(returns),
        statistics.max_drawdown(returns),
        statistics.calmar(returns),
    )
