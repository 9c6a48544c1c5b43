"""Commands for the limits in force: what they are, and a person's word for looser ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ordinis.cli.app import AsJson, app, confirmed, console, operator, show
from ordinis.cli.control import Days, Why

if TYPE_CHECKING:
    from ordinis.governance.rulebook import Rulebook

limits = typer.Typer(help="Print every limit in force, or approve looser ones.", invoke_without_command=True)
app.add_typer(limits, name="limits")


@limits.callback()
def limits_list(context: typer.Context, as_json: AsJson = False) -> None:
    """Print every limit in force, its value, where it comes from, and what is looser than approved."""
    if context.invoked_subcommand is not None:
        return
    from ordinis import bootstrap
    from ordinis.settings import load

    settings = load()
    rulebook = bootstrap.rulebook(settings)
    looser = bootstrap.loosened_limits(settings, rulebook)
    rows = [(row.name, row.value, row.source, row.name not in looser) for row in rulebook.in_force]
    listed = {row.name for row in rulebook.in_force}
    rows += [
        (name, _told(now), _place(name, rulebook), False) for name, (_, now) in looser.items() if name not in listed
    ]
    show(f"Limits of profile {rulebook.profile}", ("limit", "value", "source", "approved"), rows, as_json)
    if looser and not as_json:
        console.print(
            f"{len(looser)} limits are looser than approved, so nothing is bought: `ordinis limits approve`",
            soft_wrap=True,
        )


@limits.command("approve")
def limits_approve(reason: Why, days: Days = 30) -> None:
    """Approve limits that are looser than before, for a while; afterwards the book may shrink only.

    Trading that was stopped because of them goes on after `ordinis resume`.
    """
    from ordinis import bootstrap
    from ordinis.errors import NotFound
    from ordinis.settings import load

    settings = load()
    rulebook = bootstrap.rulebook(settings)
    # An approval that is about to end may be renewed: what counts is what was approved for good.
    looser = bootstrap.loosened_limits(settings, rulebook, for_good=True)
    if not looser:
        raise NotFound("looser limit", settings.profile, "what is in force is approved for good, or no looser than it")
    rows = [(name, *(_told(value) for value in values)) for name, values in looser.items()]
    show("Looser than approved for good", ("limit", "approved", "asked for"), rows)
    confirmed(settings, f"More may be lost under these limits. They end after {days} days.")
    row = bootstrap.approve_limits(settings, rulebook, reason=reason, by=operator(), days=days)
    console.print(f"Approved until {row.expires_at:%Y-%m-%d %H:%M} UTC.")


def _place(name: str, rulebook: Rulebook) -> str:
    """Where a limit would be that was loosened by being left out."""
    from ordinis.governance.approvals import SECTOR

    return "sectors of the instruments" if name.startswith(SECTOR) else f"not in profile {rulebook.profile} any more"


def _told(value: object) -> str:
    return "off" if value is None else str(value)
