"""What each symbol moves with: factor exposures as a night's attribution measured them, and how long they count.

The exposure of a book with weights w to a factor f is

    E_f = sum_i w_i beta_if

with beta_if the slope of symbol i's return on the factor's. A symbol of which nothing is known is taken to move with
the market one for one and with no other factor; so is every symbol while there are no exposures that count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from ordinis.errors import ConfigurationError

MARKET = "market"
OLDEST = 5
"""Sessions: the exposures of an earlier one are not those of now."""
LARGEST = 1_000.0
"""An exposure beyond this is a slip, or a regression on nothing."""


@dataclass(frozen=True)
class FactorExposures:
    """Of the symbols that were held at the close of `session`, or might have been."""

    session: date
    factors: tuple[str, ...]
    by_symbol: Mapping[str, Mapping[str, float]]
    """One number for each of `factors`."""

    def __post_init__(self) -> None:
        where = f"exposures of {self.session}"
        for symbol, row in self.by_symbol.items():
            if row.keys() != set(self.factors):
                raise ConfigurationError(
                    where, f"{symbol} has {', '.join(row) or 'none'}, not {', '.join(self.factors)}"
                )
            for factor, value in row.items():
                if not is_exposure(value):
                    raise ConfigurationError(where, f"{symbol} to {factor}: {value!r} is no exposure")


def is_exposure(value: object) -> bool:
    """Whether `value` is a number that an exposure may have."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    # What is no number is not at most anything.
    return abs(value) <= LARGEST


def exposure_of(known: FactorExposures | None, symbol: str, factor: str) -> float:
    """As it is known, or as it is guessed."""
    row = {} if known is None else known.by_symbol.get(symbol, {})
    return row.get(factor, 1.0 if factor == MARKET else 0.0)


def why_guessed(known: FactorExposures | None, age: int) -> str:
    """Why nothing in `known` counts, whose session was `age` sessions ago; empty where it counts."""
    if known is None:
        return "no exposures are known"
    if age < 1:
        return f"exposures of {known.session} are not of an earlier session"
    return f"exposures of {known.session} are {age} sessions old" if age > OLDEST else ""
