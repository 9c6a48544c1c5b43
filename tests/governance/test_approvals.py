"""Looser limits need a person's word, for a time; tighter ones are taken over."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ordinis import governance
from ordinis.domain.canonical import canonical
from ordinis.domain.limits import Approval, TradingState
from ordinis.governance.approvals import LIMITS, judge_limits, loosened
from ordinis.governance.rulebook import Rulebook, load_rulebook
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import ControlRow

NOW = datetime(2020, 3, 16, 19, 45, tzinfo=UTC)
DAY = timedelta(days=1)
SHIPPED = (Path(governance.__file__).parent / "rulebook.yaml").read_text()
Rules = Callable[..., Rulebook]


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    def made(sectors: dict[str, str] | None = None, **changes: str) -> Rulebook:
        text = SHIPPED
        for name, value in changes.items():
            text, found = re.subn(rf"^(      {name}:) *\S+", rf"\1 {value}", text, count=1, flags=re.MULTILINE)
            assert found
        path = tmp_path / "rules.yaml"
        path.write_text(text)
        return load_rulebook("standard", sectors or {}, path)

    return made


@pytest.fixture
def ledger() -> SqlLedger:
    return SqlLedger("sqlite://", "sim")


def judged(ledger: SqlLedger, rulebook: Rulebook, at: datetime = NOW, *, take_over: bool = True) -> TradingState:
    """The trading state after a start under `rulebook`."""
    with ledger.begin() as unit:
        if judge_limits(unit, rulebook.values, rulebook.sha, at, take_over=take_over):
            unit.commit()
    with ledger.begin(write=False) as unit:
        row = unit.control.state()
    return TradingState.ACTIVE if row is None else row.state


def approve(ledger: SqlLedger, rulebook: Rulebook, at: datetime, days: int) -> None:
    with ledger.begin() as unit:
        unit.control.approve(Approval(rulebook.sha, canonical(rulebook.values), "anna", "fine", at, at + days * DAY))
        unit.control.set(ControlRow(TradingState.ACTIVE, "approved", "anna", at))
        unit.commit()


def test_a_judgement_says_whether_it_wrote_and_takes_nothing_over_unless_it_is_told_to(
    ledger: SqlLedger, rules: Rules
) -> None:
    first, tighter = rules(), rules(position_cap="0.10")

    def wrote(rulebook: Rulebook, **how: bool) -> bool:
        with ledger.begin() as unit:
            judged = judge_limits(unit, rulebook.values, rulebook.sha, NOW, **how)
            unit.commit()
        return judged

    def approved() -> tuple[str, str] | None:
        with ledger.begin(write=False) as unit:
            row = unit.control.approval(NOW)
        return None if row is None else (row.sha, row.reason)

    assert not wrote(first)
    assert approved() is None
    assert wrote(first, take_over=True)
    assert approved() == (first.sha, "the first of this account")
    assert not wrote(first, take_over=True)
    assert not wrote(tighter)
    assert approved() == (first.sha, "the first of this account")
    assert wrote(tighter, take_over=True)
    assert approved() == (tighter.sha, "nothing is looser")
    assert wrote(first)
    assert not wrote(first)


def test_the_first_limits_and_tighter_ones_are_taken_over(ledger: SqlLedger, rules: Rules) -> None:
    assert judged(ledger, rules()) is TradingState.ACTIVE
    assert judged(ledger, rules(position_cap="0.10"), NOW + DAY) is TradingState.ACTIVE
    with ledger.begin(write=False) as unit:
        row = unit.control.approval(NOW + DAY)
        unit.verify()
    assert row is not None
    assert (row.sha, row.by, row.reason, row.expires_at) == (
        rules(position_cap="0.10").sha, LIMITS, "nothing is looser", None
    )  # fmt: skip
    # What was the limit before is looser than what is approved now.
    assert judged(ledger, rules(), NOW + 2 * DAY) is TradingState.REDUCING


def test_a_limit_raised_by_a_slip_lets_the_book_shrink_only_and_says_which(ledger: SqlLedger, rules: Rules) -> None:
    judged(ledger, rules())
    assert judged(ledger, rules(position_cap="0.90", daily_loss="null")) is TradingState.REDUCING
    with ledger.begin(write=False) as unit:
        row = unit.control.state()
    assert row is not None
    assert (row.by, row.reason) == (
        LIMITS,
        "limits are looser than approved, or their approval has ended: breakers.daily_loss 0.02 to "
        "off, limits.position_cap 0.2 to 0.9",
    )


def test_an_approval_ends_and_what_was_tightened_meanwhile_ends_with_it(ledger: SqlLedger, rules: Rules) -> None:
    judged(ledger, rules())
    approve(ledger, rules(position_cap="0.30"), NOW, days=7)
    assert judged(ledger, rules(position_cap="0.30"), NOW + DAY) is TradingState.ACTIVE
    assert judged(ledger, rules(position_cap="0.25"), NOW + 2 * DAY) is TradingState.ACTIVE
    assert judged(ledger, rules(position_cap="0.25"), NOW + 7 * DAY) is TradingState.REDUCING


def test_the_limits_of_before_are_approved_for_good_though_an_approval_ended(ledger: SqlLedger, rules: Rules) -> None:
    judged(ledger, rules())
    approve(ledger, rules(position_cap="0.30"), NOW, days=7)
    assert judged(ledger, rules(), NOW + 8 * DAY) is TradingState.ACTIVE


def test_when_to_rebalance_is_no_limit(ledger: SqlLedger, rules: Rules) -> None:
    judged(ledger, rules())
    assert judged(ledger, rules(cooldown_days="1", turnover_cap="0.9")) is TradingState.ACTIVE


def test_what_a_person_approved_is_not_taken_back_by_an_actor_that_still_runs(ledger: SqlLedger, rules: Rules) -> None:
    judged(ledger, rules())
    approve(ledger, rules(position_cap="0.30"), NOW, days=7)
    assert judged(ledger, rules(), NOW, take_over=False) is TradingState.ACTIVE
    assert judged(ledger, rules(position_cap="0.30"), NOW + DAY) is TradingState.ACTIVE


def test_what_was_approved_for_good_is_known_beside_what_ends(ledger: SqlLedger, rules: Rules) -> None:
    judged(ledger, rules())
    approve(ledger, rules(position_cap="0.30"), NOW, days=7)
    with ledger.begin(write=False) as unit:
        lasting = unit.control.approval(NOW, for_good=True)
    assert lasting is not None
    assert (lasting.sha, lasting.expires_at) == (rules().sha, None)


def test_a_symbol_that_loses_its_sector_or_gets_another_is_looser_and_one_that_gets_its_first_is_not(
    ledger: SqlLedger, rules: Rules
) -> None:
    judged(ledger, rules({"KO": "Staples"}))
    assert judged(ledger, rules({"KO": "Staples", "XOM": "Energy"})) is TradingState.ACTIVE
    assert judged(ledger, rules({"KO": "Staples 2", "XOM": "Energy"})) is TradingState.REDUCING
    assert loosened({"sector of KO": "Staples"}, {}) == {"sector of KO": ("Staples", None)}


@pytest.mark.parametrize(
    ("name", "tight", "loose"),
    [
        ("limits.position_cap", 0.2, 0.3),
        ("limits.cash_buffer", 0.1, 0.05),
        ("orders.free_disk_mb", 500, 100),
        ("orders.day_trades", 3, None),
        ("breakers.locks", 3, 4),
    ],
)
def test_which_way_is_looser(name: str, tight: Any, loose: Any) -> None:
    assert loosened({name: tight}, {name: loose}) == {name: (tight, loose)}
    assert loosened({name: tight}, {}) == {name: (tight, None)}
    assert loosened({name: loose}, {name: tight}) == {}
    assert loosened({name: tight}, {name: tight}) == {}
    assert loosened({}, {name: loose}) == {}


def test_every_limit_is_watched(rules: Rules) -> None:
    watched = {name for name in rules({"KO": "Staples"}).values if not name.startswith("sector of ")}
    assert watched == {row.name for row in rules().in_force if not row.name.startswith("trading.")}
