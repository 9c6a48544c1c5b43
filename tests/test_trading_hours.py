"""The hours of an exchange are computed once, kept, and never taken from a file that is not what was written."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ordinis.trading_hours import TradingHours, trading_hours

TODAY = date(2020, 3, 16)
ASK = """
import sys
from datetime import date
from ordinis.trading_hours import trading_hours
hours = trading_hours("XNYS", date(2020, 3, 16))
print(len(hours.sessions), "pandas" in sys.modules)
"""


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "ordinis"


def hours() -> TradingHours:
    return trading_hours("XNYS", TODAY)


def test_they_reach_to_the_end_of_next_year_and_are_the_same_when_read_again(kept: Path) -> None:
    computed = hours()
    [file] = kept.iterdir()
    assert hours() == computed
    assert computed.sessions[-1] == date(2021, 12, 31)
    assert computed.closes[computed.sessions.index(date(2021, 11, 26))] == datetime(2021, 11, 26, 18, tzinfo=UTC)
    assert trading_hours("XNYS", date(2021, 1, 4)).sessions[-1] == date(2022, 12, 30)
    assert len(list(kept.iterdir())) == 2
    assert file.stat().st_size > 100_000


def test_a_process_that_finds_them_kept_does_not_load_pandas() -> None:
    def asked() -> str:
        return subprocess.run([sys.executable, "-c", ASK], env=os.environ, capture_output=True, text=True).stdout

    assert asked() == "8064 True\n"
    assert asked() == "8064 False\n"


@pytest.mark.parametrize("spoil", [lambda text: text.replace("2020-03-16", "2020-03-15"), lambda text: text[:5000]])
def test_a_damaged_file_is_computed_again_and_mended(
    kept: Path, caplog: pytest.LogCaptureFixture, spoil: object
) -> None:
    computed = hours()
    [file] = kept.iterdir()
    file.write_text(spoil(file.read_text()))  # type: ignore[operator]
    with caplog.at_level(logging.WARNING):
        assert hours() == computed
        assert "are damaged; they are computed again" in caplog.text
        caplog.clear()
        assert hours() == computed
    assert not caplog.text


def test_bytes_that_are_no_text_are_computed_again(kept: Path) -> None:
    computed = hours()
    [file] = kept.iterdir()
    file.write_bytes(b"\xff\xfe")
    assert hours() == computed


def test_without_a_place_to_keep_them_they_are_computed(kept: Path) -> None:
    kept.write_text("a file where the folder should be")
    assert date(2020, 3, 16) in hours().sessions


def test_a_calendar_that_the_library_knows_in_part_is_taken_as_far_as_it_goes() -> None:
    mumbai = trading_hours("XBOM", date(2026, 3, 16))
    assert date(1990, 1, 2) < mumbai.sessions[0]
    assert mumbai.sessions[-1] <= date(2026, 12, 31)
    assert trading_hours("24/7", TODAY).sessions[-1] == date(2021, 12, 31)
