"""What each program may know.

A program's environment is written out, never passed on whole: paths, language and libraries from ours, the settings
without their secrets, and the switches that keep Prefect and Ray quiet, on loopback, and behind a token. What holds
a broker's key is given to the execution actor and the venue alone, which inherit ours.

Two of Ray's switches need a word. Ray replaces 127.0.0.1 by the machine's own address, so that other nodes can reach
it; RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 is how it is told, on every system, that there are none. And a replica that
runs its code in the loop of its own, without a thread in between, answers in half the time.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from ordinis import bootstrap
from ordinis.settings import Settings

INHERITED = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH",
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "SYSTEMROOT",
)  # fmt: skip
INHERITED_FAMILIES = ("LC_", "CUDA_", "NVIDIA_", "COVERAGE_")


def ours() -> dict[str, str]:
    """Variables of this process that any program may have: none of them is a secret."""
    return {
        name: value for name, value in os.environ.items() if name in INHERITED or name.startswith(INHERITED_FAMILIES)
    }


def everything(settings: Settings) -> dict[str, str]:
    """This process's whole environment, for the programs that may hold a broker's key."""
    return {**os.environ, **settings.environment()}


def for_server(settings: Settings) -> dict[str, str]:
    """For the Prefect server, which reads none of our databases: their URLs may hold a password."""
    return {name: value for name, value in for_prefect(settings).items() if not name.endswith("_DATABASE")}


def for_prefect(settings: Settings) -> dict[str, str]:
    """For Prefect's worker and the flows that it runs; they also ask Ray."""
    password = token(settings.prefect_password_path, "ordinis:")
    return {
        **ours(),
        **settings.environment(),
        **ray_switches(settings),
        "PREFECT_HOME": str(settings.home.absolute() / "prefect"),
        "PREFECT_API_URL": settings.prefect_url,
        "PREFECT_API_AUTH_STRING": password,
        "PREFECT_SERVER_API_AUTH_STRING": password,
        "PREFECT_SERVER_API_HOST": settings.host,
        "PREFECT_SERVER_API_PORT": str(settings.prefect_port),
        "PREFECT_UI_API_URL": settings.prefect_url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "ordinis",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_WORKER_HEARTBEAT_SECONDS": "10",
        # What the automation that ends zombies listens for.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_CLI_COLORS": "false",
    }


def for_ray(settings: Settings) -> dict[str, str]:
    """For the Ray head and all that runs on it, the allocation service among them."""
    environment = {**ours(), **settings.environment(databases=False), **ray_switches(settings)}
    given = settings.token.get_secret_value()
    # Without one, the service reads the token where everybody does, in the home folder.
    return {**environment, "ORDINIS_TOKEN": given} if given else environment


def ray_switches(settings: Settings) -> dict[str, str]:
    """For every process that joins the Ray cluster, also a flow that was started by hand."""
    token(settings.ray_token_path)
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(settings.ray_token_path),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_DEDUP_LOGS": "0",
        "OMP_NUM_THREADS": "1",
    }


def ray_folder(settings: Settings) -> Path:
    """Ray's own folder: its sockets lie in it, and a socket's path has at most 107 characters."""
    name = hashlib.sha256(str(settings.home.absolute()).encode()).hexdigest()[:8]
    return Path(tempfile.gettempdir()) / f"ordinis-{name}"


def token(path: Path, user: str = "") -> str:
    """The token in a file that only its owner can read; made when it does not exist, `user` before it."""
    return bootstrap.secret_file(path, user)
