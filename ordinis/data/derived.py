"""Columns computed beside a batch, so that an expectation can speak of more than one cell.

An expectation looks at columns. Whether a day is a session, whether the store says otherwise, whether a close is ten
times the one before it: each is computed here as a column of its own and named in the contract file under `derived`.
A null means that the question does not arise, and no expectation holds it against the row.

Cells are first read into one type a column: `number` as float64, `text` as str, `date` as a date that is not a
datetime, `instant` as an aware datetime, `truth` as bool. A cell that is not of its type becomes null and is
described in words in `wrong_type`; nothing is parsed, since a vendor that sends text today changed its format.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from ordinis.clock import TradingCalendar

JUMP = 10.0
"""A close that is this many times the last one, or its inverse, is no measure for the next one."""
JUMP_MEMORY = timedelta(days=31)
"""Nor is a close that is older than this."""


@dataclass(frozen=True, eq=False)
class Background:
    """What a batch is checked against."""

    checked_at: datetime
    calendar: TradingCalendar
    symbols: frozenset[str]
    """The symbols that may come."""
    stored: pd.DataFrame = field(default_factory=pd.DataFrame)
    """What the store holds of these symbols and dates, and a month before; columns as the batch, and `source`."""
    revision: bool = False
    """The batch is declared to correct what is stored."""


def absent(cell: Any) -> bool:
    """Whether `cell` is a null of any library, or NaN."""
    return cell is None or cell is pd.NaT or cell is pd.NA or (isinstance(cell, _NUMBERS) and bool(cell != cell))


def read_cells(batch: pd.DataFrame, types: Mapping[str, str]) -> pd.DataFrame:
    """The columns of `types` with one type each, `row_no` from 1 on, and `wrong_type`."""
    columns: dict[str, Any] = {}
    complaints: list[list[str]] = [[] for _ in range(len(batch))]
    for name, kind in types.items():
        series = batch[name]
        if kind == "number" and (pd.api.types.is_float_dtype(series) or pd.api.types.is_integer_dtype(series)):
            columns[name] = series.to_numpy(dtype=np.float64, na_value=np.nan)
            continue
        cells, reader = series.astype(object).tolist(), _READERS[kind]
        for row, cell in enumerate(cells):
            if absent(cell):
                cells[row] = None
                continue
            cells[row], problem = reader(cell)
            if problem:
                complaints[row].append(f"{name} {problem}")
        columns[name] = pd.Series(cells, dtype=np.float64 if kind == "number" else object)
    wrong = ["; ".join(words) or None for words in complaints]
    frame = pd.DataFrame(columns, index=range(len(batch)))
    return frame.assign(row_no=range(1, len(batch) + 1), wrong_type=pd.Series(wrong, dtype=object))


def derive(names: Sequence[str], frame: pd.DataFrame, key: Sequence[str], background: Background) -> pd.DataFrame:
    """`frame` of `read_cells` with the derived columns `names` beside it."""
    values = [name for name in frame.columns if name not in (*key, "row_no", "wrong_type")]
    added = {name: DERIVED[name](frame, list(key), values, background) for name in names if name != "wrong_type"}
    return frame.assign(**{name: pd.Series(column, dtype=object) for name, column in added.items()})


Column = Sequence[Any]
Cells = tuple[Any, str]


def _number(cell: Any) -> Cells:
    if isinstance(cell, bool) or not isinstance(cell, _NUMBERS):
        return None, f"is {_described(cell)}, not a number"
    try:
        return float(cell), ""
    except OverflowError:
        return math.inf, ""


def _text(cell: Any) -> Cells:
    return (cell, "") if isinstance(cell, str) else (None, f"is {_described(cell)}, not text")


def _date(cell: Any) -> Cells:
    if isinstance(cell, datetime):
        return None, f"is a {'naive ' if cell.tzinfo is None else ''}timestamp {cell}, not a date"
    return (cell, "") if isinstance(cell, date) else (None, f"is {_described(cell)}, not a date")


def _instant(cell: Any) -> Cells:
    if not isinstance(cell, datetime):
        return None, f"is {_described(cell)}, not an instant"
    return (None, f"is a naive timestamp {cell}: it has no time zone") if cell.tzinfo is None else (cell, "")


def _truth(cell: Any) -> Cells:
    return (bool(cell), "") if isinstance(cell, (bool, np.bool_)) else (None, f"is {_described(cell)}, not a truth")


def _described(cell: Any) -> str:
    return f"the text {cell!r}" if isinstance(cell, str) else f"{cell!r} ({type(cell).__name__})"


_NUMBERS = (int, float, Decimal, np.number)
_READERS: dict[str, Callable[[Any], Cells]] = {
    "number": _number,
    "text": _text,
    "date": _date,
    "instant": _instant,
    "truth": _truth,
}


def _repeated(frame: pd.DataFrame, key: list[str]) -> list[list[int]]:
    """Positions of the rows that share a key, key by key."""
    repeated = frame[frame.duplicated(key, keep=False) & frame[key].notna().all(axis=1)]
    return [list(group.index) for _, group in repeated.groupby(key, sort=False)]


def _earlier_copy(frame: pd.DataFrame, key: list[str], values: list[str], _: Background) -> Column:
    found: list[int | None] = [None] * len(frame)
    for rows in _repeated(frame, key):
        seen: dict[tuple[Any, ...], int] = {}
        for row in rows:
            first = seen.setdefault(_values(frame, row, values), row)
            found[row] = None if first == row else first + 1
    return found


def _contradicting_row(frame: pd.DataFrame, key: list[str], values: list[str], _: Background) -> Column:
    found: list[int | None] = [None] * len(frame)
    for rows in _repeated(frame, key):
        told = {row: _values(frame, row, values) for row in rows}
        for row in rows:
            found[row] = next((other + 1 for other in rows if told[other] != told[row]), None)
    return found


def _values(frame: pd.DataFrame, row: int, values: list[str]) -> tuple[Any, ...]:
    return tuple(None if absent(cell) else cell for cell in frame.loc[row, values])


def _in_order(frame: pd.DataFrame, key: list[str], _values: list[str], _: Background) -> Column:
    below = np.zeros(len(frame), dtype=bool)
    level = np.ones(len(frame), dtype=bool)
    for name in key:
        rank = pd.factorize(frame[name], sort=True)[0]
        above = np.concatenate([rank[:1], rank[:-1]])
        below |= level & (rank < above)
        level &= rank == above
    return list(~below | frame[key].isna().any(axis=1).to_numpy())


def _is_session(frame: pd.DataFrame, _key: list[str], _values: list[str], background: Background) -> Column:
    calendar = background.calendar

    def judge(day: date) -> bool | None:
        return calendar.is_session(day) if day <= calendar.sessions[-1] else None

    return _by_value(frame["session"], judge)


def _has_closed(frame: pd.DataFrame, _key: list[str], _values: list[str], background: Background) -> Column:
    calendar, now = background.calendar, background.checked_at

    def judge(day: date) -> bool:
        return calendar.closes(day) <= now if calendar.is_session(day) else day < now.date()

    return _by_value(frame["session"], judge)


def _is_month_end(frame: pd.DataFrame, _key: list[str], _values: list[str], _: Background) -> Column:
    return _by_value(frame["month"], lambda day: (day + timedelta(days=1)).day == 1)


def _known_symbol(frame: pd.DataFrame, _key: list[str], _values: list[str], background: Background) -> Column:
    return _by_value(frame["symbol"], lambda symbol: symbol in background.symbols)


def _has_happened(frame: pd.DataFrame, _key: list[str], _values: list[str], background: Background) -> Column:
    return _by_value(frame["at"], lambda at: at <= background.checked_at)


def _by_value(series: pd.Series[Any], judge: Callable[[Any], Any]) -> Column:
    """`judge` of each cell, asked once for each distinct value; null stays null."""
    verdicts = {cell: judge(cell) for cell in set(series.tolist()) if not absent(cell)}
    return [verdicts.get(cell) for cell in series.tolist()]


def _weight_sum(frame: pd.DataFrame, _key: list[str], _values: list[str], _: Background) -> Column:
    return frame.groupby(["account", "as_of"])["weight"].transform("sum").tolist()


def _stored_otherwise(frame: pd.DataFrame, key: list[str], values: list[str], background: Background) -> Column:
    found: list[str | None] = [None] * len(frame)
    if background.revision or background.stored.empty:
        return found
    stored = background.stored.set_index(key)
    known = stored.reindex(pd.MultiIndex.from_frame(frame[key]))
    there = known["source"].notna().to_numpy()
    differs = {}
    for name in values:
        new, old = frame[name].to_numpy(dtype=float), known[name].to_numpy(dtype=float)
        differs[name] = there & (new != old) & ~(np.isnan(new) & np.isnan(old))
    for row in np.flatnonzero(np.any(list(differs.values()), axis=0)):
        words = [f"{name} {known[name].iloc[row]}" for name in values if differs[name][row]]
        found[row] = f"{', '.join(words)} from {known['source'].iloc[row]}"
    return found


def _jump(frame: pd.DataFrame, _key: list[str], _values: list[str], background: Background) -> Column:
    """Each close over the last believed one: a close that jumped is itself no measure for the next."""
    found: list[float | None] = [None] * len(frame)
    key = ["symbol", "session"]
    timeline = frame[[*key, "close"]].assign(row=range(len(frame)))
    if not background.stored.empty:
        stored = background.stored[[*key, "close"]].assign(row=-1)
        again = pd.MultiIndex.from_frame(stored[key]).isin(pd.MultiIndex.from_frame(frame[key]))
        timeline = pd.concat([timeline, stored[~again]])
    prices = timeline["close"].to_numpy()
    timeline = timeline[np.isfinite(prices) & (prices > 0) & timeline[key].notna().all(axis=1)]
    timeline = timeline.sort_values(key, kind="stable")
    last: tuple[str, date, float] | None = None
    for symbol, session, close, row in zip(*(timeline[name].tolist() for name in timeline.columns), strict=True):
        if row >= 0 and last and last[0] == symbol and session - last[1] <= JUMP_MEMORY:
            ratio = found[row] = close / last[2]
            if not 1 / JUMP < ratio < JUMP:
                continue
        last = (symbol, session, close)
    return found


DERIVED: dict[str, Callable[[pd.DataFrame, list[str], list[str], Background], Column]] = {
    "earlier_copy": _earlier_copy,
    "contradicting_row": _contradicting_row,
    "in_order": _in_order,
    "is_session": _is_session,
    "has_closed": _has_closed,
    "is_month_end": _is_month_end,
    "known_symbol": _known_symbol,
    "has_happened": _has_happened,
    "weight_sum": _weight_sum,
    "stored_otherwise": _stored_otherwise,
    "jump": _jump,
}
