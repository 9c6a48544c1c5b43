"""Reference files: what is read, and what an error says of a bad one."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from ordinis.data.reference import SAMPLE_INSTRUMENTS, load_instruments
from ordinis.domain.instruments import AssetClass
from ordinis.errors import ConfigurationError

GOOD = """
defaults: {currency: USD, tick: "0.01", lot: 1}
instruments:
  - {symbol: AAA, name: Triple A, asset_class: equity, sector: technology}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "instruments.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_sample_has_twenty_stocks_five_etfs_and_an_index_that_cannot_be_traded() -> None:
    found = load_instruments(SAMPLE_INSTRUMENTS)
    kinds = [instrument.asset_class for instrument in found.values()]
    assert (kinds.count(AssetClass.EQUITY), kinds.count(AssetClass.ETF), kinds.count(AssetClass.INDEX)) == (20, 5, 1)
    assert [symbol for symbol, instrument in found.items() if not instrument.tradable] == ["SP500"]


def test_sample_instruments_are_fractional_and_their_volumes_are_called_assumptions() -> None:
    for instrument in load_instruments(SAMPLE_INSTRUMENTS).values():
        assert instrument.tick == instrument.lot == Decimal("0.001")
        assert instrument.adv_is_assumed == instrument.tradable == (instrument.adv is not None)
        assert instrument.sector != "unclassified"


def test_defaults_are_taken_where_an_instrument_says_nothing_else(tmp_path: Path) -> None:
    instrument = load_instruments(written(tmp_path, GOOD))["AAA"]
    assert (instrument.tick, instrument.lot, instrument.currency) == (Decimal("0.01"), Decimal(1), "USD")
    assert instrument.adv is None
    assert not instrument.adv_is_assumed


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("symbol: AAA", "symbol: ON", "instrument 1, field symbol: True is not text; quote it"),
        ("name: Triple A, ", "", "symbol AAA, field name: missing"),
        ("sector: technology", "sector: [a]", r"symbol AAA, field sector: \['a'\] is not text"),
        ("asset_class: equity", "asset_class: bond", "field asset_class: 'bond' is not one of equity, etf, index"),
        ('tick: "0.01"', "tick: 0", "symbol AAA, field tick: 0 is not a positive number"),
        ('tick: "0.01"', 'tick: ".nan."', "field tick: '.nan.' is not a positive number"),
        ("lot: 1", "lot: true", "field lot: True is not a positive number"),
        ("sector: technology", "adv: .inf", "field adv: inf is not a positive number"),
        ("sector: technology", "adv_is_assumed: true", "adv_is_assumed: true, but there is no adv"),
        ("sector: technology", "tradable: 1", "field tradable: 1 is not true or false"),
        ("sector: technology", "sectors: technology", "field sectors: no such field; there are adv, "),
        ("- {symbol", "- {symbol: AAA, name: B, asset_class: etf}\n  - {symbol", "symbol AAA is there twice"),
        ("instruments:", "other:", "needs a list under `instruments`"),
        ("- {symbol: AAA, name: Triple A, asset_class: equity, sector: technology}", "- AAA", "instrument 1 is not a"),
        ("defaults: {", "defaults: {{", "is not YAML"),
    ],
)
def test_an_error_names_the_file_the_symbol_and_the_field(tmp_path: Path, before: str, after: str, words: str) -> None:
    assert before in GOOD
    path = written(tmp_path, GOOD.replace(before, after, 1))
    with pytest.raises(ConfigurationError, match=words) as error:
        load_instruments(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load_instruments(tmp_path / "nowhere.yaml")


def test_the_actor_loads_reference_data_and_the_live_window_without_frames_or_contracts() -> None:
    code = (
        "import sys, ordinis.data.reference, ordinis.data.live_window;"
        "print({'pandas', 'pyarrow', 'pydantic', 'great_expectations'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
