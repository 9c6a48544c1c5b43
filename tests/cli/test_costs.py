"""Costs as a person asks for them: the model in force, its history, a way back, and how orders were carried out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ordinis import bootstrap
from ordinis.costs.models import SquareRootCost, published
from ordinis.settings import Settings
from tests.cli.test_cli import ROOT, run
from tests.feedback.test_nightly import SESSIONS, TRUTH, night, orders


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nights that promoted, one that did not, and the orders of all."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings(home=home, project=ROOT)
    rows = orders(1_200, TRUTH)
    bootstrap.feedback_records(settings).keep_executions("sim", rows, after=0, place=1)
    for session, made in (
        (SESSIONS[80], night(rows[:600], session=SESSIONS[80])),
        (SESSIONS[81], night(rows[:20], session=SESSIONS[81])),
        (SESSIONS[82], night(rows, session=SESSIONS[82])),
    ):
        bootstrap.keep_calibration(settings, replace(made, session=session))
    return home


def test_the_model_in_force_is_shown_by_bucket(home: Path, tmp_path: Path) -> None:
    shown = run("costs", home=home)
    assert "calibrated on the book's own orders" in shown.stdout
    assert "bucket 2" in shown.stdout
    rows = json.loads(run("costs", "--json", home=home).stdout)
    assert [row["symbols"] for row in rows] == ["BIG", "MID", "TINY", "all others"]
    model = published(home / "cost-model-sim.json")
    assert rows[0]["eta"] == model.of("BIG").eta  # type: ignore[attr-defined]
    before = json.loads(run("costs", "--json", home=tmp_path).stdout)
    assert [(row["of"], row["eta"]) for row in before] == [("book", SquareRootCost().eta)]


def test_a_person_goes_back_to_an_earlier_version_and_only_to_one_that_was_promoted(home: Path) -> None:
    told = json.loads(run("costs", "history", "--json", home=home).stdout)
    assert [(row["session"], row["promoted"]) for row in told] == [
        (str(SESSIONS[82]), True),
        (str(SESSIONS[81]), False),
        (str(SESSIONS[80]), True),
    ]
    newest, oldest = published(home / "cost-model-sim.json"), told[2]["version"]
    refused = run("costs", "use", told[1]["version"], home=home, typed="sim\n")
    assert refused.returncode != 0
    assert "0 begin like that" in refused.stderr
    unsure = run("costs", "use", oldest, home=home, typed="yes\n")
    assert unsure.returncode != 0
    assert published(home / "cost-model-sim.json") == newest
    done = run("costs", "use", oldest, home=home, typed="sim\n")
    assert f"Cost model {oldest} of {SESSIONS[80]} is in force." in done.stdout
    assert published(home / "cost-model-sim.json").version.startswith(oldest)  # type: ignore[attr-defined]
    settings = Settings(home=home, project=ROOT)
    in_force = bootstrap.feedback_records(settings).in_force("sim")
    assert in_force is not None
    assert in_force.session == SESSIONS[80], "the next night is judged against what is traded with"
    later = json.loads(run("costs", "history", "--json", home=home).stdout)[0]
    assert (later["promoted"], "set aside by" in later["reason"]) == (False, True)


def test_a_night_that_changes_its_mind_takes_its_model_back(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, project=ROOT)
    first, second = (night(orders(600, TRUTH, seed=seed)) for seed in (0, 1))
    bootstrap.keep_calibration(settings, replace(first, session=SESSIONS[80]))
    bootstrap.keep_calibration(settings, replace(second, session=SESSIONS[81]))
    assert published(settings.cost_model_path) == second.model
    bootstrap.keep_calibration(settings, replace(night(orders(20, TRUTH)), session=SESSIONS[81]))
    assert published(settings.cost_model_path) == first.model
    bootstrap.keep_calibration(settings, replace(night(orders(20, TRUTH)), session=SESSIONS[80]))
    assert bootstrap.costs(settings) == SquareRootCost()


def test_orders_are_shown_by_symbol_venue_and_time(home: Path) -> None:
    rows = json.loads(run("costs", "quality", "--json", home=home).stdout)
    assert [row["symbol"] for row in rows] == ["BIG", "MID", "TINY"]
    assert sum(row["orders"] for row in rows) == 1_200
    assert all(row["p95, bp"] > row["shortfall p50, bp"] > 0.0 for row in rows)
    rows = json.loads(run("costs", "quality", "--by", "time", "--json", home=home).stdout)
    assert [row["time"] for row in rows] == ["3.0 to 3.5 h", "6.0 to 6.5 h"], "some sessions are half as long"
    [row] = json.loads(run("costs", "quality", "--by", "venue", "--json", home=home).stdout)
    assert (row["venue"], row["seconds to fill, p95"]) == ("sim", 2.0)
