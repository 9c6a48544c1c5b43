"""The bar store: nothing is lost, nothing is there twice, nothing is half there."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ordinis.data.bar_store import SCHEMA, BarStore, EveningBars
from ordinis.data.parquet_commits import ParquetCommits
from ordinis.data.sample import SampleSource
from ordinis.domain.market import Bar
from ordinis.errors import DataUnavailable, LedgerConflict, StoreUnavailable
from tests.data.batches import CALENDAR, SESSIONS, SYMBOLS, folder_bytes, good_bars, known

FIRST, LAST = SESSIONS[0], SESSIONS[-1]
TWO_YEARS = tuple(CALENDAR.between(date(2019, 12, 27), date(2020, 1, 3)))


def everything(store: BarStore) -> pd.DataFrame:
    return store.read(SYMBOLS, date(1990, 1, 1), date(2030, 1, 1))


def test_what_was_appended_is_read_sorted_with_its_source_and_instant(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    assert store.append(known(good_bars().iloc[::-1]), "given") == 15
    found = store.read(["CCC", "AAA"], FIRST, SESSIONS[1])
    assert list(found.columns) == SCHEMA.names
    assert found[["symbol", "session", "close", "source", "revision"]].to_numpy().tolist() == [
        ["AAA", date(2020, 3, 2), 102.0, "given", 1],
        ["AAA", date(2020, 3, 3), 103.0, "given", 1],
        ["CCC", date(2020, 3, 2), 122.0, "given", 1],
        ["CCC", date(2020, 3, 3), 123.0, "given", 1],
    ]
    assert found["known_at"].tolist() == [CALENDAR.closes(FIRST), CALENDAR.closes(SESSIONS[1])] * 2


def test_an_empty_store_has_no_bars(tmp_path: Path) -> None:
    store = BarStore(tmp_path / "nowhere")
    assert everything(store).empty
    assert store.history(SYMBOLS, FIRST, LAST).closes.shape == (0, 3)
    assert store.append(known(good_bars()).iloc[:0], "given") == 0
    assert not (tmp_path / "nowhere").exists()


def test_who_asks_for_no_symbol_gets_no_bar(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    store.append(known(good_bars()), "given")
    assert store.read([], FIRST, LAST).empty
    assert store.history((), date.min, LAST).symbols == ()


def test_rows_lie_in_files_by_year_sorted_by_symbol(tmp_path: Path) -> None:
    BarStore(tmp_path).append(known(good_bars(sessions=TWO_YEARS)), "given")
    files = sorted((tmp_path / "bars").glob("*/*.parquet"))
    assert [file.parent.name for file in files] == ["year=2019", "year=2020"]
    for file in files:
        symbols = ds.dataset(file).to_table()["symbol"].to_pylist()
        assert symbols == sorted(symbols)
    # Any Parquet reader may look at them.
    assert ds.dataset(tmp_path / "bars", partitioning="hive").count_rows() == 15


def test_appending_the_same_rows_again_changes_no_byte(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    store.append(known(good_bars()), "given")
    before = folder_bytes(tmp_path)
    assert store.append(known(good_bars()), "given") == 0
    assert BarStore(tmp_path).append(known(good_bars().iloc[3:9]), "another") == 0
    assert folder_bytes(tmp_path) == before


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name, bars in (("a", good_bars(sessions=TWO_YEARS)), ("b", good_bars(sessions=TWO_YEARS).iloc[::-1])):
        BarStore(tmp_path / name).append(known(bars), "given")
    assert folder_bytes(tmp_path / "a") == folder_bytes(tmp_path / "b")


def test_only_new_rows_of_an_overlapping_batch_are_stored(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    store.append(known(good_bars(sessions=SESSIONS[:3])), "given")
    assert store.append(known(good_bars()), "given") == 6
    assert everything(store)["revision"].tolist() == [1] * 15


def corrected(close: float, at: datetime) -> pd.DataFrame:
    bars = known(good_bars(["AAA"], SESSIONS[:1]))
    return bars.assign(close=close, known_at=pd.Timestamp(at))


def test_another_value_is_refused_unless_it_is_declared_a_revision(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    store.append(known(good_bars()), "given")
    before = folder_bytes(tmp_path)
    words = r"bar AAA 2020-03-02: stored with close 102\.0, now 101\.5; ingest it as a revision"
    with pytest.raises(LedgerConflict, match=words):
        store.append(corrected(101.5, datetime(2020, 4, 1, tzinfo=UTC)), "given")
    assert folder_bytes(tmp_path) == before


def test_a_reader_sees_the_revision_that_was_known_at_the_time(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    store.append(known(good_bars(["AAA"])), "given")
    april, may = datetime(2020, 4, 1, tzinfo=UTC), datetime(2020, 5, 1, tzinfo=UTC)
    assert store.append(corrected(101.5, april), "given", revision=True) == 1
    assert store.append(corrected(101.25, may), "another", revision=True) == 1

    def seen(as_of: datetime) -> list[float]:
        closes = store.history(["AAA"], FIRST, LAST, as_of).closes[:, 0].tolist()
        assert closes == store.read(["AAA"], FIRST, LAST, as_of)["close"].tolist()
        return closes

    moment = timedelta(microseconds=1)
    assert seen(CALENDAR.closes(FIRST) - moment) == []
    assert seen(CALENDAR.closes(FIRST)) == [102.0]
    assert seen(april - moment) == [102.0, 103.0, 104.0, 105.0, 106.0]
    assert seen(april) == [101.5, 103.0, 104.0, 105.0, 106.0]
    assert seen(may) == [101.25, 103.0, 104.0, 105.0, 106.0]
    latest = store.read(["AAA"], FIRST, FIRST)
    assert latest[["revision", "source"]].to_numpy().tolist() == [[3, "another"]]


def test_a_night_that_is_done_again_sees_what_it_saw_and_what_came_too_late_for_it(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    store.append(known(good_bars(["AAA"])), "given")
    april, may = datetime(2020, 4, 1, tzinfo=UTC), datetime(2020, 5, 1, tzinfo=UTC)
    evening = EveningBars(store, april)
    before = evening.history(["AAA"], FIRST, LAST).closes.tolist()
    store.append(corrected(101.5, april), "given", revision=True)
    assert evening.history(["AAA"], FIRST, LAST).closes[:, 0].tolist() == [101.5, *[row[0] for row in before[1:]]]
    store.append(corrected(99.0, may), "given", revision=True)
    store.append(good_bars(["BBB"]).assign(known_at=pd.Timestamp(may)), "given")
    store.append(corrected(77.0, may + timedelta(days=1)).assign(symbol="BBB"), "given", revision=True)
    seen = evening.history(["AAA", "BBB"], FIRST, LAST).closes
    assert seen[:, 0].tolist() == [101.5, *[row[0] for row in before[1:]]]
    assert seen[:, 1].tolist() == good_bars(["BBB"])["close"].tolist(), "the first that was ever known of it"
    assert np.isnan(store.history(["AAA", "BBB"], FIRST, LAST, april).closes[:, 1]).all()


def test_a_revision_that_says_the_same_is_none(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    store.append(known(good_bars()), "given")
    assert store.append(known(good_bars()), "given", revision=True) == 0


def test_history_is_arrays_with_nan_where_a_symbol_has_no_bar(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    bars = good_bars()
    store.append(known(bars[~((bars["symbol"] == "BBB") & (bars["session"] == SESSIONS[1]))]), "given")
    found = store.history(["CCC", "BBB", "ZZZ"], FIRST, LAST)
    assert (found.symbols, found.sessions) == (("CCC", "BBB", "ZZZ"), SESSIONS)
    assert found.closes[:, 0].tolist() == [122.0, 123.0, 124.0, 125.0, 126.0]
    assert np.isnan(found.closes[1, 1])
    assert np.isnan(found.closes[:, 2]).all()
    assert found.volumes is not None
    assert found.volumes[0, 0] == 2000.0
    assert found.closes.flags.c_contiguous


def test_history_without_any_volume_has_none(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    store.append(known(good_bars().assign(volume=np.nan)), "given")
    assert store.history(SYMBOLS, FIRST, LAST).volumes is None


def test_a_session_that_nobody_delivered_is_a_row_of_nan_where_a_calendar_is_given(tmp_path: Path) -> None:
    bars = good_bars(sessions=[SESSIONS[0], SESSIONS[1], SESSIONS[3]])
    BarStore(tmp_path).append(known(bars), "given")
    assert BarStore(tmp_path).history(SYMBOLS, FIRST, LAST).sessions == (*SESSIONS[:2], SESSIONS[3])
    found = BarStore(tmp_path, CALENDAR).history(SYMBOLS, FIRST, LAST)
    assert found.sessions == SESSIONS[:4]
    assert np.isnan(found.closes).all(axis=1).tolist() == [False, False, True, False]


def test_one_sessions_bars_are_exact_decimals_in_the_order_asked_for(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    store.append(known(good_bars(["AAA", "CCC"]).assign(volume=np.nan)), "given")
    first, second = store.bars(["CCC", "BBB", "AAA"], FIRST)
    assert first == Bar("CCC", FIRST, Decimal("122"), Decimal("122.5"), Decimal("123"), Decimal("121"), None)
    assert second.symbol == "AAA"
    assert store.bars(["AAA"], FIRST, CALENDAR.opens(FIRST)) == ()


def test_bars_are_complete_through_the_longest_stretch_without_a_gap(tmp_path: Path) -> None:
    store = BarStore(tmp_path, CALENDAR)
    with pytest.raises(DataUnavailable, match="bar store has no bars"):
        store.complete_through(SYMBOLS)
    store.append(known(good_bars(["AAA"], [SESSIONS[0], *SESSIONS[2:4]])), "given")
    # A bar that lies alone, long before or long after, is no stretch.
    assert store.complete_through(SYMBOLS) == SESSIONS[3]
    store.append(known(good_bars(["AAA"], SESSIONS[1:2])), "given")
    assert store.complete_through(["AAA"]) == SESSIONS[3]


def test_naive_instants_are_refused(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    naive = known(good_bars())
    naive["known_at"] = naive["known_at"].dt.tz_localize(None)
    with pytest.raises(ValueError, match="known_at is naive"):
        store.append(naive, "given")
    with pytest.raises(ValueError, match="naive instant"):
        store.read(SYMBOLS, FIRST, LAST, datetime(2020, 3, 6))  # noqa: DTZ001


@pytest.mark.parametrize("scheme", ["file://{}/lake", "memory://{}/lake", "fsspec+memory://{}/other"])
def test_a_store_may_be_anywhere_that_a_url_can_name(tmp_path: Path, scheme: str) -> None:
    url = scheme.format(tmp_path)
    assert BarStore(url).append(known(good_bars()), "given") == 15
    assert BarStore(url).append(known(good_bars()), "given") == 0
    assert len(everything(BarStore(url))) == 15


def test_a_url_that_nothing_can_open_is_named() -> None:
    with pytest.raises(StoreUnavailable, match="store nonsense://there: cannot be opened"):
        BarStore("nonsense://there")


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_file_is_noticed(tmp_path: Path, damage: str) -> None:
    BarStore(tmp_path).append(known(good_bars()), "given")
    (file,) = tmp_path.rglob("*.parquet")
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content if damage == "flipped" else content[:50])
    if damage == "gone":
        file.unlink()
    words = "cannot be read" if damage == "gone" else "is damaged; restore it from a backup"
    with pytest.raises(StoreUnavailable, match=rf"{file.name} {words}"):
        everything(BarStore(tmp_path))


@pytest.mark.parametrize("content", ["", "[]", '{"files": [{}]}'])
def test_a_damaged_commit_is_noticed(tmp_path: Path, content: str) -> None:
    BarStore(tmp_path).append(known(good_bars()), "given")
    (file,) = (tmp_path / "commits").iterdir()
    file.write_text(content, encoding="utf-8")
    with pytest.raises(StoreUnavailable, match=rf"commits/{file.name} is damaged"):
        everything(BarStore(tmp_path))


def test_a_folder_that_cannot_be_written_is_an_error_and_not_a_loss(tmp_path: Path) -> None:
    (tmp_path / "bars").write_text("a file where a folder should be", encoding="utf-8")
    store = BarStore(tmp_path)
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        store.append(known(good_bars()), "given")
    assert everything(store).empty


class Killed(BaseException):
    pass


class Dying(ParquetCommits):
    """Is killed in its n-th write: before it, halfway through it, or after it."""

    def __init__(self, url: str, writes: int, moment: str) -> None:
        super().__init__(url)
        self.left, self.moment = writes, moment

    def _put(self, path: str, content: bytes) -> None:
        self.left -= 1
        if self.left == 0 and self.moment != "after":
            if self.moment == "halfway":
                folder, name = f"{self._root}/{path}".rsplit("/", 1)
                Path(folder).mkdir(parents=True, exist_ok=True)
                Path(folder, f".{name}").write_bytes(content[: len(content) // 2])
            raise Killed
        super()._put(path, content)
        if self.left == 0:
            raise Killed


@pytest.mark.parametrize("moment", ["before", "halfway", "after"])
@pytest.mark.parametrize("writes", [1, 2, 3])
def test_killed_at_any_write_it_has_all_or_nothing_and_the_next_run_gives_the_same_bytes(
    tmp_path: Path, writes: int, moment: str
) -> None:
    bars = known(good_bars(sessions=TWO_YEARS))
    BarStore(tmp_path / "whole").append(bars, "given")
    dying = BarStore(tmp_path / "killed")
    dying._commits = Dying(str(tmp_path / "killed"), writes, moment)
    with pytest.raises(Killed):
        dying.append(bars, "given")
    committed = writes == 3 and moment == "after"
    assert len(everything(BarStore(tmp_path / "killed"))) == (15 if committed else 0)
    assert BarStore(tmp_path / "killed").append(bars, "given") == (0 if committed else 15)
    assert folder_bytes(tmp_path / "killed") == folder_bytes(tmp_path / "whole")


CHILD = """
import sys, pandas as pd
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from ordinis.data.bar_store import BarStore
bars = pd.read_parquet(sys.argv[3])
bars["session"] = [stamp.date() for stamp in bars["session"]]
BarStore(sys.argv[1]).append(bars, "given")
"""


def test_a_process_that_is_killed_for_real_leaves_nothing_half_done(tmp_path: Path) -> None:
    bars = known(good_bars(["AAA"], CALENDAR.between(date(1995, 1, 2), date(2019, 12, 31))))
    bars[["open", "high", "low", "close"]] += np.arange(len(bars))[:, None]
    bars.assign(session=pd.to_datetime(bars["session"])).to_parquet(tmp_path / "bars.parquet")
    BarStore(tmp_path / "whole").append(bars, "given")
    lake = tmp_path / "killed"
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", CHILD, str(lake), root, str(tmp_path / "bars.parquet")]
    with subprocess.Popen(command) as child:
        deadline = time.monotonic() + 30
        while not list(lake.glob("bars/*/*.parquet")) and child.poll() is None and time.monotonic() < deadline:
            pass
        child.kill()
    there = len(BarStore(lake).read(["AAA"], date(1990, 1, 1), date(2030, 1, 1)))
    assert there in (0, len(bars))
    BarStore(lake).append(bars, "given")
    assert folder_bytes(lake) == folder_bytes(tmp_path / "whole")


def test_two_writers_of_different_symbols_do_not_disturb_each_other(tmp_path: Path) -> None:
    one, two = BarStore(tmp_path), BarStore(tmp_path)
    assert everything(one).empty
    one.append(known(good_bars(["AAA"])), "given")
    two.append(known(good_bars(["BBB"])), "given")
    assert len(everything(one)) == len(everything(two)) == 10
    for commit in (tmp_path / "commits").iterdir():
        assert json.loads(commit.read_text(encoding="utf-8"))["files"][0]["rows"] == 5


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    told=st.lists(
        st.lists(
            st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(1, 3)),
            min_size=1,
            max_size=6,
            unique_by=lambda bar: bar[:2],
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_sequence_of_revisions_is_read_as_it_was_known(
    told: list[list[tuple[int, int, int]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against a dictionary that simply remembers: after each batch, and again when all is over."""
    store = BarStore(tmp_path_factory.mktemp("lake"))
    remembered: dict[tuple[str, date], float] = {}
    snapshots = []
    for number, batch in enumerate(told):
        at = datetime(2020, 4, 1 + number, tzinfo=UTC)
        bars = pd.DataFrame(
            [(SYMBOLS[s], SESSIONS[t], float(close)) for s, t, close in batch], columns=["symbol", "session", "close"]
        )
        bars = bars.reindex(columns=list(good_bars().columns)).assign(known_at=pd.Timestamp(at))
        store.append(bars, "given", revision=True)
        remembered.update({(SYMBOLS[s], SESSIONS[t]): float(close) for s, t, close in batch})
        snapshots.append((at, dict(remembered)))
    for at, expected in snapshots:
        found = store.read(SYMBOLS, FIRST, LAST, at)
        assert dict(zip(zip(found["symbol"], found["session"], strict=True), found["close"], strict=True)) == expected


def test_the_whole_sample_comes_back_as_it_went_in(tmp_path: Path) -> None:
    source = SampleSource()
    symbols = source.symbols()[:20]
    store = BarStore(tmp_path)
    store.append(known(source.history(symbols, date(1990, 1, 2), date(2022, 12, 28))), "sample")
    found = store.history(symbols, date(1990, 1, 2), date(2022, 12, 28))
    np.testing.assert_array_equal(found.closes, source.prices(symbols).closes)
