"""Where heavy work runs: on the Ray cluster that is up, or on a small one of our own where none is."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from ordinis.operations.environments import ray_switches
from ordinis.settings import Settings

T = TypeVar("T")
RAY_SECONDS = 300.0
LOCAL_STORE_BYTES = 80 * 1024 * 1024


def on_ray(settings: Settings, function: Callable[..., T], *arguments: Any) -> T:
    """Run `function` on the cluster that is up, or on a small Ray of our own where none is."""
    with connected(settings) as ray:
        result: T = ray.get(ray.remote(num_cpus=1)(function).remote(*arguments), timeout=RAY_SECONDS)
        return result


@contextmanager
def connected(settings: Settings) -> Iterator[Any]:
    """Ray, and its end with the block; inside another such block the one that is there."""
    # Ray reads these when it is imported, and a flow that was started by hand does not have them.
    os.environ.update(ray_switches(settings))
    import ray

    if ray.is_initialized():
        yield ray
        return
    # A short path, because sockets lie in it; gone with all of Ray's logs when the numbers are there.
    with TemporaryDirectory(prefix="ordinis-", ignore_cleanup_errors=True) as folder:
        alone = {
            "address": "local",
            "num_cpus": 1,
            "include_dashboard": False,
            "object_store_memory": LOCAL_STORE_BYTES,
            "_temp_dir": folder,
        }
        there = _listens(settings.host, settings.ray_port)
        cluster: dict[str, Any] = {"address": settings.ray_address} if there else alone
        with _without_databases():
            ray.init(**cluster, log_to_driver=False, configure_logging=False)
        try:
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def _without_databases() -> Iterator[None]:
    """What Ray starts inherits our environment, and needs no database: their URLs may hold a password."""
    taken = {name: os.environ.pop(name) for name in list(os.environ) if name.endswith("_DATABASE")}
    try:
        yield
    finally:
        os.environ.update(taken)


def _listens(host: str, port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0
