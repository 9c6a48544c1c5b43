"""The programs that make up a running Ordinis on one machine, and how each is asked whether it is ready.

    prefect   server and page             worker   runs the flows
    ray       head of a small cluster     serve    the allocation service on it
    venue     simulated broker            actor    trades

Everything binds to one address, loopback unless configured. The actor and the venue alone inherit our environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from ordinis import bootstrap
from ordinis.errors import ConfigurationError, ProcessFailed
from ordinis.operations import environments
from ordinis.operations.prefect_api import PrefectApi
from ordinis.operations.processes import Processes, Program
from ordinis.settings import Settings

POOL = "ordinis"
DEPLOY_SECONDS = 120.0
ASK_SECONDS = 2.0
ENDS_ZOMBIES = {
    "name": "ordinis-ends-zombie-runs",
    "description": "A flow run whose process and worker both died would be Running for ever.",
    "enabled": True,
    "trigger": {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "after": ["prefect.flow-run.heartbeat"],
        "expect": [
            "prefect.flow-run.heartbeat",
            "prefect.flow-run.Completed",
            "prefect.flow-run.Failed",
            "prefect.flow-run.Cancelled",
            "prefect.flow-run.Crashed",
        ],
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": 120,
    },
    "actions": [{"type": "change-flow-run-state", "state": "CRASHED", "message": "no heartbeat for two minutes"}],
}

Question = Callable[[], str]
"""Asks a program; an empty answer is "yes", anything else says what is missing."""


@dataclass(frozen=True)
class Part:
    """One program of the stack."""

    program: Program
    answers: Question
    """Whether whoever comes next in the stack may count on it."""
    url: str = ""
    ready: Question | None = None
    """Whether it can do its work; None when answering is all."""
    prepare: Callable[[], None] | None = None
    """What has to be done before it starts."""
    settle: Callable[[], None] | None = None
    """What has to be done once it answers."""

    @property
    def name(self) -> str:
        return self.program.name


def parts(settings: Settings) -> tuple[Part, ...]:
    """Every program, in the order in which they start."""

    def python(name: str, environment: Mapping[str, str], *command: str) -> Program:
        return Program(name, (sys.executable, "-m", *command), environment, settings.project.absolute())

    # Made here, before whoever reads it starts.
    token = bootstrap.token(settings)
    host, prefect, ray = settings.host, environments.for_prefect(settings), environments.for_ray(settings)
    trading = environments.everything(settings) | {"ORDINIS_BROKER": "venue"}
    deploy = python("deploy", prefect, "prefect", "--no-prompt", "deploy", "--all")
    server = ("prefect", "server", "start", "--host", host, "--port", str(settings.prefect_port))
    return (
        Part(
            python("prefect", environments.for_server(settings), *server),
            lambda: _asked(f"{settings.prefect_url}/health"),
            f"http://{host}:{settings.prefect_port}",
            prepare=lambda: _check_project(settings),
            settle=lambda: _furnish(settings, deploy),
        ),
        Part(
            python("worker", prefect, "prefect", "worker", "start", "--pool", POOL, "--type", "process"),
            lambda: _worker_answers(settings),
        ),
        Part(
            python("ray", ray, *_ray_head(settings)),
            lambda: _asked(f"{settings.ray_dashboard_url}/api/version", environments.token(settings.ray_token_path)),
            settings.ray_dashboard_url,
            prepare=lambda: _private(environments.ray_folder(settings)),
        ),
        Part(
            python("serve", ray, "ordinis.serving.deployment"),
            lambda: _asked(f"{settings.serve_url}/healthz"),
            settings.serve_url,
            ready=lambda: _asked(f"{settings.serve_url}/readyz", token),
        ),
        Part(
            python("venue", trading, "ordinis", "venue"),
            lambda: _asked(f"{settings.venue_url}/capabilities"),
            settings.venue_url,
        ),
        Part(python("actor", trading, "ordinis", "trade", "--replay", "--nightly"), lambda: ""),
    )


def _ray_head(settings: Settings) -> Sequence[str]:
    return (
        "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
        f"--node-ip-address={settings.host}",
        f"--port={settings.ray_port}",
        f"--ray-client-server-port={settings.ray_client_port}",
        "--include-dashboard=true",
        f"--dashboard-host={settings.host}",
        f"--dashboard-port={settings.ray_dashboard_port}",
        # Any free port: the fixed ranges that are Ray's default would collide with our own.
        "--dashboard-agent-listen-port=0", "--min-worker-port=0", "--max-worker-port=0",
        f"--num-cpus={settings.ray_cpus}",
        f"--object-store-memory={settings.ray_store_mb * 1024 * 1024}",
        f"--temp-dir={environments.ray_folder(settings)}",
    )  # fmt: skip


def _check_project(settings: Settings) -> None:
    if not (settings.project.absolute() / "prefect.yaml").is_file():
        raise ConfigurationError("ORDINIS_PROJECT", f"{settings.project.absolute()} has no prefect.yaml")


def _furnish(settings: Settings, deploy: Program) -> None:
    """The server's work pool, its deployments, and the automation that ends zombies."""
    with PrefectApi(settings) as prefect:
        prefect.make_pool(POOL)
        Processes(settings.home).run(deploy, DEPLOY_SECONDS)
        prefect.make_automation(ENDS_ZOMBIES)


def _private(folder: Path) -> None:
    """A folder of our own under the machine's common one: whoever made it before us must be us."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise ConfigurationError(str(folder), "belongs to somebody else; remove it")


def _asked(url: str, token: str = "") -> str:
    """Ask over HTTP; the answer's own words when it is a refusal."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        response = httpx.get(url, headers=headers, timeout=ASK_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        return str(error) or type(error).__name__
    if response.is_success:
        return ""
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{url} answered {response.status_code}"


def _worker_answers(settings: Settings) -> str:
    try:
        with PrefectApi(settings, patience=0.0) as prefect:
            return "" if prefect.workers_online(POOL) else "the server has not heard of it yet"
    except ProcessFailed as error:
        return str(error)
