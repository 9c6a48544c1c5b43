"""Factor returns from where people have them: exchange-traded funds, Kenneth French's files, and any Parquet file.

Funds follow factors at a distance, but their closes are known the same evening:

    market = r(SP500)        factor_k = r(ETF_k) - r(SP500)      k = momentum, quality, size, low volatility, value

A factor is known when it is published, not when it happened: French brings a month out some weeks after its end, and
with it the days of that month. Each table says how long that takes, and `known_by` leaves out what was not out yet, so
that a regression of an evening in March knows no February that came in April. Returns are fractions per session or per
month; French writes percent, with -99.99 or -999 for what is missing.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pandas as pd

from ordinis.errors import DataUnavailable
from ordinis.ports import FloatArray, PriceHistory

Period = Literal["session", "month"]
FRENCH_LAG = timedelta(days=45)
"""From the end of a month to its publication; French's files say only the vintage of CRSP that they were made from."""
RISK_FREE = "RF"
MARKET = "SP500"
FACTOR_ETFS: Mapping[str, str] = {
    "momentum": "MTUM",
    "quality": "QUAL",
    "size": "SIZE",
    "low volatility": "USMV",
    "value": "VLUE",
}
FRENCH_NAMES = {
    "Mkt-RF": "market", "SMB": "size", "HML": "value", "RMW": "profitability", "CMA": "investment", "Mom": "momentum",
    "MOM": "momentum",
}  # fmt: skip
MISSING = (-99.99, -999.0)
TOO_MUCH = 0.6
"""No factor has moved by so much in a month or a day: beyond it a table is in percent."""
_DAY = re.compile(r"^(\d{4})-?(\d{2})-?(\d{2})?$")


@dataclass(frozen=True)
class FactorTable:
    """T rows of F factors, oldest first."""

    source: str
    period: Period
    names: tuple[str, ...]
    dates: tuple[date, ...]
    """Sessions, or the last days of months."""
    returns: FloatArray
    """(T, F) fractions; NaN where the source has none."""
    risk_free: FloatArray
    """(T,) fractions; NaN where the source has none."""
    lag: timedelta = timedelta(0)
    """From the end of a row's month to its publication; none for what is known the same evening."""

    def due(self, day: date) -> date:
        """The last row that must be out on `day` ends on this date or, in a table of months, in its month."""
        if self.period == "session" and not self.lag:
            return day
        first = day.replace(day=1)
        while self._published(first) > day:
            first = (first - timedelta(days=1)).replace(day=1)
        return month_end(first.year, first.month)

    def late(self, day: date) -> bool:
        """Whether a row that must be out on `day` is missing."""
        last, due = (self.dates[-1] if self.dates else date.min), self.due(day)
        whole = self.period == "month" or bool(self.lag)
        return (last.year, last.month) < (due.year, due.month) if whole else last < due

    def known_by(self, day: date) -> FactorTable:
        """The rows that were out on `day`."""
        return self._rows([self._published(each) <= day for each in self.dates])

    def between(self, first: date, last: date) -> FactorTable:
        """The rows from `first` to `last`, both included."""
        return self._rows([first <= each <= last for each in self.dates])

    def _published(self, day: date) -> date:
        whole = self.period == "month" or bool(self.lag)
        return month_end(day.year, day.month) + self.lag if whole else day

    def _rows(self, kept: Sequence[bool]) -> FactorTable:
        places = np.flatnonzero(kept)
        dates = tuple(self.dates[place] for place in places)
        returns, risk_free = self.returns[places], self.risk_free[places]
        return FactorTable(self.source, self.period, self.names, dates, returns, risk_free, self.lag)


class Closes(Protocol):
    """Where closes come from."""

    def history(self, symbols: tuple[str, ...], first: date, last: date) -> PriceHistory: ...


def etf_factors(bars: Closes, last: date) -> FactorTable:
    """Factors from all closes of exchange-traded funds up to `last`."""
    history = bars.history((MARKET, *FACTOR_ETFS.values()), date.min, last)
    returns = history.closes[1:] / history.closes[:-1] - 1.0
    factors = np.column_stack([returns[:, :1], returns[:, 1:] - returns[:, :1]])
    # A night that asks for its factors before their closes are there finds them missing, not unknown.
    known = np.flatnonzero(np.isfinite(factors).any(axis=1))
    dates = tuple(history.sessions[row + 1] for row in known)
    nothing = np.full(len(known), np.nan)
    return FactorTable("factor ETFs", "session", ("market", *FACTOR_ETFS), dates, factors[known], nothing)


