"""A person's shocks: read as they stand, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ordinis.data.shocks import read_shocks
from ordinis.errors import ConfigurationError
from ordinis.risk.stress import Shock


def a_file(folder: Path, text: str) -> Path:
    path = folder / "shocks.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_shocks_are_read_in_their_order(tmp_path: Path) -> None:
    text = "- {name: Oil halves, market: -0.05, sectors: {energy: -0.3}, symbols: {XOM: -0.35}}\n- {name: Calm}\n"
    assert read_shocks(a_file(tmp_path, text)) == (
        Shock("Oil halves", -0.05, {"energy": -0.3}, {"XOM": -0.35}),
        Shock("Calm"),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- {market: -0.1}", "0.name: Field required"),
        ("- {name: Crash, market: -1.5}", "0.market"),
        ("- {name: Crash, market: .nan}", "0.market"),
        ("- {name: Crash, sectors: {energy: down}}", "0.sectors.energy"),
        ("- {name: Crash, markets: -0.1}", "0.markets: Extra inputs"),
        ("name: Crash", "list"),
        ("- [", "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        read_shocks(a_file(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_shocks(tmp_path / "none.yaml")
