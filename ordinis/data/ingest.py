"""Ingest: a source's bars through their contract into the store, with a record of what was not believed.

    fetch -> check -> append what is clean, in one commit -> record the batch and its quarantine

A batch is named by its content, so doing it again changes nothing: the store knows its rows and the records know the
batch, and a process that is killed anywhere in between leaves a state from which the next run arrives at the same
end. History counts as known from each session's close on; a correction counts as known from the instant at which it
was ingested, and only when somebody declared it to be one.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ordinis.clock import TradingCalendar, trading_calendar
from ordinis.data.bar_store import BarStore
from ordinis.data.contracts import Background, Inspection, Rejection, inspect, load_contract
from ordinis.data.derived import JUMP_MEMORY, absent
from ordinis.domain.instruments import Instrument
from ordinis.errors import ContractBroken, DataUnavailable
from ordinis.ports import Clock, DataSource

logger = logging.getLogger(__name__)

CONTRACT = "bars"


class BatchRecords(Protocol):
    """Where batches and their quarantine are kept."""

    def add_batch(
        self,
        batch_id: str,
        *,
        contract: str,
        source: str,
        rows: int,
        rejected: Sequence[Rejection],
        reasons: Sequence[str],
        at: datetime,
    ) -> bool: ...


@dataclass(frozen=True)
class IngestReport:
    """What became of one batch."""

    batch_id: str
    source: str
    rows: int
    clean: int
    rejected: int
    new: int
    """Rows that the store did not have; none when the batch was ingested before."""
    missing: tuple[tuple[str, date], ...]
    """Symbols and sessions that were asked for, have closed, and did not come, or came and were not believed."""
    reasons: Mapping[str, int]
    """How many rows were rejected for each reason."""

    @property
    def complete(self) -> bool:
        """Whether every bar that was asked for is there."""
        return not self.rejected and not self.missing


def ingest(
    source: DataSource,
    store: BarStore,
    records: BatchRecords,
    contracts_dir: Path,
    symbols: Sequence[str],
    first: date,
    last: date,
    clock: Clock,
    instruments: Mapping[str, Instrument],
    *,
    revision: bool = False,
    calendar: TradingCalendar | None = None,
) -> IngestReport:
    """Bring the bars of `symbols` from `first` to `last` into the store.

    Args:
        contracts_dir: folder with bars.yaml.
        revision: rows that differ from what is stored are corrections, known from now on.
        calendar: of the exchange; the New York Stock Exchange's when None.

    Raises:
        DataUnavailable: the source has no such bars, or the reference data no such symbol.
        ContractBroken: no row of the batch may be believed; it is in quarantine.
    """
    calendar = calendar or trading_calendar()
    for symbol in symbols:
        if symbol not in instruments:
            raise DataUnavailable("reference data", f"instrument {symbol}", "add it to the instruments file")
    contract = load_contract(contracts_dir, CONTRACT)
    batch, now = source.history(symbols, first, last), clock.now()
    background = Background(
        checked_at=now,
        calendar=calendar,
        symbols=frozenset(symbols),
        stored=store.read(symbols, first - JUMP_MEMORY, last),
        revision=revision,
    )
    found = inspect(contract, batch, background)
    identity = batch_id(source.name, batch, found, revision)
    new = store.append(_dated(found.clean, background), source.name, revision=revision)
    records.add_batch(
        identity,
        contract=CONTRACT,
        source=source.name,
        rows=found.rows,
        rejected=found.rejections,
        reasons=found.batch_reasons,
        at=now,
    )
    report = IngestReport(
        batch_id=identity,
        source=source.name,
        rows=found.rows,
        clean=len(found.clean),
        rejected=len(found.rejections),
        new=new,
        missing=_missing(found.clean, symbols, first, last, calendar, now),
        reasons=Counter(reason for rejection in found.rejections for reason in rejection.reasons),
    )
    _log(report)
    if found.clean.empty:
        raise ContractBroken(CONTRACT, identity, found.batch_reasons or tuple(report.reasons))
    return report


def batch_id(source: str, batch: pd.DataFrame, found: Inspection, revision: bool) -> str:
    """Hex name of a batch from who sent it, every cell of it, and which rows were not believed.

    The verdict is part of the name: a bar that came too early today and is right tomorrow is two batches.
    """
    digest = hashlib.sha256(f"{source}|{CONTRACT}|{revision}|{len(batch)}".encode())
    digest.update(repr([row.row_no for row in found.rejections]).encode())
    for position, name in enumerate(batch.columns):
        column = batch.iloc[:, position]
        digest.update(f"|{name}|".encode())
        if pd.api.types.is_float_dtype(column.dtype):
            numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
            # One NaN and one zero, whichever bits they came with.
            digest.update(np.where(np.isnan(numbers), np.nan, numbers + 0.0).tobytes())
        else:
            digest.update("|".join(_cell(cell) for cell in column.tolist()).encode())
    return digest.hexdigest()


def _cell(cell: Any) -> str:
    return "null" if absent(cell) else f"{type(cell).__name__} {cell}"


def _dated(clean: pd.DataFrame, background: Background) -> pd.DataFrame:
    """`clean` with the instant from which each row could be known."""
    closes = {session: background.calendar.closes(session) for session in set(clean["session"])}
    known_at = pd.to_datetime(clean["session"].map(closes), utc=True)
    if background.revision:
        known = pd.MultiIndex.from_frame(background.stored[["symbol", "session"]])
        corrects = pd.MultiIndex.from_frame(clean[["symbol", "session"]]).isin(known)
        known_at = known_at.mask(corrects, pd.Timestamp(background.checked_at))
    return clean.assign(known_at=known_at)


def _missing(
    clean: pd.DataFrame, symbols: Sequence[str], first: date, last: date, calendar: TradingCalendar, now: datetime
) -> tuple[tuple[str, date], ...]:
    sessions = [session for session in calendar.between(first, last) if calendar.closes(session) <= now]
    came = set(zip(clean["symbol"], clean["session"], strict=True))
    return tuple((symbol, session) for symbol in symbols for session in sessions if (symbol, session) not in came)


def _log(report: IngestReport) -> None:
    logger.info(
        "ingested batch=%s source=%s rows=%d clean=%d new=%d rejected=%d missing=%d",
        report.batch_id[:12], report.source, report.rows, report.clean, report.new, report.rejected,
        len(report.missing),
    )  # fmt: skip
    for reason, rows in list(report.reasons.items())[:5]:
        logger.warning("quarantined batch=%s rows=%d reason=%r", report.batch_id[:12], rows, reason)
