"""Factor files as publishers write them: percent becomes fractions, late rows are not known, odd files say why."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ordinis.data.factors import FactorTable, joined, read_french, read_parquet
from ordinis.errors import DataUnavailable

DAILY = """This file was created by using the 202604 CRSP database.
The 1-month TBill rate data, until 202405, are from Ibbotson Associates.

Date,Mkt-RF,SMB,HML,RMW,CMA,RF
2020-02-27,   -4.22,    0.54,   -0.28,   -0.41,    0.05,    0.01
2020-02-28,   -0.78,   -99.99,   -0.82,    0.23,    0.31,    0.01
2020-03-02,    4.31,   -1.94,   -0.42,    1.02,    0.17,    0.01

Copyright 2026 Eugene F. Fama and Kenneth R. French
"""
MONTHLY = """Header.

,Mkt-RF,SMB,HML,RF
202001,   -0.11,   -3.13,   -6.25,    0.13
202002,   -8.13,    1.07,   -3.80,    0.12

 Annual Factors: January-December
,Mkt-RF,SMB,HML,RF
  2019,   28.28,   -6.27,  -10.33,    2.15
"""
MOMENTUM = """Missing data are indicated by -99.99 or -999.

Date,Mom
2020-02-28,    0.46
2020-03-02,   -1.51
2020-03-03,    0.02
"""


def a_file(folder: Path, text: str, name: str = "factors.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_daily_file_in_percent_becomes_fractions_with_names(tmp_path: Path) -> None:
    table = read_french(a_file(tmp_path, DAILY))
    assert table.period == "session"
    assert table.names == ("market", "size", "value", "profitability", "investment")
    assert table.dates == (date(2020, 2, 27), date(2020, 2, 28), date(2020, 3, 2))
    np.testing.assert_array_equal(table.returns[0], [-0.0422, 0.0054, -0.0028, -0.0041, 0.0005])
    assert np.isnan(table.returns[1, 1])
    np.testing.assert_array_equal(table.risk_free, [0.0001] * 3)


def test_a_monthly_file_ends_before_its_annual_table(tmp_path: Path) -> None:
    table = read_french(a_file(tmp_path, MONTHLY))
    assert (table.period, table.dates) == ("month", (date(2020, 1, 31), date(2020, 2, 29)))
    np.testing.assert_array_equal(table.returns[1], [-0.0813, 0.0107, -0.038])


def test_a_day_is_known_when_its_month_was_published(tmp_path: Path) -> None:
    table = read_french(a_file(tmp_path, DAILY), lag=timedelta(days=45))
    assert table.known_by(date(2020, 4, 13)).dates == ()
    # February ended on the 29th: its days came out on 14 April, the second of March with all of March in May.
    assert table.known_by(date(2020, 4, 14)).dates == (date(2020, 2, 27), date(2020, 2, 28))
    assert len(table.known_by(date(2020, 5, 15)).dates) == 3
    same_evening = read_french(a_file(tmp_path, DAILY), lag=timedelta(0))
    assert same_evening.known_by(date(2020, 2, 28)).dates[-1] == date(2020, 2, 28)
    assert same_evening.between(date(2020, 2, 28), date(2020, 2, 28)).dates == (date(2020, 2, 28),)


def test_files_are_joined_on_the_days_that_both_have(tmp_path: Path) -> None:
    five, momentum = read_french(a_file(tmp_path, DAILY)), read_french(a_file(tmp_path, MOMENTUM, "momentum.csv"))
    table = joined([five, momentum])
    assert table.names[-1] == "momentum"
    assert table.dates == (date(2020, 2, 28), date(2020, 3, 2))
    np.testing.assert_array_equal(table.returns[:, [0, -1]], [[-0.0078, 0.0046], [0.0431, -0.0151]])
    np.testing.assert_array_equal(table.risk_free, [0.0001] * 2)
    np.testing.assert_array_equal(joined([momentum, five]).risk_free, [0.0001] * 2)
    with pytest.raises(DataUnavailable, match="one momentum; both have it"):
        joined([momentum, momentum])
    with pytest.raises(DataUnavailable, match="some are monthly, some daily"):
        joined([five, read_french(a_file(tmp_path, MONTHLY, "monthly.csv"))])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nothing\nof\nuse", "no line such as ',Mkt-RF,SMB,HML,RF' names its columns"),
        (",Mkt-RF\nCopyright", "no row follows its header in line 1"),
        (",Mkt-RF,SMB\n202001,  1.0\n", "2 numbers in line 2; it has 1"),
        (",Mkt-RF\n202001,  1.0\n202002, n/a\n", "date and numbers in line 3"),
        (",Mkt-RF\n202002,  1.0\n202001, 1.0\n", "dates in order; 2020-01-31 follows 2020-02-29"),
        (",Mkt-RF\n202002,  61.0\n", "the largest is 0.61; are they in percent?"),
        (",RF\n202002,  0.1\n", "has no factors"),
        (",Mkt-RF\n20200230,  0.1\n", "date and numbers in line 2"),
        (",Mkt-RF\n202013,  0.1\n", "date and numbers in line 2"),
        (",Mkt-RF\n2020-01-02, 0.1\n2020/01/03, 0.1\n2020-01-06, 0.1\n", "end before line 4"),
    ],
)
def test_what_is_no_file_of_factors_says_why(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DataUnavailable, match=r"factors\.csv") as error:
        read_french(a_file(tmp_path, text))
    assert told in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match=r"nowhere\.csv"):
        read_french(tmp_path / "nowhere.csv")
    with pytest.raises(DataUnavailable, match=r"nowhere\.parquet"):
        read_parquet(tmp_path / "nowhere.parquet")


def parquet(folder: Path, **columns: object) -> FactorTable:
    path = folder / "factors.parquet"
    pd.DataFrame(columns).to_parquet(path)
    return read_parquet(path, lag=timedelta(days=3))


def test_any_parquet_with_dates_and_fractions_is_a_source(tmp_path: Path) -> None:
    table = parquet(tmp_path, session=pd.to_datetime(["2020-03-02", "2020-03-03"]), carry=[0.01, -0.02], RF=[1e-4, 0.0])
    assert (table.names, table.period, table.dates[1]) == (("carry",), "session", date(2020, 3, 3))
    np.testing.assert_array_equal(table.returns, [[0.01], [-0.02]])
    np.testing.assert_array_equal(table.risk_free, [1e-4, 0.0])
    monthly = parquet(tmp_path, month=["2020-02-01"], carry=[0.01])
    assert monthly.dates == (date(2020, 2, 29),)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"day": ["2020-03-02"], "carry": [0.1]}, "needs a column `session` or `month`"),
        ({"session": ["soon"], "carry": [0.1]}, "dates and numbers"),
        ({"session": ["2020-03-02"], "carry": ["much"]}, "dates and numbers"),
        ({"session": ["2020-03-02"], "carry": [1.3]}, "are they in percent?"),
        ({"session": ["2020-03-02"]}, "has no factors"),
        ({"session": [20200302], "carry": [0.1]}, "`session` holds numbers"),
        ({"session": [pd.NaT, pd.Timestamp("2020-03-02")], "carry": [0.1, 0.1]}, "rows without a date"),
        ({"session": ["2020-03-02", "2020-03-02"], "carry": [0.1, 0.1]}, "dates in order"),
    ],
)
def test_a_parquet_that_is_no_source_says_why(tmp_path: Path, columns: dict[str, object], told: str) -> None:
    with pytest.raises(DataUnavailable) as error:
        parquet(tmp_path, **columns)
    assert told in str(error.value)


def test_a_table_of_months_owes_the_months_that_have_ended() -> None:
    months = FactorTable(
        "own", "month", ("market",), (date(2022, 4, 30), date(2022, 5, 31)), np.zeros((2, 1)), np.zeros(2)
    )
    assert not months.late(date(2022, 6, 1))
    assert not months.late(date(2022, 6, 15))
    assert months.late(date(2022, 6, 30))
    assert months.due(date(2022, 6, 15)) == date(2022, 5, 31)
    assert months.known_by(date(2022, 5, 30)).dates == (date(2022, 4, 30),)
