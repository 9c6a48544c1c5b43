"""The anchor: what it says, when it is written, and what a start makes of one that is missing, older or damaged."""

from __future__ import annotations

import json
import logging
from decimal import Decimal
from pathlib import Path

import pytest

from ordinis import bootstrap
from ordinis.domain.portfolio import Movement
from ordinis.errors import LedgerDamaged, StoreUnavailable
from ordinis.evaluation.backtest import backtest
from ordinis.persistence import anchor
from ordinis.persistence.chain import Head
from ordinis.persistence.unit_of_work import SqlLedger
from tests.execution.kill_rig import the_settings
from tests.persistence.damage import FIRST, anchor_of
from tests.persistence.test_ledger import NOW

HEADS = {"movement": Head(2, "ab" * 32), "control": Head(0, "0" * 64)}


def deposit(ledger: SqlLedger, number: int) -> None:
    with ledger.begin() as unit:
        unit.book.movement(Movement("sim", f"d{number}", "deposit", Decimal(5), NOW))
        unit.commit()


def verify(ledger: SqlLedger) -> None:
    with ledger.begin(write=False) as unit:
        unit.verify()


def test_an_anchor_comes_back_as_it_went_in_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ledger.anchor"
    assert anchor.read(path) is None
    anchor.write(path, HEADS)
    assert anchor.read(path) == HEADS
    anchor.write(path, {})
    assert anchor.read(path) == {}
    assert [file.name for file in path.parent.iterdir()] == ["ledger.anchor"]


@pytest.mark.parametrize("wreck", ["", "{}", "null", '{"chains": {"movement": 3}, "sha256": "x"}', "\x00\x01"])
def test_an_anchor_that_is_not_as_it_was_written_is_damage(tmp_path: Path, wreck: str) -> None:
    (tmp_path / "a").write_text(wreck)
    with pytest.raises(LedgerDamaged, match="cannot be read"):
        anchor.read(tmp_path / "a")


def test_an_anchor_with_a_forged_length_is_damage(tmp_path: Path) -> None:
    anchor.write(tmp_path / "a", HEADS)
    body = json.loads((tmp_path / "a").read_text())
    body["chains"]["movement"]["length"] = 1
    (tmp_path / "a").write_text(json.dumps(body))
    with pytest.raises(LedgerDamaged, match="does not match its hash"):
        anchor.read(tmp_path / "a")


def test_an_anchor_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(StoreUnavailable, match="the ledger's anchor cannot be written"):
        anchor.write(tmp_path / "a", HEADS)


def test_a_ledger_may_be_ahead_of_its_anchor_and_never_behind(database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "anchor"
    ledger = SqlLedger(database_url, "sim", path)
    deposit(ledger, 1)
    ledger.anchor()
    deposit(ledger, 2)
    verify(ledger)
    known = anchor.read(path)
    assert known is not None
    assert known["movement"].length == 1
    ledger.anchor()
    ahead = anchor.read(path)
    assert ahead is not None
    anchor.write(path, {**ahead, "movement": Head(3, ahead["movement"].hash)})
    with pytest.raises(LedgerDamaged, match="movement, row 3: it is missing: the anchor file saw 3 rows, 2 are left"):
        verify(ledger)


def test_a_tail_written_anew_is_not_the_one_that_was_anchored(tmp_path: Path) -> None:
    mine = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", "sim")
    deposit(mine, 1)
    deposit(mine, 2)
    mine.anchor()
    mine.close()
    (tmp_path / "ledger.db").unlink()
    other = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", "sim")
    for number in (1, 3, 4):
        deposit(other, number)
    with pytest.raises(LedgerDamaged, match="movement, row 2: it is not the row that the anchor file saw there"):
        verify(other)


def test_a_missing_anchor_is_a_warning_once_there_are_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", "sim")
    with caplog.at_level(logging.WARNING, logger="ordinis"):
        verify(ledger)
        assert caplog.text == ""
        deposit(ledger, 1)
        verify(ledger)
    assert "no anchor" in caplog.text
    assert "whether rows were cut off the end cannot be told" in caplog.text


def test_a_ledger_in_memory_has_no_anchor(caplog: pytest.LogCaptureFixture) -> None:
    ledger = SqlLedger("sqlite://", "sim")
    deposit(ledger, 1)
    ledger.anchor()
    with caplog.at_level(logging.WARNING, logger="ordinis"):
        verify(ledger)
    assert caplog.text == ""


def test_each_session_ends_with_the_anchor_at_the_end_of_every_chain(tmp_path: Path) -> None:
    settings = the_settings(tmp_path, 1)
    rules, ledger = bootstrap.rulebook(settings), bootstrap.ledger(settings)
    allocator = bootstrap.allocator("inverse-volatility", rules.limits)
    seen = []

    def after(_: object) -> None:
        known = anchor.read(anchor_of(tmp_path / "ledger.db"))
        assert known is not None
        with ledger.begin(write=False) as unit:
            assert known == unit.heads()
        seen.append(known["valuation"].length)

    backtest(
        bootstrap.sample_market(settings), allocator, allocator, rules, bootstrap.costs(settings),
        first=FIRST, last=FIRST.replace(day=4), ledger=ledger, on_session=after,
    )  # fmt: skip
    assert seen == [1, 2]
