"""One text for one value."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordinis.domain.canonical import (
    canonical,
    decimal_text,
    instant_text,
    parse_instant,
    sha256,
    to_decimal,
)
from ordinis.domain.orders import Side


@pytest.mark.parametrize(
    ("value", "text"),
    [("10.50", "10.5"), ("1E+2", "100"), ("-0.00", "0"), ("0.000001", "0.000001"), ("1234567890.10", "1234567890.1")],
)
def test_a_decimal_has_one_text(value: str, text: str) -> None:
    assert decimal_text(Decimal(value)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9))
def test_a_decimal_survives_its_text(value: Decimal) -> None:
    assert Decimal(decimal_text(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_survives_the_crossing_to_money(value: float) -> None:
    assert float(to_decimal(value)) == value


def test_a_tenth_is_a_tenth() -> None:
    assert to_decimal(0.1) == Decimal("0.1")


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1990, 1, 1)))  # noqa: DTZ001 - hypothesis asks for it
def test_an_instant_survives_its_text(value: datetime) -> None:
    assert parse_instant(instant_text(value)) == value


def test_an_instant_is_written_in_utc_with_microseconds() -> None:
    new_york = datetime(2020, 3, 16, 15, 45, tzinfo=timezone(timedelta(hours=-4)))
    assert instant_text(new_york) == "2020-03-16T19:45:00.000000Z"


def test_naive_instants_are_refused_both_ways() -> None:
    with pytest.raises(ValueError, match="naive"):
        instant_text(datetime(2020, 3, 16))  # noqa: DTZ001
    with pytest.raises(ValueError, match="naive"):
        parse_instant("2020-03-16T19:45:00")


def test_the_order_of_keys_does_not_matter() -> None:
    one = {"b": Decimal("1.0"), "a": [date(2020, 3, 16), Side.BUY, None, True]}
    two = {"a": [date(2020, 3, 16), Side.BUY, None, True], "b": Decimal("1.00")}
    assert canonical(one) == canonical(two) == '{"a":["2020-03-16","buy",null,true],"b":"1"}'
    assert sha256(one) == sha256(two)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_has_no_text(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"x": value})


def test_what_has_no_canonical_text_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no canonical text"):
        canonical(object())
