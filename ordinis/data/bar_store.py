"""The store of bars: what every source said, and since when it could be known.

A bar is named by symbol and session and is never overwritten. A correction is another row with the next revision and
the instant from which it could be known, so a reader who asks "as of" an instant sees what was known then and
nothing later: the past that a model trains on is the past that it could have seen. Rows lie in Parquet files by
year, sorted by symbol; how they get there whole or not at all is `parquet_commits`' business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ordinis.clock import TradingCalendar
from ordinis.data.parquet_commits import ParquetCommits
from ordinis.domain.canonical import to_decimal
from ordinis.domain.market import Bar
from ordinis.errors import DataUnavailable, LedgerConflict
from ordinis.ports import PriceHistory

KEY = ["symbol", "session"]
VALUES = ["open", "high", "low", "close", "volume"]
SCHEMA = pa.schema(
    [
        ("symbol", pa.string()),
        ("session", pa.date32()),
        *((name, pa.float64()) for name in VALUES),
        ("source", pa.string()),
        ("known_at", pa.timestamp("us", tz="UTC")),
        ("revision", pa.int32()),
    ]
)
DISTANT_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)


class BarStore:
    """Bars under a folder or URL, by symbol and session, with every revision."""

    def __init__(self, url: str | Path, calendar: TradingCalendar | None = None) -> None:
        """Open a store; it need not exist yet.

        Args:
            url: a folder, or any URL that pyarrow or fsspec can address.
            calendar: with one, a session that no source delivered is a row of NaN in `history`, not a missing row.
        """
        self._commits = ParquetCommits(str(url))
        self._calendar = calendar

    def append(self, bars: pd.DataFrame, source: str, *, revision: bool = False) -> int:
        """Store the rows that are new, in one commit.

        Args:
            bars: columns of the bars contract and `known_at` (aware); no key comes twice.
            source: who said so.
            revision: rows that differ from what is stored become its next revision.

        Returns:
            How many rows were new; a row that says what is stored already is not.

        Raises:
            LedgerConflict: a row differs from what is stored, and this is not a revision; nothing is stored.
        """
        if bars.empty:
            return 0
        if not isinstance(bars["known_at"].dtype, pd.DatetimeTZDtype):
            raise ValueError("known_at is naive: every instant is aware UTC")
        stored = self.read(sorted(set(bars["symbol"])), min(bars["session"]), max(bars["session"]))
        latest = stored.set_index(KEY).reindex(pd.MultiIndex.from_frame(bars[KEY]))
        there = latest["revision"].notna().to_numpy()
        old, new = latest[VALUES].to_numpy(dtype=float), bars[VALUES].to_numpy(dtype=float)
        same = there & ((old == new) | (np.isnan(old) & np.isnan(new))).all(axis=1)
        differing = there & ~same
        if differing.any() and not revision:
            row = int(np.flatnonzero(differing)[0])
            symbol, session, close = bars.iloc[row][[*KEY, "close"]]
            problem = f"stored with close {latest['close'].iloc[row]}, now {close}; ingest it as a revision"
            raise LedgerConflict(f"bar {symbol} {session}", problem)
        if same.all():
            return 0
        numbers = latest["revision"].fillna(0).to_numpy(dtype=int) + 1
        fresh = bars.assign(source=source, revision=numbers)[~same].sort_values(KEY)
        self._commits.add(pa.Table.from_pandas(fresh[SCHEMA.names], schema=SCHEMA, preserve_index=False))
        return len(fresh)

    def read(self, symbols: Sequence[str], first: date, last: date, as_of: datetime = DISTANT_FUTURE) -> pd.DataFrame:
        """Of every bar the latest revision that was known at `as_of`, sorted by symbol and session."""
        table = self._latest(symbols, first, last, as_of)
        frame: pd.DataFrame = table.sort_by([("symbol", "ascending"), ("session", "ascending")]).to_pandas()
        return frame

    def history(
        self,
        symbols: Sequence[str],
        first: date,
        last: date,
        as_of: datetime = DISTANT_FUTURE,
        *,
        late_ones: bool = False,
    ) -> PriceHistory:
        """The same as arrays, oldest session first; NaN where a symbol has no bar.

        Args:
            late_ones: also the first revision of a bar that nobody knew at `as_of`.
        """
        names = tuple(dict.fromkeys(symbols))
        table = self._latest(names, first, last, as_of, late_ones)
        told = table["session"].to_numpy().astype("datetime64[D]")
        days = np.unique(told)
        if self._calendar and len(days):
            between = self._calendar.between(days[0].item(), days[-1].item())
            days = np.union1d(days, np.array(between, dtype="datetime64[D]"))
        rows = np.searchsorted(days, told)
        columns = pc.index_in(table["symbol"], pa.array(names, pa.string())).to_numpy()
        grids = np.full((2, len(days), len(names)), np.nan)
        for grid, name in zip(grids, ("close", "volume"), strict=True):
            grid[rows, columns] = table[name].to_numpy()
        closes, volumes = grids
        return PriceHistory(names, tuple(days.tolist()), closes, None if np.isnan(volumes).all() else volumes)

    def bars(self, symbols: Sequence[str], session: date, as_of: datetime = DISTANT_FUTURE) -> tuple[Bar, ...]:
        """One session's bars in the order of `symbols`, as they were known at `as_of`; absent ones are left out."""
        rows = {row["symbol"]: row for row in self._latest(symbols, session, session, as_of).to_pylist()}
        told = [rows[symbol] for symbol in symbols if symbol in rows]
        return tuple(
            Bar(
                symbol=row["symbol"],
                session=session,
                close=to_decimal(row["close"]),
                open=_money(row["open"]),
                high=_money(row["high"]),
                low=_money(row["low"]),
                volume=_money(row["volume"]),
            )
            for row in told
        )

    def complete_through(self, symbols: Sequence[str]) -> date:
        """The end of the longest stretch of sessions without a gap: up to there a view can be cut.

        Raises:
            DataUnavailable: there are no bars of `symbols`.
        """
        table = self._latest(symbols, date.min, date.max, DISTANT_FUTURE)
        stored: list[date] = sorted(set(table["session"].to_pylist()))
        if not stored:
            raise DataUnavailable("bar store", "bars", "bring some in with `ordinis data ingest`")
        if self._calendar is None:
            return stored[-1]
        number = {session: at for at, session in enumerate(self._calendar.between(stored[0], stored[-1]))}
        # In a stretch without a gap, a session's number in the calendar less its number in the store stays the same.
        stretches = [list(run) for _, run in groupby(enumerate(stored), lambda pair: number[pair[1]] - pair[0])]
        return max(stretches, key=len)[-1][1]

    def _latest(
        self, symbols: Sequence[str], first: date, last: date, as_of: datetime, late_ones: bool = False
    ) -> pa.Table:
        if as_of.tzinfo is None:
            raise ValueError(f"naive instant {as_of!r}: every instant is aware UTC")
        tables = self._commits.tables(first, last)
        table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
        known = pc.field("known_at") <= pa.scalar(as_of, pa.timestamp("us", tz="UTC"))
        table = table.filter(
            pc.field("symbol").isin(pa.array(list(symbols), pa.string()))
            & (pc.field("session") >= pa.scalar(first))
            & (pc.field("session") <= pa.scalar(last))
            & (known | (pc.field("revision") == 1) if late_ones else known)
        )
        if pc.max(table["revision"]).as_py() in (None, 1):
            return table
        latest = table.group_by(KEY).aggregate([("revision", "max")])
        return table.join(latest, [*KEY, "revision"], [*KEY, "revision_max"], join_type="left semi", use_threads=False)


@dataclass(frozen=True)
class EveningBars:
    """The store as it was at `as_of`: what is revised later changes no night that is done again.

    A bar that came later still counts by its first revision: a night that had to wait for its bars has them.
    """

    store: BarStore
    as_of: datetime

    def history(self, symbols: Sequence[str], first: date, last: date) -> PriceHistory:
        return self.store.history(symbols, first, last, self.as_of, late_ones=True)


def _money(value: float | None) -> Decimal | None:
    return None if value is None else to_decimal(value)
