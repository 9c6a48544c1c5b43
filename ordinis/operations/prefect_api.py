"""The Prefect server over HTTP: run a deployment and follow it, see what is scheduled, say that a session has closed.

A flow run passes through states and ends in one of a few types, whatever its name: "AlreadyDone" is of type COMPLETED.
Saying that a session has closed is an event; the deployment that waits for it is started by the server. Whether the
work is done is never asked of Prefect: the records say so, and the caller brings the question along.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from types import TracebackType
from typing import Any
from uuid import uuid4

import httpx

from ordinis.errors import NotFound, ProcessFailed
from ordinis.operations.environments import token
from ordinis.settings import Settings

logger = logging.getLogger(__name__)

SESSION_CLOSED = "ordinis.session.closed"
FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "CRASHED"})
BUSY = frozenset({429, 502, 503, 504})
POLL_SECONDS = 0.5
PATIENCE = 20.0
"""Seconds after which an event that started nothing counts as lost, and the run is asked for outright."""


@dataclass(frozen=True)
class FlowRun:
    """A flow run at one moment."""

    id: str
    deployment_id: str
    name: str
    state: str
    """The state's name: "Running", "Completed", or one that a flow gave itself."""
    kind: str
    """The state's type, one of a few: "RUNNING", "COMPLETED", "FAILED", ..."""
    message: str
    parameters: Mapping[str, Any]
    starts: datetime | None
    """When it is to start, or did."""

    @property
    def final(self) -> bool:
        return self.kind in FINAL


@dataclass(frozen=True)
class Schedule:
    deployment: str
    cron: str
    timezone: str
    active: bool


