"""The book's exposure to a factor is brought to its cap by shrinking what pushes it past; numbers by hand."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from ordinis.domain.decisions import Review, Verdict
from ordinis.domain.exposures import FactorExposures
from ordinis.domain.limits import TradingState
from ordinis.errors import ConfigurationError
from ordinis.governance import rules
from ordinis.governance.approvals import loosened
from ordinis.governance.rulebook import SHIPPED, Rulebook, load_rulebook
from ordinis.governance.rules import ROUNDING, ROUNDS, FactorExposure
from ordinis.ports import RuleContext
from tests.governance.test_rules import a_book

TODAY, BEFORE = date(2020, 3, 16), date(2020, 3, 13)
FACTORS = ("market", "momentum")


def known(**rows: tuple[float, ...]) -> FactorExposures:
    factors = ("market", "momentum", "value")[: len(next(iter(rows.values())))]
    return FactorExposures(BEFORE, factors, {s: dict(zip(factors, row, strict=True)) for s, row in rows.items()})


def context(exposures: FactorExposures | None, age: int = 1) -> RuleContext:
    return RuleContext(TODAY, True, {}, exposures=exposures, exposures_age=age)


def reviewed(
    caps: dict[str, float], weights: dict[str, float], exposures: FactorExposures | None, age: int = 1
) -> tuple[dict[str, float], Verdict]:
    allowed, verdict = FactorExposure(caps).review(weights, a_book(), context(exposures, age))
    return dict(allowed), verdict


def exposure(weights: dict[str, float], exposures: FactorExposures, factor: str) -> float:
    return math.fsum(weight * exposures.by_symbol[symbol][factor] for symbol, weight in weights.items())


def test_what_pushes_past_the_cap_is_scaled_by_one_factor_and_the_rest_left_alone() -> None:
    """0.4 * 1.5 + 0.2 * 1 - 0.1 * 1 is 0.7; to come to 0.5 the 0.8 that push must become 0.6."""
    exposures = known(AAPL=(1.5,), KO=(1.0,), GLD=(-1.0,), TLT=(0.0,))
    weights = {"AAPL": 0.4, "KO": 0.2, "GLD": 0.1, "TLT": 0.2}
    allowed, verdict = reviewed({"market": 0.5}, weights, exposures)
    assert allowed == pytest.approx({"AAPL": 0.3, "KO": 0.15, "GLD": 0.1, "TLT": 0.2}, abs=1e-15)
    told = "market 0.7000 of 0.5; cut AAPL, KO; exposures of 2020-03-13"
    assert verdict == Verdict("factor exposure", 0.5, pytest.approx(0.7), False, told)


def test_what_the_last_round_brings_inside_is_not_scaled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "ROUNDS", 1)
    allowed, _ = reviewed({"market": 0.35}, {"AAPL": 0.4, "KO": 0.2}, known(AAPL=(1.5,), KO=(0.5,)))
    assert allowed == pytest.approx({"AAPL": 0.2, "KO": 0.1}, abs=1e-15)


def test_the_other_way_is_capped_too() -> None:
    """0.5 * -1 + 0.2 * 0.5 is -0.4; to come to -0.2 the 0.5 that push must become 0.3."""
    exposures = known(KO=(0.0, -1.0), AAPL=(0.0, 0.5))
    allowed, verdict = reviewed({"momentum": 0.2}, {"KO": 0.5, "AAPL": 0.2}, exposures)
    assert allowed == pytest.approx({"KO": 0.3, "AAPL": 0.2}, abs=1e-15)
    told = "momentum -0.4000 of 0.2; cut KO; exposures of 2020-03-13"
    assert verdict == Verdict("factor exposure", 0.2, pytest.approx(0.4), False, told)


def test_a_cap_of_nothing_is_met_exactly_and_a_book_that_cancels_out_meets_it_as_it_is() -> None:
    exposures = known(KO=(0.0, -1.0), AAPL=(0.0, 0.5))
    assert reviewed({"momentum": 0.0}, {"AAPL": 0.5}, exposures)[0] == {"AAPL": 0.0}
    assert reviewed({"momentum": 0.0}, {"AAPL": 0.5, "KO": 0.25}, exposures)[0] == {"AAPL": 0.5, "KO": 0.25}


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_at_its_cap_an_exposure_is_left_alone_and_rounding_is_no_excess(way: float) -> None:
    exposures = known(KO=(way,))
    for weight in (0.25, 0.25 + ROUNDING):
        allowed, verdict = reviewed({"market": 0.25}, {"KO": weight}, exposures)
        assert (allowed, verdict.passed) == ({"KO": weight}, True)
    allowed, verdict = reviewed({"market": 0.25}, {"KO": 0.25 + 2 * ROUNDING}, exposures)
    assert allowed == {"KO": pytest.approx(0.25, abs=1e-15)}
    assert (verdict.passed, verdict.limit, verdict.value) == (False, 0.25, 0.25 + 2 * ROUNDING)


def test_what_is_cut_for_one_factor_and_offset_another_is_made_up_for() -> None:
    """For the market 0.6 of AAPL become 0.3; KO's momentum then has 0.3 against it no more, and shrinks to 0.4."""
    exposures = known(AAPL=(1.0, -1.0), KO=(0.0, 1.0))
    allowed, verdict = reviewed({"market": 0.3, "momentum": 0.1}, {"AAPL": 0.6, "KO": 0.5}, exposures)
    assert allowed == pytest.approx({"AAPL": 0.3, "KO": 0.4}, abs=1e-15)
    told = "market 0.6000 of 0.3, momentum -0.1000 of 0.1; cut AAPL, KO; exposures of 2020-03-13"
    assert verdict == Verdict("factor exposure", 0.3, pytest.approx(0.6), False, told)


