"""Commands that keep the ledger: a copy while it is used, and putting one back after damage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ordinis.cli.app import app, console


@app.command()
def backup(
    path: Annotated[Path, typer.Argument(help="New file for the copy; keep it on another disk than the ledger.")],
) -> None:
    """Copy the ledger to a new file, at any time: the actor may go on trading.

    The copy is verified like the ledger at a start, so a backup that was made is one that can be put back. Make one
    after each session; `ordinis restore` puts the last one back.
    """
    from ordinis import bootstrap
    from ordinis.settings import load

    bootstrap.backup_ledger(load(), path)
    console.print(f"Ledger copied to {path} and verified.", soft_wrap=True)


@app.command()
def restore(
    path: Annotated[Path, typer.Argument(help="A file that `ordinis backup` made.")],
) -> None:
    """Put a backup in the place of a damaged ledger. Stop the actor first, with `ordinis down`.

    The backup is verified before anything is touched, and the damaged ledger is kept beside it under another name.
    What the broker executed since the backup is imported at the next start; decisions made since are lost, with their
    reasons. Afterwards start again with `ordinis up`.
    """
    from ordinis import bootstrap
    from ordinis.clock import SystemClock
    from ordinis.settings import load

    kept = bootstrap.restore_ledger(load(), path, SystemClock().now())
    console.print(f"Ledger restored from {path}.", soft_wrap=True)
    if kept is not None:
        console.print(f"The old one is kept as {kept}.", soft_wrap=True)
    console.print("The next start imports from the broker what was executed since.")
