"""A file of bars as a source: whatever is in it goes before the contract as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import pandas as pd

from ordinis.domain.market import MarketEvent
from ordinis.errors import DataUnavailable
from ordinis.trading_hours import FIRST_SESSION


class FileSource:
    """A CSV file with the columns of the bars contract; nothing is mended, filled or left out on the way."""

    def __init__(self, path: Path) -> None:
        """Read `path`.

        Raises:
            DataUnavailable: the file cannot be read as CSV.
        """
        self.name = f"file {path.name}"
        try:
            self._frame = pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise DataUnavailable(str(path), "bars", getattr(error, "strerror", None) or str(error)) from error
        if "session" in self._frame:
            # A text that is no date stays as it is: the contract says what is wrong with it.
            self._frame["session"] = pd.Series([_session(text) for text in self._frame["session"]], dtype=object)

    def symbols(self) -> set[str]:
        return set(self._frame.get("symbol", pd.Series(dtype=str)).dropna().astype(str))

    def span(self) -> tuple[date, date]:
        """First and last session that can be read as a date; the calendar's first where none can."""
        days = [day for day in self._frame.get("session", []) if isinstance(day, date)]
        return (min(days), max(days)) if days else (FIRST_SESSION, FIRST_SESSION)

    def history(self, symbols: Sequence[str], first: date, last: date) -> pd.DataFrame:
        """The whole file: a row outside the question is the contract's business too."""
        return self._frame.copy()

    def stream(self, symbols: Sequence[str], first: date, last: date) -> Iterator[MarketEvent]:
        raise DataUnavailable(self.name, "stream", "a file is brought in with `ordinis data ingest --file`")


def _session(text: object) -> object:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        return text
