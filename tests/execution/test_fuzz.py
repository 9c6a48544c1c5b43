"""Orders that nobody should send, by the thousand: none leaves that may not, and a missing gate is noticed."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ordinis.cli import control  # noqa: F401 - adds its commands
from ordinis.cli.app import app
from ordinis.clock import trading_calendar
from ordinis.domain.decisions import Decision
from ordinis.domain.limits import TradingState
from ordinis.domain.orders import PlannedOrder, Side
from ordinis.domain.overrides import OverrideKind
from ordinis.errors import OrdinisError
from ordinis.execution.gates import Gates, Passed
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import UnitOfWork
from tests.execution.fuzzing import Fuzz, fuzzed


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Every order that is denied is logged."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("first", "attempts"), [(0, 5_000), pytest.param(1_000, 100_000, marks=pytest.mark.slow)], ids=["quick", "slow"]
)
def test_none_leaves_that_may_not(tmp_path: Path, first: int, attempts: int) -> None:
    runs = fuzzed(first, attempts, tmp_path)
    assert {run.seed: run.wrong for run in runs if run.wrong} == {}
    # The doors are not simply shut.
    assert sum(run.orders for run in runs) > attempts / 20


class AnyState(Gates):
    def stopped(self, unit: UnitOfWork, symbol: str, side: Side) -> str:
        return ""


class AnySize(Gates):
    def _sized(self, unit: UnitOfWork, order: PlannedOrder, *_: Any) -> Passed:
        return Passed(order.quantity, order.quantity * order.reference_price)


class AnyWish(Gates):
    def still_valid(self, unit: UnitOfWork, decision: Decision, symbol: str, side: Side, now: Any) -> str:
        reason = super().still_valid(unit, decision, symbol, side, now)
        return "" if "override" in reason else reason


class AnyPace(Gates):
    def admit(self, *asked: Any, **named: Any) -> Any:
        free = replace(self.orders, orders_per_minute=None, bought_per_minute=None)
        return Gates.admit(replace(self, orders=free), *asked, **named)


@pytest.mark.parametrize(
    ("gates", "finding"),
    [
        (AnyState, "left while trading was"),
        (AnySize, "may grow to"),
        (AnyWish, "left against the override"),
        (AnyPace, "bought within a minute"),
    ],
)
def test_a_gate_that_is_open_is_noticed(tmp_path: Path, gates: type[Gates], finding: str) -> None:
    def wrong(seed: int) -> list[str]:
        fuzz = Fuzz(seed, tmp_path)
        actor = fuzz._actor

        def broken() -> Any:
            made = actor()
            own = {name: getattr(made.engine.gates, name) for name in made.engine.gates.__dataclass_fields__}
            made.engine = replace(made.engine, gates=gates(**own))
            return made

        fuzz._actor = broken  # type: ignore[method-assign]
        fuzz.actor = broken()
        return fuzz.run().wrong

    assert any(finding in text for seed in range(60) for text in wrong(seed))


WORDS = (
    *("KO", "ko", "ZZ", "", "pin", "max", "no_trade", "baseline", "0.1", "-1", "nan", "1e9", "30", "\x00"),
    *("--reason", "--days", "inf", "--lift", "set", "lift", "list", "'; DROP TABLE override; --"),
)
NUMBERS = ("0", "0.1", "1", "1.1", "-0.1", "nan", "inf", "-inf", "30", "1e400", "x", "")


def command_line(rng: random.Random) -> list[str]:
    """Words in any order, or a wish that is nearly or wholly right."""
    if rng.random() < 0.3:
        words = [rng.choice(WORDS) for _ in range(rng.randrange(1, 7))]
        return [rng.choice(("override", "baseline", "reduce", "halt")), *words]
    kind = rng.choice([str(kind) for kind in OverrideKind])
    wish = ["override", rng.choice(("set", "set", "lift")), rng.choice(("KO", "xom", "ZZ")), kind]
    wish += [rng.choice(NUMBERS)] if rng.random() < 0.5 else []
    wish += ["--days", rng.choice(NUMBERS)] if rng.random() < 0.5 else []
    return [*wish, "--reason", "fuzz"]


def test_the_command_line_takes_any_words_and_writes_only_what_makes_sense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDINIS_HOME", str(tmp_path))
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", "sim")
    rng, runner, accepted = random.Random(1), CliRunner(), 0
    for _ in range(400):
        command = command_line(rng)
        done = runner.invoke(app, command)
        accepted += done.exit_code == 0
        assert done.exception is None or isinstance(done.exception, (SystemExit, OrdinisError)), (command, done)
    assert accepted > 20
    with ledger.begin(write=False) as unit:
        unit.verify()
        rows = unit.control.overrides(trading_calendar().opens(date(2019, 1, 2)))
        state = unit.control.state()
    assert all(row.value is None or 0.0 <= row.value <= 1.0 for row in rows)
    assert all(row.kind in OverrideKind and (row.kind is OverrideKind.BASELINE) == (row.symbol == "") for row in rows)
    assert state is None or state.state in (TradingState.REDUCING, TradingState.HALTED)
    ledger.close()
