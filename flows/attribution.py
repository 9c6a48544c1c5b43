"""Every weekday after the close: where the book's return and risk came from."""

from __future__ import annotations

from datetime import date

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.after_close import attribute, book_is_valued
from tasks.jobs import NothingToDo, once


@flow(name="attribution")
def attribution(session: date | None = None, again: bool = False) -> State:
    """Factor exposures and each holding's part of the risk, as of a session; the last one when none is given."""
    return once("attribution", session, attribute_if_valued, again=again)


def attribute_if_valued(session: date) -> str:
    if not book_is_valued(session):
        raise NothingToDo("NotValued", f"the book has no value at the close of {session}")
    return attribute(session)
