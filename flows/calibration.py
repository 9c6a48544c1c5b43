"""Every weekday after the close: what became of the orders, and what trading costs by them."""

from __future__ import annotations

from datetime import date

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.after_close import book_is_valued, calibrate_costs, gather_executions
from tasks.jobs import NothingToDo, once


@flow(name="calibration")
def calibration(session: date | None = None, again: bool = False) -> State:
    """Keep what became of every order, and calibrate the cost model on all of them, as of a session."""
    return once("calibration", session, calibrate_if_valued, again=again)


def calibrate_if_valued(session: date) -> str:
    if not book_is_valued(session):
        raise NothingToDo("NotValued", f"the book has no value at the close of {session}")
    return f"{gather_executions()}; {calibrate_costs(session)}"