def read_french(path: Path, lag: timedelta = FRENCH_LAG) -> FactorTable:
    """One of Kenneth French's CSV files, daily or monthly; its annual table is left out.

    Raises:
        DataUnavailable: it cannot be read, or is no such file; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataUnavailable(str(path), "factors", error.strerror or str(error)) from error
    header = next((place for place, line in enumerate(lines) if re.match(r"^\s*(Date)?\s*,\s*\S", line)), None)
    if header is None:
        raise DataUnavailable(str(path), "factors", "no line such as ',Mkt-RF,SMB,HML,RF' names its columns")
    columns = [name.strip() for name in lines[header].split(",")[1:]]
    dates, rows = [], []
    for number, line in enumerate(lines[header + 1 :], start=header + 2):
        cells = [cell.strip() for cell in line.split(",")]
        if not _DAY.match(cells[0]) or len(cells[0]) == 4:
            break
        try:
            dates.append(_day(cells[0]))
            rows.append([float(cell) for cell in cells[1:]])
        except ValueError as error:
            raise DataUnavailable(str(path), f"date and numbers in line {number}", str(error)) from error
        if len(rows[-1]) != len(columns):
            raise DataUnavailable(str(path), f"{len(columns)} numbers in line {number}", f"it has {len(rows[-1])}")
    later = lines[header + 1 + len(rows) :]
    for number, line in enumerate(later, start=header + 2 + len(rows)):
        first = line.split(",")[0].strip()
        if rows and _DAY.match(first) and len(first) == len(lines[header + 1].split(",")[0].strip()):
            raise DataUnavailable(str(path), f"end before line {number}", "rows go on after a line that is none")
        if re.match(r"^\s*(Date)?\s*,\s*\S", line):
            break
    if not rows:
        raise DataUnavailable(str(path), "factors", f"no row follows its header in line {header + 1}")
    values = np.array(rows)
    values[np.isin(values, MISSING)] = np.nan
    # Two decimals in percent are four in fractions: rounding takes away what the division adds.
    values = np.round(values / 100.0, 8)
    factors = [place for place, name in enumerate(columns) if name != RISK_FREE]
    names = tuple(FRENCH_NAMES.get(columns[place], columns[place]) for place in factors)
    risk_free = values[:, columns.index(RISK_FREE)] if RISK_FREE in columns else np.full(len(values), np.nan)
    of_months = len(re.sub(r"\D", "", lines[header + 1].split(",")[0])) == 6
    period: Period = "month" if of_months else "session"
    return _checked(FactorTable(path.name, period, names, tuple(dates), values[:, factors], risk_free, lag))


def read_parquet(path: Path, lag: timedelta = timedelta(0)) -> FactorTable:
    """A Parquet file with a column `session` or `month` of dates, a column for each factor, and `RF` if it is known.

    Raises:
        DataUnavailable: it cannot be read, has no dates or no numbers, or is in percent.
    """
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataUnavailable(str(path), "factors", getattr(error, "strerror", None) or str(error)) from error
    periods: tuple[Period, ...] = ("session", "month")
    period = next((each for each in periods if each in frame), None)
    if period is None:
        raise DataUnavailable(str(path), "factors", "it needs a column `session` or `month` of dates")
    try:
        if pd.api.types.is_numeric_dtype(frame[period]):
            raise ValueError(f"`{period}` holds numbers")
        stamps = pd.to_datetime(frame[period])
        if stamps.isna().any():
            raise ValueError(f"`{period}` has rows without a date")
        numbers = frame.drop(columns=[period]).astype(float)
    except (ValueError, TypeError) as error:
        raise DataUnavailable(str(path), f"dates and numbers: {error}") from error
    dates = tuple(stamp.date() for stamp in stamps)
    if period == "month":
        dates = tuple(month_end(day.year, day.month) for day in dates)
    factors = [name for name in numbers if name != RISK_FREE]
    risk_free = numbers[RISK_FREE].to_numpy() if RISK_FREE in numbers else np.full(len(numbers), np.nan)
    returns = numbers[factors].to_numpy()
    return _checked(FactorTable(path.name, period, tuple(map(str, factors)), dates, returns, risk_free, lag))


def joined(tables: Sequence[FactorTable]) -> FactorTable:
    """The dates that all `tables` have, with the factors of all; the risk-free rate is the first that is known."""
    if len({table.period for table in tables}) != 1:
        raise DataUnavailable(" and ".join(t.source for t in tables), "common period", "some are monthly, some daily")
    return reduce(_both, tables)


def _both(one: FactorTable, other: FactorTable) -> FactorTable:
    twice = sorted(set(one.names) & set(other.names))
    if twice:
        raise DataUnavailable(f"{one.source} and {other.source}", f"one {', '.join(twice)}", "both have it")
    common = set(one.dates) & set(other.dates)
    left, right = (table._rows([day in common for day in table.dates]) for table in (one, other))
    return FactorTable(
        f"{one.source} and {other.source}",
        one.period,
        one.names + other.names,
        left.dates,
        np.column_stack([left.returns, right.returns]),
        np.where(np.isfinite(left.risk_free), left.risk_free, right.risk_free),
        max(one.lag, other.lag),
    )


def _checked(table: FactorTable) -> FactorTable:
    for before, after in zip(table.dates, table.dates[1:], strict=False):
        if after <= before:
            raise DataUnavailable(table.source, "dates in order", f"{after} follows {before}")
    if not table.names or not table.dates:
        raise DataUnavailable(table.source, "factors")
    largest = float(np.nanmax(np.abs(table.returns), initial=0.0))
    if largest > TOO_MUCH:
        raise DataUnavailable(table.source, "returns as fractions", f"the largest is {largest:g}; are they in percent?")
    return table


def _day(text: str) -> date:
    year, month, day = _DAY.match(text).groups()  # type: ignore[union-attr]
    first = date(int(year), int(month), int(day or 1))
    return first if day else month_end(first.year, first.month)


def month_end(year: int, month: int) -> date:
    """The last calendar day of a month."""
    return date(year, month, monthrange(year, month)[1])
