"""One text for one value: the form in which inputs are hashed, compared and replayed.

JSON with sorted keys and no spaces. A Decimal is written as a string without exponent or trailing zeros, so that
two databases which keep 10 and 10.00 agree; a float as the shortest text that reads back as the same float;
an instant in UTC with microseconds. Floats that are not finite have no canonical text and are refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from enum import Enum
from typing import Any

PLAIN = frozenset({str, int, float, bool, type(None)})
"""Exactly these: a member of an enumeration is a string too, and is written as its value."""
ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

EXACT = Context(prec=100)
"""In which money is summed: the default context rounds to 28 digits, and sums would depend on their order."""


def decimal_text(value: Decimal) -> str:
    """`value` without exponent or trailing zeros: 10.50 is "10.5", 1E+2 is "100"."""
    # Decimal.normalize would round to the context's 28 digits.
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def to_decimal(value: float) -> Decimal:
    """The shortest decimal that reads back as `value`: the one crossing from estimates to money."""
    return Decimal(repr(float(value)))


def instant_text(value: datetime) -> str:
    """`value` in UTC with microseconds and a Z; naive instants are refused."""
    if value.tzinfo is None:
        raise ValueError(f"naive instant {value!r}: every instant is aware UTC")
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_instant(text: str) -> datetime:
    """Read an instant in ISO 8601 with its offset; ValueError for a naive one."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"naive instant {text!r}: say the offset, Z for UTC")
    return instant.astimezone(UTC)


def plain(value: Any) -> Any:
    """`value` as dicts, lists, strings, numbers, booleans and None."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, datetime):
        return instant_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (int, float, str)):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "items"):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no canonical text")


def canonical(value: Any) -> str:
    """The canonical text of `value`; ValueError when a float in it is not finite."""
    return plain_text(plain(value))


def plain_text(value: Any) -> str:
    """The canonical text of a value that is plain already, for the many rows that are read to be hashed."""
    return ENCODER.encode(value)


def sha256(value: Any) -> str:
    """Hex digest of the canonical text of `value`."""
    return digest(canonical(value))


def digest(text: str) -> str:
    """Hex sha256 of a text that is already canonical."""
    return hashlib.sha256(text.encode()).hexdigest()
