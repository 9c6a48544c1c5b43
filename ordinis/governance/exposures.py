"""Factor exposures on their way from a night's attribution to the rules: a file, and a decision's stored inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from ordinis.domain.canonical import plain
from ordinis.domain.exposures import FactorExposures
from ordinis.errors import ConfigurationError
from ordinis.files import replace_text


def publish(exposures: FactorExposures, path: Path) -> None:
    """Write them where the actor finds those in force; a reader sees the old ones or the new ones whole."""
    replace_text(path, json.dumps(plain(exposures), indent=1, sort_keys=True) + "\n")


def published(path: Path) -> FactorExposures | None:
    """What was published at `path`; None before the first time.

    Raises:
        ConfigurationError: the file cannot be read, or holds no exposures.
    """
    try:
        return exposures_in(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ConfigurationError) as error:
        raise ConfigurationError(f"exposures {path}", f"cannot be read: {error}; a night writes them anew") from error


def stored_exposures(inputs: str) -> FactorExposures | None:
    """Those by which a decision was judged, from what was asked of it; None where there were none, or no caps."""
    body = json.loads(inputs).get("exposures")
    return None if body is None else exposures_in(body)


def exposures_in(body: Any) -> FactorExposures:
    """Read back what `plain` wrote.

    Raises:
        ConfigurationError: something is missing, or not what it must be.
    """
    try:
        session, factors, rows = date.fromisoformat(body["session"]), body["factors"], body["by_symbol"]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError("exposures", f"session, factors and by_symbol are needed: {error!r}") from error
    if not (isinstance(factors, list) and all(isinstance(name, str) for name in factors)):
        raise ConfigurationError("exposures", f"factors: {factors!r} is not a list of names")
    if not (isinstance(rows, Mapping) and all(isinstance(row, Mapping) for row in rows.values())):
        raise ConfigurationError("exposures", "by_symbol is not a mapping of symbols to numbers by factor")
    return FactorExposures(session, tuple(factors), rows)