def test_the_verdict_has_the_numbers_of_the_factor_that_is_furthest_past_its_cap() -> None:
    exposures = known(AAPL=(0.5, 1.0))
    _, verdict = reviewed({"market": 0.1, "momentum": 0.5}, {"AAPL": 0.4}, exposures)
    assert (verdict.limit, verdict.value) == (0.1, pytest.approx(0.2)), "0.1 past, while momentum has 0.1 to spare"
    _, verdict = reviewed({"market": 0.3, "momentum": 0.1}, {"KO": 0.4}, known(KO=(0.5, -0.5)))
    assert (verdict.limit, verdict.value) == (0.1, pytest.approx(0.2)), "the other way counts as much"
    _, verdict = reviewed({"market": 0.3, "momentum": 0.45}, {"AAPL": 0.4}, exposures)
    assert (verdict.limit, verdict.value, verdict.passed) == (0.45, pytest.approx(0.4), True)


def test_the_order_in_which_the_caps_are_written_changes_nothing() -> None:
    exposures = known(AAPL=(1.0, -1.0), KO=(-1.0, 2.0), XOM=(0.7, 0.9))
    weights = {"AAPL": 0.6, "KO": 0.1, "XOM": 0.3}
    one = reviewed({"market": 0.3, "momentum": 0.1}, weights, exposures)
    assert one == reviewed({"momentum": 0.1, "market": 0.3}, weights, exposures)
    assert not one[1].passed


def test_a_nothing_proposed_passes() -> None:
    told = "market 0.0000 of 0.5; exposures of 2020-03-13"
    assert reviewed({"market": 0.5}, {}, known(KO=(1.0,))) == ({}, Verdict("factor exposure", 0.5, 0.0, True, told))


def test_where_each_cut_undoes_the_other_the_whole_book_is_scaled_at_last() -> None:
    """A and B offset each other but for a thousandth, so that by turns the cuts go on for thousands of rounds."""
    exposures = known(A=(1.0, -1.0), B=(-1.0, 1.001), C=(0.0, 0.0))
    weights, caps = {"A": 0.5, "B": 0.4, "C": 0.1}, {"market": 1e-8, "momentum": 1e-8}
    allowed, _ = reviewed(caps, weights, exposures)
    for factor, cap in caps.items():
        assert abs(exposure(allowed, exposures, factor)) <= cap + ROUNDING
    # Until then C had nothing to do with it, and what the rounds had left of B is scaled with it.
    assert 0.0 < allowed["C"] < 0.1
    kept = allowed["C"] / 0.1
    assert allowed["B"] / kept == pytest.approx(0.4 / 1.001**ROUNDS, rel=2e-4)


