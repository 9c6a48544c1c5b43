"""Numbers as people write them: the same everywhere in the report.

A minus is a minus sign, a number that is not known is a dash, and a small number is never "-0.0".
"""

from __future__ import annotations

import math

MINUS = "\N{MINUS SIGN}"
UNKNOWN = "\N{EN DASH}"
NO_BREAK = "\N{NO-BREAK SPACE}"


def number(value: float, decimals: int = 2) -> str:
    """`value` with thousands separated; a dash when it is not finite."""
    return signed(f"{value:,.{decimals}f}") if math.isfinite(value) else UNKNOWN


def percent(fraction: float, decimals: int = 1) -> str:
    """0.123 as "12.3 %", with a space that does not break."""
    return f"{number(100 * fraction, decimals)}{NO_BREAK}%" if math.isfinite(fraction) else UNKNOWN


def signed(text: str) -> str:
    """`text` of a number with a true minus, and none before a zero."""
    return text.replace("-", MINUS) if any(digit in text for digit in "123456789") else text.lstrip("-")


def plural(count: int, noun: str) -> str:
    """1 as "1 session", 2000 as "2,000 sessions"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
