"""How much can be invested, and which limits stand in the way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from ordinis.domain.limits import Limits
from ordinis.errors import InfeasibleLimits
from ordinis.optimize.constraints import investable, invested_target, sector_rows


def conflict(symbols, limits, invested):
    with pytest.raises(InfeasibleLimits) as caught:
        invested_target(symbols, limits, invested)
    return caught.value.conflict


def test_three_symbols_capped_at_a_fifth_reach_sixty_percent():
    assert investable(["A", "B", "C"], Limits()) == pytest.approx(0.6)
    assert invested_target(["A", "B", "C"], Limits(), None) == pytest.approx(0.6)


def test_many_symbols_reach_the_invested_cap():
    assert investable([f"S{i}" for i in range(20)], Limits()) == pytest.approx(0.9)


def test_sectors_cap_what_can_be_invested():
    symbols = [f"S{i}" for i in range(6)]
    assert investable(symbols, Limits(sectors=dict.fromkeys(symbols[:4], "energy"))) == pytest.approx(0.3 + 0.4)


def test_too_few_symbols_conflict_with_their_cap_alone():
    assert conflict(["A", "B", "C"], Limits(), 0.9) == ("invested 0.9000", "position 0.2000 on 3 symbols")


def test_more_than_gross_or_cash_allows_conflicts_with_that_alone():
    symbols = [f"S{i}" for i in range(20)]
    assert conflict(symbols, Limits(gross_cap=0.8), 0.85) == ("invested 0.8500", "gross 0.8000")
    assert conflict(symbols, Limits(cash_buffer=0.3), 0.85) == ("invested 0.8500", "cash 0.3000")


def test_only_the_sectors_that_are_needed_are_named():
    # 9 symbols at 0.2 reach 1.8; the cap on the six of energy takes 0.9 of it, that on the two of banks 0.1
    symbols = [f"E{i}" for i in range(6)] + ["B0", "B1", "X"]
    sectors = dict.fromkeys(symbols[:6], "energy") | dict.fromkeys(symbols[6:8], "banks")
    limits = Limits(gross_cap=1.0, cash_buffer=0.0, sectors=sectors)
    wanted = ("invested 0.9500", "position 0.2000 on 9 symbols", "sector energy 0.3000")
    assert conflict(symbols, limits, 0.95) == wanted
    assert conflict(symbols, limits, 0.85) == ("invested 0.8500", *wanted[1:], "sector banks 0.3000")


def test_two_sectors_that_hold_everything_conflict_without_the_position_cap():
    symbols = [f"S{i}" for i in range(8)]
    limits = Limits(sectors={name: f"sector{i % 2}" for i, name in enumerate(symbols)})
    assert conflict(symbols, limits, 0.7) == ("invested 0.7000", "sector sector0 0.3000", "sector sector1 0.3000")


def test_a_sector_that_its_position_caps_keep_inside_needs_no_row():
    limits = Limits(position_cap=0.1, sectors={"A": "x", "B": "x", "C": "y"})
    assert sector_rows(["A", "B", "C"], limits).shape == (0, 3)
    assert sector_rows(["A", "B", "C"], Limits(sectors=limits.sectors)).tolist() == [[1.0, 1.0, 0.0]]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 9), st.data())
def test_a_linear_program_reaches_the_same_sum(count, data):
    symbols = [f"S{i}" for i in range(count)]
    sectors = {name: data.draw(st.sampled_from("abc")) for name in symbols if data.draw(st.booleans())}
    fraction = st.floats(0.05, 1.0)
    limits = Limits(data.draw(fraction), data.draw(fraction), 0.1, data.draw(fraction), sectors)
    if not count:
        assert investable(symbols, limits) == 0.0
        return
    rows = [[1.0] * count] + [[float(sectors.get(name) == sector) for name in symbols] for sector in "abc"]
    bounds = [limits.invested_cap] + [limits.sector_cap] * 3
    solved = linprog([-1.0] * count, rows, bounds, bounds=(0.0, limits.position_cap))
    assert investable(symbols, limits) == pytest.approx(-solved.fun, abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 9), st.floats(0.1, 1.0), st.data())
def test_the_named_limits_conflict_and_not_one_of_them_can_be_spared(count, invested, data):
    symbols = [f"S{i}" for i in range(count)]
    sectors = {name: data.draw(st.sampled_from("abc")) for name in symbols if data.draw(st.booleans())}
    limits = Limits(data.draw(st.floats(0.05, 1.0)), 1.0, 0.0, data.draw(st.floats(0.05, 1.0)), sectors)
    if investable(symbols, limits) > invested - 1e-9:
        return
    named = conflict(symbols, limits, invested)[1:]

    def reach(kept):
        """How much could be invested if these were the only limits."""
        capped = [name.split()[1] for name in kept if name.startswith("sector")]
        position = limits.position_cap if any(name.startswith("position") for name in kept) else 1.0
        left = {symbol: sector for symbol, sector in sectors.items() if sector in capped}
        return investable(symbols, Limits(position, 1.0, 0.0, limits.sector_cap, left))

    assert reach(named) < invested
    for spared in named:
        assert reach([name for name in named if name != spared]) >= invested - 1e-9
