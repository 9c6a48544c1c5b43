"""Reference data: what each symbol is, and in which steps it trades.

A reference file is YAML: `defaults` for the fields that most instruments share, then one entry per instrument. The
file is checked once, on loading, and an error names the file, the symbol and the field. A daily volume that nobody
measured is marked as assumed, since a cost model that divides by it inherits the assumption.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

from ordinis.domain.instruments import AssetClass, Instrument
from ordinis.errors import ConfigurationError

SAMPLE_INSTRUMENTS = Path(__file__).with_name("sample_instruments.yaml")
"""The instruments of the sample market; ships with the package."""

_FIELDS = {field.name for field in fields(Instrument)}
_REQUIRED = [field.name for field in fields(Instrument) if field.default is MISSING]


def load_instruments(path: Path) -> dict[str, Instrument]:
    """Read a reference file.

    Returns:
        Instruments by symbol, in the order of the file.

    Raises:
        ConfigurationError: the file is missing, is not YAML, or a field does not say what it must.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(str(path), f"is not YAML: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("instruments"), list):
        raise ConfigurationError(str(path), "needs a list under `instruments`")
    defaults = content.get("defaults") or {}
    if not isinstance(defaults, dict):
        raise ConfigurationError(str(path), "`defaults` must be a mapping of field to value")
    instruments: dict[str, Instrument] = {}
    for position, entry in enumerate(content["instruments"], start=1):
        if not isinstance(entry, dict):
            raise ConfigurationError(str(path), f"instrument {position} is not a mapping of field to value")
        instrument = _instrument(str(path), position, {**defaults, **entry})
        if instrument.symbol in instruments:
            raise ConfigurationError(str(path), f"symbol {instrument.symbol} is there twice")
        instruments[instrument.symbol] = instrument
    return instruments


def _instrument(path: str, position: int, entry: Mapping[str, Any]) -> Instrument:
    symbol = entry.get("symbol")
    if not isinstance(symbol, str) or not symbol:
        # YAML 1.1 reads ON, NO and Y as booleans, and there are such tickers.
        raise ConfigurationError(path, f"instrument {position}, field symbol: {symbol!r} is not text; quote it")
    where = f"symbol {symbol}, field "
    for name in sorted(set(entry) - _FIELDS):
        raise ConfigurationError(path, f"{where}{name}: no such field; there are {', '.join(sorted(_FIELDS))}")
    for name in _REQUIRED:
        if entry.get(name) is None:
            raise ConfigurationError(path, f"{where}{name}: missing")
    values = {}
    for name, value in entry.items():
        try:
            values[name] = _READERS[name](value)
        except (TypeError, ValueError, InvalidOperation) as error:
            raise ConfigurationError(path, f"{where}{name}: {value!r} {_EXPECTED[name]}") from error
    if values.get("adv_is_assumed") and values.get("adv") is None:
        raise ConfigurationError(path, f"{where}adv_is_assumed: true, but there is no adv")
    return Instrument(**values)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TypeError
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _step(value: Any) -> Decimal:
    step = Decimal(str(value))
    if not step.is_finite() or step <= 0:
        raise ValueError
    return step


def _volume(value: Any) -> float | None:
    return None if value is None else float(_step(value))


_READERS: dict[str, Any] = {
    "symbol": _text,
    "name": _text,
    "asset_class": AssetClass,
    "tick": _step,
    "lot": _step,
    "currency": _text,
    "sector": _text,
    "tradable": _truth,
    "adv": _volume,
    "adv_is_assumed": _truth,
}
_EXPECTED = {
    **dict.fromkeys(("symbol", "name", "currency", "sector"), "is not text"),
    "asset_class": f"is not one of {', '.join(AssetClass)}",
    **dict.fromkeys(("tick", "lot", "adv"), "is not a positive number"),
    **dict.fromkeys(("tradable", "adv_is_assumed"), "is not true or false"),
}
