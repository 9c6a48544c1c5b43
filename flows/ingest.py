"""Every weekday after the close: the session's bars."""

from __future__ import annotations

from datetime import date

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.bars import fetch_bars
from tasks.jobs import once


@flow(name="ingest")
def ingest(session: date | None = None, again: bool = False) -> State:
    """Bring a session's bars through their contract into the store; the last one that closed when none is given."""
    return once("ingest", session, fetch_bars, again=again)