def test_the_whole_book_is_scaled_for_the_factor_that_needs_it_most() -> None:
    """Two factors are one and the same but for their caps, and the tighter one counts."""
    rows = {"A": (1.0, -1.0), "B": (-1.0, 1.001)}
    known = {symbol: {"like the market": m, "market": m, "momentum": f} for symbol, (m, f) in rows.items()}
    exposures = FactorExposures(BEFORE, ("like the market", "market", "momentum"), known)
    caps = {"like the market": 2e-8, "market": 1e-8, "momentum": 1e-8}
    allowed, _ = reviewed(caps, {"A": 0.5, "B": 0.4}, exposures)
    assert exposure(allowed, exposures, "market") == pytest.approx(1e-8, rel=1e-6)


def test_a_round_in_which_nothing_is_cut_is_the_last() -> None:
    """A fifth of what is left comes off at each turn: done in some ninety rounds, the book beside it untouched."""
    exposures = known(A=(1.0, -1.0), B=(-1.0, 1.25), C=(0.0, 0.0))
    allowed, _ = reviewed({"market": 0.0, "momentum": 0.0}, {"A": 0.5, "B": 0.4, "C": 0.1}, exposures)
    assert allowed["C"] == 0.1
    assert 0.0 < allowed["A"] < 1e-8


caps = st.dictionaries(st.sampled_from(FACTORS), st.sampled_from([0.0, 0.1, 0.5]) | st.floats(0, 2), min_size=1)
betas = st.sampled_from([0.0, 1.0, -1.0]) | st.floats(-1000, 1000)
books = st.dictionaries(st.sampled_from("ABCDEF"), st.tuples(st.floats(0, 1), betas, betas), min_size=1)


@given(caps, books)
@example({"market": 0.0, "momentum": 0.0}, {"A": (0.5, 1.0, -1.0), "B": (0.5, -1.0, 1.0001)})
@example({"market": 0.0}, {"A": (1.0, 1000.0, 0.0), "B": (1.0, -999.9, 0.0)})
def test_no_position_is_enlarged_every_cap_holds_and_a_second_time_changes_nothing(
    caps: dict[str, float], book: dict[str, tuple[float, float, float]]
) -> None:
    exposures = known(**{symbol: row[1:] for symbol, row in book.items()})
    weights = {symbol: row[0] for symbol, row in book.items()}
    allowed, verdict = reviewed(caps, weights, exposures)
    assert allowed.keys() == weights.keys()
    assert all(0.0 <= allowed[symbol] <= weights[symbol] for symbol in weights)
    assert all(abs(exposure(allowed, exposures, factor)) <= cap + 1e-9 for factor, cap in caps.items())
    inside = all(abs(exposure(weights, exposures, factor)) <= cap + 1e-9 for factor, cap in caps.items())
    assert verdict.passed is inside
    if inside:
        assert allowed == weights
    again, second = reviewed(caps, allowed, exposures)
    assert again == allowed
    assert second.passed


@given(st.floats(0, 2), books)
def test_one_cap_cuts_as_little_as_one_factor_can_and_only_what_pushes(
    cap: float, book: dict[str, tuple[float, float, float]]
) -> None:
    exposures = known(**{symbol: row[1:] for symbol, row in book.items()})
    weights = {symbol: row[0] for symbol, row in book.items()}
    before = exposure(weights, exposures, "market")
    allowed, verdict = reviewed({"market": cap}, weights, exposures)
    if verdict.passed:
        return
    assert exposure(allowed, exposures, "market") == pytest.approx(math.copysign(cap, before), abs=1e-9)
    pushing = {s for s in weights if weights[s] * exposures.by_symbol[s]["market"] * before > 0}
    assert all(allowed[symbol] == weights[symbol] for symbol in weights.keys() - pushing)
    scales = [allowed[symbol] / weights[symbol] for symbol in pushing if weights[symbol] > 1e-200]
    assert max(scales) - min(scales) <= 1e-12


