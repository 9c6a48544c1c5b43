"""Exposures on their way from a night to the rules: whole or not at all, and what is none is named."""

from __future__ import annotations

import json
import math
import os
from datetime import date
from pathlib import Path
from threading import get_ident
from typing import Any

import pytest

from ordinis.domain.canonical import canonical
from ordinis.domain.exposures import FactorExposures, exposure_of, why_guessed
from ordinis.errors import ConfigurationError
from ordinis.governance.exposures import publish, published, stored_exposures

FRIDAY = date(2020, 3, 13)
KNOWN = FactorExposures(
    FRIDAY, ("market", "value"), {"KO": {"market": 0.6, "value": -0.25}, "XOM": {"value": 1.0, "market": 1.25}}
)


def test_what_is_published_is_read_back_and_the_same_bytes_for_the_same_exposures(tmp_path: Path) -> None:
    path = tmp_path / "exposures.json"
    assert published(path) is None
    publish(KNOWN, path)
    assert published(path) == KNOWN
    before = path.read_bytes()
    publish(FactorExposures(FRIDAY, KNOWN.factors, dict(reversed(KNOWN.by_symbol.items()))), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["exposures.json"], "nothing half written is left beside it"


def test_a_writer_that_fails_half_way_leaves_the_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "exposures.json"
    publish(KNOWN, path)
    # Where the new ones would be written before they take the old ones' place there is a folder.
    path.with_name(f"{path.name}.{os.getpid()}-{get_ident()}.new").mkdir()
    with pytest.raises(IsADirectoryError):
        publish(FactorExposures(FRIDAY, (), {}), path)
    assert published(path) == KNOWN


def test_what_a_decision_stored_is_read_back() -> None:
    assert stored_exposures(canonical({"exposures": KNOWN, "state": "ACTIVE"})) == KNOWN
    assert stored_exposures(canonical({"exposures": None})) is None
    assert stored_exposures(canonical({"state": "ACTIVE"})) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"session": "yesterday"}, "session, factors and by_symbol are needed"),
        ({"session": None}, "session, factors and by_symbol are needed"),
        ({"factors": "market"}, "factors: 'market' is not a list of names"),
        ({"factors": [1, 2]}, r"factors: \[1, 2\] is not a list of names"),
        ({"by_symbol": [1]}, "by_symbol is not a mapping"),
        ({"by_symbol": {"KO": 1.0}}, "by_symbol is not a mapping"),
        ({"by_symbol": {"KO": {"market": 1.0}}}, "KO has market, not market, value"),
        ({"by_symbol": {"KO": {}}}, "KO has none, not market, value"),
        ({"by_symbol": {"KO": {"market": 1.0, "value": math.nan}}}, "KO to value: nan is no exposure"),
        ({"by_symbol": {"KO": {"market": "1", "value": 1.0}}}, "KO to market: '1' is no exposure"),
        ({"by_symbol": {"KO": {"market": True, "value": 1.0}}}, "KO to market: True is no exposure"),
        ({"by_symbol": {"KO": {"market": -1000.5, "value": 1.0}}}, "KO to market: -1000.5 is no exposure"),
    ],
)
def test_a_file_that_holds_no_exposures_is_named_with_what_is_wrong(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "exposures.json"
    body = {"session": "2020-03-13", "factors": ["market", "value"], "by_symbol": {}}
    path.write_text(json.dumps(body | change))
    with pytest.raises(ConfigurationError, match=rf"exposures .*exposures\.json: cannot be read: .*{message}"):
        published(path)


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b'{"session": "2020-03-13"', b'{"session": "2020-03-13"}'])
def test_a_file_that_is_cut_short_is_named(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "exposures.json"
    path.write_bytes(text)
    with pytest.raises(ConfigurationError, match=r"exposures\.json: cannot be read"):
        published(path)


@pytest.mark.parametrize("value", [1000.0, -1000.0, 0, 3])
def test_the_largest_exposure_is_one(value: float) -> None:
    assert FactorExposures(FRIDAY, ("market",), {"KO": {"market": value}}).by_symbol["KO"]["market"] == value


def test_what_is_not_known_moves_with_the_market_alone() -> None:
    assert exposure_of(KNOWN, "KO", "value") == -0.25
    assert exposure_of(KNOWN, "KO", "market") == 0.6
    assert exposure_of(KNOWN, "KO", "size") == 0.0
    for known in (KNOWN, None):
        assert (exposure_of(known, "GE", "market"), exposure_of(known, "GE", "value")) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("age", "why"),
    [
        (-1, "exposures of 2020-03-13 are not of an earlier session"),
        (0, "exposures of 2020-03-13 are not of an earlier session"),
        (1, ""),
        (5, ""),
        (6, "exposures of 2020-03-13 are 6 sessions old"),
    ],
)
def test_how_long_exposures_count(age: int, why: str) -> None:
    assert why_guessed(KNOWN, age) == why
    assert why_guessed(None, age) == "no exposures are known"
