"""A range of sessions done by hand: what was missed, or what is to be found out about the past."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State

from flows.attribution import attribute_if_valued
from flows.calibration import calibrate_if_valued
from tasks.bars import fetch_bars
from tasks.jobs import each_session

STEPS: dict[str, Callable[[date], str]] = {
    "ingest": fetch_bars,
    "calibration": calibrate_if_valued,
    "attribution": attribute_if_valued,
}


@flow(name="backfill")
def backfill(
    step: Literal["ingest", "calibration", "attribution"], first: date, last: date, again: bool = False
) -> State:
    """One step for every session from `first` to `last` that it is not done for, or for all `again`, oldest first."""
    return each_session(step, first, last, STEPS[step], again=again)
