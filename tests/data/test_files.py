"""A file of bars goes before the contract as it is."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from ordinis.data.files import FileSource
from ordinis.errors import DataUnavailable
from ordinis.trading_hours import FIRST_SESSION


def a_file(folder: Path, *lines: str) -> Path:
    path = folder / "bars.csv"
    path.write_text("\n".join(["symbol,session,close", *lines]) + "\n")
    return path


def test_sessions_that_are_dates_become_dates_and_others_stay_text(tmp_path: Path) -> None:
    source = FileSource(a_file(tmp_path, "KO,2020-03-16,45.1", "KO,yesterday,45.2"))
    assert source.history([], FIRST_SESSION, FIRST_SESSION)["session"].tolist() == [date(2020, 3, 16), "yesterday"]
    assert source.span() == (date(2020, 3, 16), date(2020, 3, 16))
    assert source.symbols() == {"KO"}


def test_a_file_without_a_readable_session_still_reaches_the_contract(tmp_path: Path) -> None:
    source = FileSource(a_file(tmp_path, "KO,yesterday,45.1"))
    assert source.span() == (FIRST_SESSION, FIRST_SESSION)
    assert len(source.history([], FIRST_SESSION, FIRST_SESSION)) == 1


def test_what_is_read_cannot_be_changed_from_outside(tmp_path: Path) -> None:
    source = FileSource(a_file(tmp_path, "KO,2020-03-16,45.1"))
    read = source.history([], FIRST_SESSION, FIRST_SESSION)
    read.loc[0, "close"] = 0.0
    assert source.history([], FIRST_SESSION, FIRST_SESSION)["close"].tolist() == [45.1]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match=r"none\.csv has no bars"):
        FileSource(tmp_path / "none.csv")


def test_a_file_is_no_stream(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match=r"ordinis data ingest --file"):
        FileSource(a_file(tmp_path)).stream([], FIRST_SESSION, FIRST_SESSION)
