"""The root command, and what all commands share: errors as one line, JSON where a script asks for it."""

from __future__ import annotations

import getpass
import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ordinis import __version__
from ordinis.errors import OrdinisError

if TYPE_CHECKING:
    from ordinis.settings import Settings

console = Console()
errors = Console(stderr=True)
app = typer.Typer(
    name="ordinis",
    help="Runs a portfolio: data contracts, certified allocations, a ledger that loses nothing, an honest report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Start with [bold]ordinis demo[/bold]. Settings are environment variables, such as ORDINIS_HOME.",
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script instead of a table.")]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        console.print(f"ordinis {__version__}")
        raise typer.Exit
    from ordinis.bootstrap.process import logging_to

    logging_to(level=logging.WARNING)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], as_json: bool = False) -> None:
    """A table for a person, or a list of objects for a script."""
    if as_json:
        print(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], default=str, indent=2))
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for position, column in enumerate(columns):
        numeric = bool(rows) and all(_is_number(row[position]) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_text(value) for value in row))
    console.print(table)


def confirmed(settings: Settings, what: str) -> None:
    """Ask for the account's name, typed; anything else ends the command."""
    from ordinis.errors import ConfirmationMissing

    if typer.prompt(f"{what} Type the account's name to go on") != settings.account:
        raise ConfirmationMissing(settings.account)


def operator() -> str:
    """Who acts; the number of a user without a name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Run the command line; an error of the business is one line and an exit code that means something."""
    from ordinis.cli import control, costs, data, demo, keeping, limits, operate, research, trade  # noqa: F401 - each adds its commands

    try:
        app()
    except OrdinisError as error:
        errors.print(f"[red]{error.code}[/red]: {error}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
