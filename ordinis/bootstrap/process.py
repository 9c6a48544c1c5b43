"""What every process sets up first: its log, and the token of the allocation service."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ordinis.settings import Settings


def logging_to(stream: Any = sys.stderr, level: int = logging.INFO) -> None:
    """One line an event, key=value, secrets struck out, on `stream`."""
    import structlog

    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.processors.TimeStamper("iso", utc=True)],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _strike_out_secrets,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger("ordinis")
    root.handlers, root.propagate = [handler], False
    root.setLevel(level)


_SECRETS: set[str] = set()


def _strike_out_secrets(_logger: object, _name: str, event: Any) -> Any:
    """Last before rendering, after tracebacks are text, so that nothing slips by."""
    for key, value in event.items():
        if isinstance(value, str):
            for secret in _SECRETS:
                value = value.replace(secret, "***")
            event[key] = value
    return event


def token(settings: Settings) -> str:
    """The bearer token of the allocation service: from the settings, or a file that only its owner can read."""
    value = settings.token.get_secret_value()
    if not value:
        path = settings.home.absolute() / "token"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(secrets.token_urlsafe(32))
        value = path.read_text(encoding="utf-8").strip()
    _SECRETS.add(value)
    return value
