"""Every weekday after the close, or when a session is said to have closed: all that a night has to do, in order."""

from __future__ import annotations

from datetime import date
from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State

from flows.attribution import attribution
from flows.calibration import calibration
from flows.ingest import ingest
from flows.report import report
from tasks.jobs import NothingToDo, once

STEPS = (ingest, calibration, attribution, report)


@flow(name="nightly")
def nightly(session: date | None = None, again: bool = False) -> State:
    """All that is done for one session after its close; the last one that closed when none is given."""
    return once("nightly", session, partial(every_step, again=again), again=again)


def every_step(session: date, again: bool = False) -> str:
    """Run the steps in their order; a step that has nothing to do yet leaves the night unfinished."""
    told = []
    for step in STEPS:
        state: State = step(session, again, return_state=True)
        if not state.is_completed():
            state.result()  # raises what ended the step
        if state.name not in ("Completed", "AlreadyDone"):
            raise NothingToDo("Unfinished", f"{step.name} ended {state.name}: {state.message}")
        told.append(f"{step.name} {state.name}")
    return ", ".join(told)
