"""One real stack for all tests that need one: every program, on free ports, from a home of its own.

It is started by the first test that asks and stopped when the run ends, whatever happened in between.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import httpx
import pytest

from ordinis import bootstrap
from ordinis.operations import stack
from ordinis.operations.environments import token
from ordinis.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]
CANARY = "canary-of-a-broker"
"""Stands in our environment like a broker's key; only the venue and the actor may have it."""
FIRST, LAST = date(2022, 5, 31), date(2022, 6, 1)
"""Sessions that the actor lives through, each followed by its nightly flow."""


@dataclass
class Running:
    settings: Settings
    told: list[tuple[str, str]] = field(default_factory=list)
    """What `up` told of its progress."""


@dataclass(frozen=True)
class _AtTheEnd:
    """Stops the stack before the tests are said to be over: a process that tests beside others is killed soon after."""

    settings: Settings

    def pytest_sessionfinish(self) -> None:
        stack.down(self.settings)
        shutil.rmtree(self.settings.home, ignore_errors=True)
        os.environ.pop("APCA_API_SECRET_KEY", None)


_KEY = pytest.StashKey[Running]()


def running(config: pytest.Config) -> Running:
    """The stack of this test run."""
    if _KEY not in config.stash:
        settings = _settings(Path(tempfile.mkdtemp(prefix="ordinis-test-")))
        found = config.stash[_KEY] = Running(settings)
        config.pluginmanager.register(_AtTheEnd(settings))
        os.environ["APCA_API_SECRET_KEY"] = CANARY
        bootstrap.backfill(settings, date(2022, 5, 27), date(2021, 4, 1))
        stack.up(settings, progress=lambda name, what: found.told.append((name, what)))
    return config.stash[_KEY]


def _settings(home: Path) -> Settings:
    names = ("prefect", "ray", "ray_dashboard", "ray_client", "serve", "venue")
    return Settings(
        home=home,
        project=PROJECT,
        replay_first=FIRST,
        replay_last=LAST,
        replay_seconds=0,
        nightly_timeout=240,
        request_timeout=10,
        ray_cpus=2,
        ray_store_mb=80,
        **dict(zip((f"{name}_port" for name in names), _free_ports(len(names)), strict=True)),
    )


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def artefacts(up: Running) -> dict[str, str]:
    """The latest of each key, as the server's pages have it."""
    user, _, password = token(up.settings.prefect_password_path, "ordinis:").partition(":")
    found = httpx.post(f"{up.settings.prefect_url}/artifacts/latest/filter", json={}, auth=(user, password))
    return {row["key"]: row["data"] for row in found.raise_for_status().json() if row["key"]}