class TestWhatIsNotKnown:
    def test_a_symbol_of_which_nothing_is_known_moves_with_the_market_and_is_named(self) -> None:
        exposures = known(AAPL=(1.5, 1.0))
        weights = {"AAPL": 0.2, "KO": 0.3, "ABBV": 0.1, "XOM": 0.0}
        allowed, verdict = reviewed({"market": 0.35, "momentum": 0.2}, weights, exposures)
        assert allowed == pytest.approx({"AAPL": 0.1, "KO": 0.15, "ABBV": 0.05, "XOM": 0.0}, abs=1e-15)
        assert verdict.detail == (
            "market 0.7000 of 0.35, momentum 0.2000 of 0.2; cut AAPL, ABBV, KO; exposures of 2020-03-13; "
            "ABBV, KO guessed as market 1"
        )

    @pytest.mark.parametrize(
        ("exposures", "age", "why"),
        [
            (None, 0, "no exposures are known"),
            (known(KO=(0.1, 2.0)), 6, "exposures of 2020-03-13 are 6 sessions old"),
            (known(KO=(0.1, 2.0)), 0, "exposures of 2020-03-13 are not of an earlier session"),
        ],
    )
    def test_without_exposures_that_count_all_are_guessed_and_the_verdict_says_why(
        self, exposures: FactorExposures | None, age: int, why: str
    ) -> None:
        allowed, verdict = reviewed({"market": 0.3, "momentum": 0.1}, {"KO": 0.6}, exposures, age)
        assert allowed == {"KO": pytest.approx(0.3)}
        told = f"market 0.6000 of 0.3, momentum 0.0000 of 0.1; cut KO; {why}: all count as market 1"
        assert verdict == Verdict("factor exposure", 0.3, 0.6, False, told)

    @pytest.mark.parametrize("age", [1, 5])
    def test_exposures_of_five_sessions_ago_count(self, age: int) -> None:
        allowed, verdict = reviewed({"market": 0.3}, {"KO": 0.6}, known(KO=(0.1,)), age)
        assert allowed == {"KO": 0.6}
        assert verdict.detail == "market 0.0600 of 0.3; exposures of 2020-03-13"

    def test_a_capped_factor_that_nothing_is_known_of_is_named(self) -> None:
        _, verdict = reviewed({"value": 0.1, "market": 0.9, "size": 0.1}, {"KO": 0.6}, known(KO=(1.0,)))
        assert verdict.passed
        assert verdict.detail == (
            "market 0.6000 of 0.9, size 0.0000 of 0.1, value 0.0000 of 0.1; exposures of 2020-03-13; "
            "nothing is known of size, value"
        )

    def test_where_the_market_itself_is_not_among_the_factors_every_symbol_counts_as_one(self) -> None:
        exposures = FactorExposures(BEFORE, ("size",), {"KO": {"size": 2.0}})
        allowed, verdict = reviewed({"market": 0.3}, {"KO": 0.6}, exposures)
        assert allowed == {"KO": pytest.approx(0.3)}
        assert verdict.detail.endswith("exposures of 2020-03-13; nothing is known of market")


def capped(tmp_path: Path, caps: Any, profile: str = "standard") -> Rulebook:
    """The shipped rulebook with these caps."""
    content = yaml.safe_load(SHIPPED.read_text())
    content["profiles"][profile]["limits"]["factor_exposure_caps"] = caps
    path = tmp_path / "rulebook.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_rulebook(profile, {}, path)