class PrefectApi:
    """One keep-alive connection to the server; `deployment` is a name such as "nightly"."""

    def __init__(self, settings: Settings, patience: float = 15.0) -> None:
        """Connect; a server that is busy or restarting is asked again for `patience` seconds."""
        self._patience = patience
        user, _, password = token(settings.prefect_password_path, "ordinis:").partition(":")
        self.log = str(settings.home.absolute() / "logs" / "prefect.log")
        self._client = httpx.Client(
            base_url=settings.prefect_url, auth=(user, password), timeout=max(patience, 2.0), trust_env=False
        )

    def __enter__(self) -> PrefectApi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def run(self, deployment: str, parameters: Mapping[str, Any] | None = None) -> FlowRun:
        """Ask for a run now; NotFound when there is no such deployment."""
        body = {
            "parameters": dict(parameters or {}),
            "state": {"type": "SCHEDULED", "name": "Scheduled"},
            # Asked twice, it is one run.
            "idempotency_key": str(uuid4()),
        }
        return _flow_run(self._post(f"/deployments/{self._id(deployment)}/create_flow_run", body))

    def flow_run(self, run_id: str) -> FlowRun:
        return _flow_run(self._get(f"/flow_runs/{run_id}"))

    def follow(
        self,
        run_id: str,
        on_change: Callable[[FlowRun], None] = lambda run: None,
        timeout: float = 600.0,
        on_poll: Callable[[], None] = lambda: None,
    ) -> FlowRun:
        """Wait until a run has ended, telling of every state on the way; ProcessFailed when it takes too long."""
        deadline, seen = time.monotonic() + timeout, ""
        while True:
            run = self.flow_run(run_id)
            if run.state != seen:
                on_change(run)
                seen = run.state
            on_poll()
            if run.final:
                return run
            if time.monotonic() > deadline:
                raise ProcessFailed(f"flow run {run.name}", f"still {run.state} after {timeout:g} s", self.log)
            time.sleep(POLL_SECONDS)

    def runs(self, deployment: str, since: datetime | None = None, state: str = "") -> list[FlowRun]:
        """Runs of a deployment, the next or latest first; with `state`, only of that type."""
        wanted: dict[str, Any] = {"deployment_id": {"any_": [self._id(deployment)]}}
        if since is not None:
            wanted["expected_start_time"] = {"after_": since.isoformat()}
        if state:
            wanted["state"] = {"type": {"any_": [state]}}
        found = self._post("/flow_runs/filter", {"flow_runs": wanted, "sort": "EXPECTED_START_TIME_DESC"})
        return [_flow_run(row) for row in found]

    def scheduled(self, deployment: str) -> list[FlowRun]:
        """Runs that the server will start by itself, the next first."""
        return list(reversed(self.runs(deployment, state="SCHEDULED")))

    def schedules(self) -> list[Schedule]:
        """Every cron schedule of every deployment."""
        return [
            Schedule(row["name"], each["schedule"]["cron"], each["schedule"].get("timezone") or "UTC", each["active"])
            for row in self._post("/deployments/filter", {"sort": "NAME_ASC"})
            for each in row["schedules"]
            if "cron" in each["schedule"]
        ]

    def say_closed(self, session: date) -> None:
        """Emit the event that `session` has closed and its book is valued."""
        event = {
            "id": str(uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": SESSION_CLOSED,
            "resource": {"prefect.resource.id": f"ordinis.session.{session.isoformat()}"},
            "payload": {"session": session.isoformat()},
        }
        self._post("/events", [event])

    def workers_online(self, pool: str) -> int:
        found = self._post(f"/work_pools/{pool}/workers/filter", {})
        return sum(row["status"] == "ONLINE" for row in found)

    def make_pool(self, pool: str) -> None:
        """Make a process work pool unless there is one; its worker fills in the rest."""
        if self._ask("GET", f"/work_pools/{pool}").status_code == 404:
            self._post("/work_pools/", {"name": pool, "type": "process"})

    def make_automation(self, automation: Mapping[str, Any]) -> None:
        """Make an automation unless there is one of its name."""
        named = {"automations": {"name": {"any_": [automation["name"]]}}}
        if not self._post("/automations/filter", named):
            self._post("/automations/", dict(automation))

    def _id(self, deployment: str) -> str:
        found = self._ask("GET", f"/deployments/name/{deployment}/{deployment}")
        if found.status_code == 404:
            raise NotFound("deployment", deployment, "`ordinis up` deploys what prefect.yaml names")
        return str(self._read(found)["id"])

    def _get(self, path: str) -> Any:
        return self._read(self._ask("GET", path))

    def _post(self, path: str, body: object) -> Any:
        return self._read(self._ask("POST", path, body))

    def _ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Ask, and ask again while the server says that it is busy: its database knows one writer at a time."""
        deadline = time.monotonic() + self._patience
        while True:
            problem = ""
            try:
                response = self._client.request(method, path, json=body)
                if response.status_code not in BUSY:
                    return response
                problem = f"it answered {response.status_code}"
            except httpx.HTTPError as error:
                problem = str(error) or type(error).__name__
            if time.monotonic() >= deadline:
                raise ProcessFailed("prefect", f"{method} {path}: {problem}", self.log)
            time.sleep(POLL_SECONDS)

    def _read(self, response: httpx.Response) -> Any:
        if response.is_error:
            problem = f"{response.request.method} {response.request.url.path} gave {response.status_code}"
            raise ProcessFailed("prefect", f"{problem}: {response.text[:300]}", self.log)
        return response.json() if response.content else None


def _flow_run(row: Mapping[str, Any]) -> FlowRun:
    state = row.get("state") or {}
    starts = row.get("start_time") or row.get("expected_start_time")
    return FlowRun(
        id=row["id"],
        deployment_id=row.get("deployment_id") or "",
        name=row["name"],
        state=state.get("name") or "Pending",
        kind=state.get("type") or "PENDING",
        message=state.get("message") or "",
        parameters=row.get("parameters") or {},
        starts=datetime.fromisoformat(starts) if starts else None,
    )


def after_close(settings: Settings, session: date, done: Callable[[], bool], timeout: float | None = None) -> None:
    """Say that `session` has closed, and wait until `done` says that its nightly work is.

    Raises:
        ProcessFailed: the nightly run failed, or `timeout` seconds (by default the setting's) are over.
    """
    patience = settings.nightly_timeout if timeout is None else timeout
    started, emitted = time.monotonic(), datetime.now(UTC) - timedelta(seconds=5)
    asked_outright = False
    with PrefectApi(settings) as prefect:
        prefect.say_closed(session)
        while not done():
            waited = time.monotonic() - started
            runs = [run for run in prefect.runs("nightly", emitted) if run.parameters.get("session") == str(session)]
            ended = next((run for run in runs if run.final), None)
            if ended is not None and not done():
                raise ProcessFailed("nightly", f"{session} ended {ended.state}: {ended.message}", prefect.log)
            if not runs and waited > PATIENCE and not asked_outright:
                logger.warning("event started nothing, asking for the run session=%s", session)
                prefect.run("nightly", {"session": str(session)})
                asked_outright = True
            if waited > patience:
                raise ProcessFailed("nightly", f"{session} is not done after {patience:g} s", prefect.log)
            time.sleep(POLL_SECONDS)
