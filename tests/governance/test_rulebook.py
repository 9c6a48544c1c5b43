"""The rulebook file becomes limits once, and says what is wrong with it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml

from ordinis.errors import ConfigurationError
from ordinis.governance.rulebook import SHIPPED, load_rulebook
from ordinis.ports import RuleContext
from tests.governance.test_rules import a_book

SECTORS = {"AAPL": "technology"}


@pytest.mark.parametrize("profile", ["standard", "configurations", "research"])
def test_every_shipped_profile_loads(profile: str) -> None:
    rulebook = load_rulebook(profile, SECTORS)
    assert rulebook.profile == profile
    assert all(row.source == f"rulebook.yaml, profile {profile}" for row in rulebook.in_force)


def test_the_standard_profile_has_the_decided_limits() -> None:
    rulebook = load_rulebook("standard", SECTORS)
    in_force = {row.name: row.value for row in rulebook.in_force}
    assert in_force["limits.position_cap"] == "0.2"
    assert in_force["limits.sector_cap"] == "0.3"
    assert in_force["breakers.daily_loss"] == "0.02"
    assert in_force["breakers.drawdown_start"] == "0.1"
    assert in_force["breakers.drawdown_stop"] == "0.2"
    assert rulebook.limits.invested_cap == 0.9


def test_research_has_no_breakers_and_no_bands() -> None:
    rulebook = load_rulebook("research", SECTORS)
    names = {"position cap", "sector cap", "gross exposure", "trading state", "market hours"}
    assert {rule.name for rule in rulebook.rules} == names
    assert rulebook.trading.absolute_band is None


def test_another_value_or_sector_map_gives_another_hash(tmp_path: Path) -> None:
    content = yaml.safe_load(SHIPPED.read_text())
    content["profiles"]["standard"]["limits"]["position_cap"] = 0.19
    changed = tmp_path / "rulebook.yaml"
    changed.write_text(yaml.safe_dump(content))
    shas = {
        load_rulebook("standard", SECTORS).sha,
        load_rulebook("standard", SECTORS, changed).sha,
        load_rulebook("standard", {}).sha,
    }
    assert len(shas) == 3


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("limits", "position_cap"), 20, "limits.position_cap: Input should be less than or equal to 1"),
        (("limits", "position_cap"), None, "limits.position_cap"),
        (("limits", "positon_cap"), 0.2, "limits.positon_cap: Extra inputs are not permitted"),
        (("trading", "calendar"), "fortnight", "'fortnight' is not day, week, month or quarter"),
        (("breakers", "drawdown_start"), 0.3, "drawdown_start must be below drawdown_stop"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, path: tuple[str, str], value: object, message: str) -> None:
    content = yaml.safe_load(SHIPPED.read_text())
    content["profiles"]["standard"][path[0]][path[1]] = value
    changed = tmp_path / "rulebook.yaml"
    changed.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigurationError, match=message):
        load_rulebook("standard", SECTORS, changed)


@pytest.mark.parametrize("content", [b"profiles:", b"profiles: text", b"[]", b"\xff\xfe\xff", b"a: [", b""])
def test_a_file_that_is_no_rulebook_is_named(tmp_path: Path, content: bytes) -> None:
    broken = tmp_path / "rulebook.yaml"
    broken.write_bytes(content)
    with pytest.raises(ConfigurationError, match="is not a rulebook"):
        load_rulebook("standard", SECTORS, broken)


def test_the_standard_profile_has_every_rule() -> None:
    names = [rule.name for rule in load_rulebook("standard", SECTORS).rules]
    expected = ["position cap", "sector cap", "gross exposure", "drawdown curve", "daily loss"]
    assert names == [*expected, "trading state", "market hours"]


def test_an_unknown_profile_is_named_with_those_that_exist() -> None:
    with pytest.raises(ConfigurationError, match="no profile 'yolo'; it has configurations, research, standard"):
        load_rulebook("yolo", SECTORS)


def test_a_review_keeps_every_verdict_and_marks_a_refusal() -> None:
    rulebook = load_rulebook("standard", SECTORS)
    review = rulebook.review({"AAPL": 0.5}, a_book(), RuleContext(date(2020, 3, 16), True, SECTORS))
    assert [verdict.rule for verdict in review.verdicts] == [rule.name for rule in rulebook.rules]
    assert review.weights == {"AAPL": 0.2}
    assert "position cap: cut AAPL" in review.reason
    closed = rulebook.review({"AAPL": 0.5}, a_book(), RuleContext(date(2020, 3, 16), False, SECTORS))
    assert closed.refused


def test_a_book_that_does_not_weigh_costs_has_no_such_limit(tmp_path: Path) -> None:
    before, text = load_rulebook("standard", {}), SHIPPED.read_text(encoding="utf-8")
    weighing = tmp_path / "rulebook.yaml"
    weighing.write_text(text.replace("# cost_aversion: 3", "cost_aversion: 3"), encoding="utf-8")
    after = load_rulebook("standard", {}, weighing)
    assert (before.trading.cost_aversion, after.trading.cost_aversion) == (None, 3.0)
    assert {row.name for row in after.in_force} - {row.name for row in before.in_force} == {"trading.cost_aversion"}
    weighing.write_text(text.replace("# cost_aversion: 3", "cost_aversion: 0"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"trading\.cost_aversion"):
        load_rulebook("standard", {}, weighing)