class TestInTheRulebook:
    @pytest.mark.parametrize("profile", ["standard", "configurations", "research"])
    def test_a_book_that_names_no_cap_has_the_limits_that_it_had(self, tmp_path: Path, profile: str) -> None:
        shipped = load_rulebook(profile, {"KO": "Staples"})
        assert shipped.factor_caps == {}
        assert not [rule for rule in shipped.rules if isinstance(rule, FactorExposure)]
        assert not [name for name in shipped.values if "factor" in name]
        for section, entries in yaml.safe_load(SHIPPED.read_text())["profiles"][profile].items():
            listed = [row.name for row in shipped.in_force if row.name.startswith(f"{section}.")]
            assert sorted(listed) == sorted(f"{section}.{key}" for key in entries)
        for none in (None, {}):
            assert capped(tmp_path, none, profile).sha == load_rulebook(profile, {}).sha

    def test_each_cap_is_a_limit_that_is_listed_and_hashed(self, tmp_path: Path) -> None:
        rulebook = capped(tmp_path, {"momentum": 0.3, "market": 0.8})
        listed = {row.name: (row.value, row.source) for row in rulebook.in_force if "factor" in row.name}
        place = "rulebook.yaml, profile standard"
        assert listed == {
            "limits.factor_exposure_caps.market": ("0.8", place),
            "limits.factor_exposure_caps.momentum": ("0.3", place),
        }
        assert rulebook.factor_caps == {"market": 0.8, "momentum": 0.3}
        shas = {capped(tmp_path, caps).sha for caps in ({}, {"market": 0.8}, {"market": 0.7}, {"value": 0.8})}
        assert len(shas) == 4
        assert capped(tmp_path, {"market": 0.8, "momentum": 0.3}).sha == rulebook.sha

    @pytest.mark.parametrize(
        ("caps", "message"),
        [
            ({"market": -0.1}, "market: Input should be greater than or equal to 0"),
            ({"market": 30}, "market: Input should be less than or equal to 10"),
            ({"market": math.nan}, "market: Input should be a finite number"),
            ({"market": math.inf}, "market: Input should be"),
            ({"market": "0.8"}, "market: Input should be a valid number"),
            ({"market": True}, "market: Input should be a valid number"),
            ({"market": None}, "market: Input should be a valid number"),
            ({"": 0.8}, "factor_exposure_caps.*: String should"),
            ({" ": 0.8}, "factor_exposure_caps. .*: String should"),
            ({7: 0.8}, "factor_exposure_caps.7.*: Input should be a valid string"),
            ([0.8], "factor_exposure_caps: Input should be a valid"),
        ],
    )
    def test_a_cap_that_is_none_is_refused_by_name(self, tmp_path: Path, caps: Any, message: str) -> None:
        where = rf"{re.escape(str(tmp_path))}.*rulebook.yaml, profile standard: limits.*"
        with pytest.raises(ConfigurationError, match=where + message):
            capped(tmp_path, caps)

    @pytest.mark.parametrize("cap", [0, 0.0, 1, 10])
    def test_the_ends_of_what_a_cap_may_be(self, tmp_path: Path, cap: float) -> None:
        assert capped(tmp_path, {"market": cap}).factor_caps == {"market": cap}

    def test_a_looser_cap_or_one_that_is_gone_needs_a_person_and_a_new_one_does_not(self, tmp_path: Path) -> None:
        def values(**caps: float) -> Any:
            return capped(tmp_path, caps).values

        name = "limits.factor_exposure_caps.market"
        assert loosened(values(market=0.8), values(market=0.9)) == {name: (0.8, 0.9)}
        assert loosened(values(market=0.8), values()) == {name: (0.8, None)}
        assert loosened(values(market=0.8), values(momentum=0.8)) == {name: (0.8, None)}
        assert loosened(values(market=0.8), values(market=0.7, value=0.1)) == {}
        assert loosened(values(), values(market=0.8)) == {}

    def test_it_stands_after_what_cuts_one_symbol_and_not_another(self, tmp_path: Path) -> None:
        names = [rule.name for rule in capped(tmp_path, {"market": 0.8}).rules]
        assert names[-3:] == ["trading state", "factor exposure", "market hours"]

    def test_a_hedge_that_another_rule_takes_away_hedges_nothing(self, tmp_path: Path) -> None:
        """GLD's 0.4 offset KO's 0.2 wholly; at most 0.2 may be held of it, and none be bought while trading shrinks."""
        rulebook = capped(tmp_path, {"market": 0.05})
        exposures = known(KO=(1.0,), GLD=(-0.5,))
        at = context(exposures)
        review = rulebook.review({"KO": 0.2, "GLD": 0.4}, a_book(), at)
        assert review.weights == pytest.approx({"KO": 0.15, "GLD": 0.2})
        shrinking = replace(at, state=TradingState.REDUCING)
        review = rulebook.review({"KO": 0.2, "GLD": 0.2}, a_book({"KO": 0.2}), shrinking)
        assert review.weights == pytest.approx({"KO": 0.05, "GLD": 0.0})

    def test_weights_that_were_cut_since_are_looked_at_once_more(self, tmp_path: Path) -> None:
        rulebook, at = capped(tmp_path, {"market": 0.05}), context(known(KO=(1.0,), GLD=(-1.0,)))
        first = (Verdict("factor exposure", 0.05, 0.0, True),)
        again = rulebook.once_more(Review({"KO": 0.2, "GLD": 0.1}, first), a_book(), at)
        assert again.weights == pytest.approx({"KO": 0.15, "GLD": 0.1})
        told = "market 0.1000 of 0.05; cut KO; exposures of 2020-03-13"
        assert again.verdicts == (
            *first,
            Verdict("factor exposure, once more", 0.05, pytest.approx(0.1), False, told),
        )
        for kept in (Review({"KO": 0.2, "GLD": 0.15}, first), Review({"KO": 0.2}, first, refused=True)):
            assert rulebook.once_more(kept, a_book(), at) == kept
        plain = Review({"KO": 0.2}, first)
        assert load_rulebook("standard", {}).once_more(plain, a_book(), at) == plain
