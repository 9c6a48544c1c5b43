"""What every process sets up first: its log, and the token of the allocation service."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ordinis.errors import ConfigurationError

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
    if value:
        _SECRETS.add(value)
        return value
    return secret_file(settings.home.absolute() / "token")


def secret_file(path: Path, before: str = "") -> str:
    """The secret in a file that only its owner can read; made when it does not exist, with `before` in front.

    Raises:
        ConfigurationError: the file is empty.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, made = tempfile.mkstemp(dir=path.parent, prefix="token-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(before + secrets.token_urlsafe(32))
        # Put in place whole: of several processes that try at once one wins, and all read the same.
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
        Path(made).unlink()
    value = path.read_text(encoding="utf-8").strip()
    if not value:
        raise ConfigurationError(str(path), "is empty; remove it, and the next start makes another")
    _SECRETS.add(value)
    return value
