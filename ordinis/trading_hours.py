"""When an exchange opens and closes, session by session, computed once and kept.

To compute it takes exchange_calendars and with it pandas: a second, of which an actor that starts after a crash has
three. So the hours lie in the user's cache folder, by exchange, version of the library and last year, each with its
digest: another version, a new year or a damaged file has them computed again, and a folder that cannot be written
costs no more than the second.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from platformdirs import user_cache_path

logger = logging.getLogger(__name__)
FIRST_SESSION = date(1990, 1, 2)
"""The sample's prices begin here, and the calendar library's default does not."""


@dataclass(frozen=True)
class TradingHours:
    """The sessions of one exchange in order, with the instants of their open and close."""

    sessions: tuple[date, ...]
    opens: tuple[datetime, ...]
    closes: tuple[datetime, ...]


def trading_hours(exchange: str, today: date) -> TradingHours:
    """The hours of `exchange`, by its ISO 10383 code, from 1990, or what the library knows of it, to next year."""
    last = date(today.year + 1, 12, 31)
    name = f"{exchange.replace('/', '-')}-{version('exchange_calendars')}-{last.year}.json"
    file = user_cache_path("ordinis") / name
    kept = _read(file)
    if kept is None:
        kept = _computed(exchange, last)
        _keep(file, kept)
    return kept


def _computed(exchange: str, last: date) -> TradingHours:
    # pandas comes with this import.
    import exchange_calendars

    named = exchange_calendars.get_calendar(exchange)
    known_from, known_to = named.bound_min(), named.bound_max()
    first = FIRST_SESSION if known_from is None else max(FIRST_SESSION, known_from.date())
    last = last if known_to is None else min(last, known_to.date())
    calendar = exchange_calendars.get_calendar(exchange, start=first.isoformat(), end=last.isoformat())
    return TradingHours(
        tuple(stamp.date() for stamp in calendar.sessions), _instants(calendar.opens), _instants(calendar.closes)
    )


def _instants(stamps: Any) -> tuple[datetime, ...]:
    """A pandas column of stamps as plain datetimes in UTC."""
    return tuple(stamp.to_pydatetime().astimezone(UTC) for stamp in stamps.dt.tz_convert("UTC"))


def _read(file: Path) -> TradingHours | None:
    """What was kept, or None where there is nothing or not what was written."""
    try:
        told, _, body = file.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    if told != _digest(body):
        logger.warning("the trading hours in %s are damaged; they are computed again", file)
        return None
    columns = json.loads(body)
    return TradingHours(
        tuple(map(date.fromisoformat, columns["sessions"])),
        *(tuple(datetime.fromtimestamp(second, UTC) for second in columns[name]) for name in ("opens", "closes")),
    )


def _keep(file: Path, hours: TradingHours) -> None:
    seconds = {name: [int(at.timestamp()) for at in getattr(hours, name)] for name in ("opens", "closes")}
    body = json.dumps({"sessions": [day.isoformat() for day in hours.sessions], **seconds})
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, delete=False) as written:
            written.write(f"{_digest(body)}\n{body}")
        # Another process may be writing the same: each reader finds one of them whole.
        Path(written.name).replace(file)
    except OSError as error:
        logger.debug("the trading hours cannot be kept in %s: %s", file, error)


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
