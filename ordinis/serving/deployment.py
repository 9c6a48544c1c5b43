"""The allocation service on Ray Serve: `python -m ordinis.serving.deployment`.

It joins the Ray cluster that runs already, deploys the HTTP application of `serving.app`, and takes it down again when
it is told to stop. Each replica builds the application for itself from the settings, so nothing that could not be
pickled crosses a process, and no secret does: settings travel without them, the token is read where it is kept.

Ray's bundled HAProxy is faster than the default proxy, and is not used: its statistics port listens on every
interface of the machine, whatever address Serve is given.
"""

from __future__ import annotations

import logging
import signal
import threading
from importlib import import_module
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve

from ordinis import bootstrap
from ordinis.serving.app import MOST_AT_ONCE, create_app
from ordinis.settings import Settings, load

logger = logging.getLogger(__name__)

APPLICATION = "ordinis"
REQUEST_SECONDS = 10.0


def build_app() -> FastAPI:
    """The application of one replica."""
    bootstrap.logging_to()
    settings = load()
    _keep_replica_on(settings.host)
    return create_app(bootstrap.advisor(settings), bootstrap.token(settings))


def _keep_replica_on(host: str) -> None:
    """Bind the port on which a replica hears from the proxy to `host`.

    Ray 2.60 opens it on every interface, and unpickles what comes in. There is no setting for it, so its one call is
    given another address. Should another version of Ray not have that call, the replica fails here, closed.
    """
    replica: Any = import_module("ray.serve._private.replica")
    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: bind(server, address.replace("[::]", host))


def application() -> serve.Application:
    """One replica that Serve asks every few seconds whether it still turns its loop, and replaces when it does not."""
    deployment: Any = serve.deployment(
        serve.ingress(build_app)(),
        name="allocations",
        num_replicas=1,
        # Above the application's own limit, so that it is the application that says "too busy", in a problem document.
        max_ongoing_requests=2 * MOST_AT_ONCE,
        max_queued_requests=2 * MOST_AT_ONCE,
        health_check_period_s=5.0,
        health_check_timeout_s=10.0,
        graceful_shutdown_timeout_s=5.0,
        ray_actor_options={"num_cpus": 0.5},
    )
    bound: serve.Application = deployment.bind()
    return bound


def deploy(settings: Settings) -> None:
    """Join the cluster and deploy; returns when the first replica answers."""
    ray.init(
        address=settings.ray_address,
        namespace=APPLICATION,
        runtime_env={"env_vars": settings.environment(databases=False)},
        log_to_driver=True,
        configure_logging=False,
    )
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": settings.host, "port": settings.serve_port, "request_timeout_s": REQUEST_SECONDS},
    )
    serve.run(application(), name=APPLICATION, route_prefix="/")


def withdraw() -> None:
    """Take the application down, and Serve with it when nobody else uses it."""
    serve.delete(APPLICATION)
    if not serve.status().applications:
        serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()


def main() -> None:
    bootstrap.logging_to()
    settings = load()
    stopped = threading.Event()
    deploy(settings)
    # After ray.init, which installs handlers of its own.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    logger.info("serving url=%s", settings.serve_url)
    stopped.wait()
    withdraw()
    logger.info("withdrawn url=%s", settings.serve_url)


if __name__ == "__main__":
    # Under its own name, not as __main__: replicas then import this module instead of receiving a copy of it.
    from ordinis.serving import deployment

    deployment.main()
