"""The command line as a person or a script meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from ordinis import bootstrap
from ordinis.governance.approvals import judge_limits
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "ray", "prefect")


def run(*arguments: str, home: Path, typed: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ORDINIS_HOME": str(home), "ORDINIS_PROJECT": str(ROOT), "COLUMNS": "160"}
    environment |= {f"ORDINIS_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "ordinis", *arguments]
    return subprocess.run(
        command, env=environment, cwd=home, input=typed, capture_output=True, text=True, check=False, timeout=120
    )


def loaded(code: str, home: Path) -> set[str]:
    """Which of the heavy libraries a process has loaded after `code`."""
    script = f"{code}\nimport sys, json\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    environment = {**os.environ, "ORDINIS_HOME": str(home), "ORDINIS_PROJECT": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_names_the_commands_and_loads_nothing_heavy(tmp_path: Path) -> None:
    shown = run("--help", home=tmp_path)
    assert shown.returncode == 0
    for command in ("demo", "up", "down", "status", "flow", "data", "backtest", "trade", "limits", "replay", "kill"):
        assert command in shown.stdout
    code = """
import sys
sys.argv = ["ordinis", "--help"]
from ordinis.cli import main
try:
    main()
except SystemExit:
    pass
assert "numpy" not in sys.modules and "pandas" not in sys.modules
"""
    assert loaded(code, tmp_path) == set()


def test_the_actor_loads_neither_ray_prefect_nor_torch(tmp_path: Path) -> None:
    ready = run("data", "ingest", "--first", "2016-01-04", "--last", "2019-01-10", home=tmp_path)
    assert ready.returncode == 0, ready.stderr
    code = """
import sys
sys.argv = ["ordinis", "trade", "--local", "--sessions", "3"]
import os
os.environ["ORDINIS_REPLAY_SECONDS"] = "0"
from ordinis.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end
# What it needs besides when it asks the service, trades at the venue and waits for the nightly flow.
import ordinis.allocation.remote, ordinis.brokers.venue_client, ordinis.operations.prefect_api
"""
    assert loaded(code, tmp_path) == set()
    replayed = run("replay", home=tmp_path)
    assert replayed.returncode == 0, replayed.stderr
    assert "3 decisions recomputed and traded again" in replayed.stdout


def test_limits_come_as_a_table_or_as_json(tmp_path: Path) -> None:
    assert "rulebook.yaml, profile standard" in run("limits", home=tmp_path).stdout
    rows = json.loads(run("limits", "--json", home=tmp_path).stdout)
    assert {
        "limit": "limits.position_cap",
        "value": "0.2",
        "source": "rulebook.yaml, profile standard",
        "approved": True,
    } in rows


def test_a_factor_cap_is_a_limit_that_is_listed_and_a_looser_one_is_not_approved(tmp_path: Path) -> None:
    def rules(name: str, caps: dict[str, float]) -> str:
        text = (ROOT / "ordinis" / "governance" / "rulebook.yaml").read_text()
        line = f"    limits:\n      factor_exposure_caps: {json.dumps(caps)}\n"
        (tmp_path / name).write_text(text.replace("    limits:\n", line, 1))
        return str(tmp_path / name)

    def listed(rulebook: str) -> dict[str, tuple[str, str, bool]]:
        rows = json.loads(run("limits", "--json", home=tmp_path, rulebook=rulebook).stdout)
        factors = [row for row in rows if "factor" in row["limit"]]
        return {row["limit"]: (row["value"], row["source"], row["approved"]) for row in factors}

    settings = Settings(home=tmp_path, rulebook=Path(rules("before.yaml", {"market": 0.8, "momentum": 0.3})))
    before = bootstrap.rulebook(settings)
    with bootstrap.ledger(settings).begin() as unit:
        judge_limits(unit, before.values, before.sha, bootstrap.market_now(settings), take_over=True)
        unit.commit()
    market, momentum = "limits.factor_exposure_caps.market", "limits.factor_exposure_caps.momentum"
    place = "before.yaml, profile standard"
    assert listed(str(settings.rulebook)) == {market: ("0.8", place, True), momentum: ("0.3", place, True)}
    assert listed(rules("after.yaml", {"market": 0.9})) == {
        market: ("0.9", "after.yaml, profile standard", False),
        momentum: ("off", "not in profile standard any more", False),
    }
    refused = run("limits", home=tmp_path, rulebook=rules("wrong.yaml", {"market": -0.8}))
    assert refused.returncode == 2
    assert "wrong.yaml, profile standard: limits.factor_exposure_caps.market: Input should be greater" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "message"),
    [
        (("limits",), {"profile": "yolo"}, 2, "no profile 'yolo'; it has configurations, research, standard"),
        (("limits",), {"replay_seconds": "soon"}, 2, "ORDINIS_REPLAY_SECONDS: Input should be a valid number"),
        (("limits",), {"ledger_database": "x", "profile": "nope"}, 2, "no profile"),
        (("backtest", "--allocator", "mine"), {}, 2, "'mine' is not equal-weight, inverse-volatility"),
        (("backtest", "--allocator", "mine.py:X"), {}, 2, "there is no Python file 'mine.py'"),
        (("backtest", "--first", "1980-01-02"), {}, 3, "sessions before and from 1980-01-02"),
        (("trade", "--local"), {"ledger_database": "mysql://x/y"}, 2, "mysql"),
        (("trade", "--local"), {}, 3, "ordinis data ingest"),
        (("data", "ingest", "--file", "none.csv"), {}, 3, "none.csv has no bars"),
        (("data", "quarantine", "abc"), {}, 8, "no batch 'abc'"),
        (("replay", "abc"), {}, 8, "no decision 'abc'"),
    ],
)
def test_an_error_is_one_line_with_an_exit_code_that_means_something(
    tmp_path: Path, arguments: tuple[str, ...], settings: dict[str, str], code: int, message: str
) -> None:
    done = run(*arguments, home=tmp_path, **settings)
    assert message in done.stderr
    assert done.returncode == code
    assert "Traceback" not in done.stderr + done.stdout


def test_kill_works_with_nothing_else_running_and_resume_reconciles_first(tmp_path: Path) -> None:
    run("data", "ingest", "--first", "2016-01-04", "--last", "2019-01-10", home=tmp_path)
    run("trade", "--local", "--sessions", "2", home=tmp_path, replay_seconds="0")
    stopped = run("kill", "--reason", "drill", home=tmp_path)
    assert stopped.returncode == 0, stopped.stderr
    assert (tmp_path / "KILLED-sim").read_text().endswith("drill\n")
    for step in ("kill flag", "control row", "cancel all orders", "suspend trading"):
        assert step in stopped.stdout
    idle = run("trade", "--local", "--sessions", "2", home=tmp_path, replay_seconds="0")
    assert "not trading" in idle.stderr
    resumed = run("resume", "--reason", "drill over", home=tmp_path)
    assert resumed.returncode == 0, resumed.stdout
    assert "ledger and broker agree" in resumed.stdout
    assert not (tmp_path / "KILLED-sim").exists()
    traded = run("trade", "--local", "--sessions", "1", home=tmp_path, replay_seconds="0")
    assert "Traded sessions 2019-01-08 to 2019-01-08" in traded.stdout
    explained = run("explain", "KO", home=tmp_path)
    for word in ("FILLED", "Decision", "asked for", "sector cap", "bp of the price it was planned at"):
        assert word in explained.stdout
    assert json.loads(run("explain", "KO", "--json", home=tmp_path).stdout)["order"]["symbol"] == "KO"
    repeated = run("replay", home=tmp_path)
    assert "3 decisions recomputed and traded again" in repeated.stdout, repeated.stderr


def test_a_person_takes_the_wheel_and_gives_it_back(tmp_path: Path) -> None:
    def told(*arguments: str) -> str:
        done = run(*arguments, home=tmp_path, replay_seconds="0")
        assert done.returncode == 0, done.stderr
        return " ".join(done.stdout.split())

    run("data", "ingest", "--first", "2016-01-04", "--last", "2019-01-10", home=tmp_path)
    told("trade", "--local", "--sessions", "1")
    assert "KO: max 1.00% until 2019-01-10 14:30 UTC." in told(
        "override", "set", "ko", "max", "0.01", "--reason", "news"
    )
    assert "inverse-volatility answers from the next decision on" in told("baseline", "--reason", "odd model")
    rows = json.loads(told("override", "list", "--json"))
    assert [(row["symbol"], row["kind"], row["reason"]) for row in rows] == [
        ("(account)", "baseline", "odd model"), ("KO", "max", "news"),
    ]  # fmt: skip
    told("trade", "--local", "--sessions", "1")
    explained = json.loads(run("explain", "KO", "--json", home=tmp_path).stdout)
    assert (explained["order"]["side"], explained["decision"]["source"]) == ("sell", "baseline")
    assert explained["decision"]["weights"]["KO"] == 0.01
    assert "KO: max 1.00% of" in told("override", "lift", "KO", "max", "--reason", "over")
    assert "minimum-variance answers again" in told("baseline", "--lift", "--reason", "fine")
    assert json.loads(told("override", "list", "--json")) == []
    assert "Trading is REDUCING." in told("reduce", "--reason", "lunch")
    assert "Trading is HALTED." in told("halt", "--reason", "lunch")
    assert "Trading is HALTED already" in told("reduce", "--reason", "lunch")
    status = run("status", home=tmp_path).stdout
    assert "Trading is HALTED since" in status
    assert "said: lunch" in status
    trading = json.loads(run("status", "--json", home=tmp_path).stdout)["trading"]
    assert (trading["state"], trading["reason"], trading["locks"]) == ("HALTED", "lunch", {})
    assert "ACTIVE" in told("resume", "--reason", "back")
    assert "2 decisions recomputed and traded again" in told("replay")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("override", "set", "ZZ", "max", "0.1"), "not-found: no symbol 'ZZ'; there are AAPL, AMD"),
        (("override", "set", "KO", "max"), "override-refused: override max: needs a weight"),
        (("override", "set", "KO", "max", "30"), "30.0 is not a fraction of equity between 0 and 1"),
        (("override", "set", "KO", "no_trade", "0.1"), "override no_trade: takes no weight"),
        (("override", "set", "KO", "baseline"), "baseline is for the whole account"),
        (("limits", "approve"), "not-found: no looser limit 'standard'; what is in force is approved"),
        (("adopt", "--as", "correction"), "nothing-named: adopt: name a symbol, or --cash"),
        (("adopt", "KO", "--cash", "--as", "correction"), "nothing-named: adopt: name a symbol, or --cash"),
        (("adopt", "", "--as", "correction"), "nothing-named: symbol: is empty"),
        (("resume", "--symbol", ""), "nothing-named: symbol: is empty"),
        (("override", "lift", "KO", "max"), "not-found: no override 'KO max'; `ordinis override list`"),
        (("baseline", "--lift"), "not-found: no override 'baseline'"),
    ],
)  # fmt: skip
def test_a_wish_that_makes_no_sense_is_refused_in_one_line(
    a_ledger: Path, arguments: tuple[str, ...], problem: str
) -> None:
    done = run(*arguments, "--reason", "test", home=a_ledger)
    assert problem in done.stderr
    assert done.returncode in (2, 8)
    assert "Traceback" not in done.stderr + done.stdout


def test_a_raised_limit_stops_buys_until_a_person_approves_it_by_typing(tmp_path: Path) -> None:
    def told(*arguments: str, typed: str = "", code: int = 0) -> str:
        done = run(*arguments, home=tmp_path, typed=typed, replay_seconds="0", **slipped)
        assert done.returncode == code, done.stderr
        return " ".join((done.stdout + done.stderr).split())

    slipped: dict[str, str] = {}
    run("data", "ingest", "--first", "2016-01-04", "--last", "2019-01-10", home=tmp_path)
    told("trade", "--local", "--sessions", "1")
    rules = (ROOT / "ordinis" / "governance" / "rulebook.yaml").read_text()
    (tmp_path / "rules.yaml").write_text(rules.replace("position_cap: 0.20 ", "position_cap: 0.90 "))
    slipped["rulebook"] = str(tmp_path / "rules.yaml")
    assert "1 limits are looser than approved, so nothing is bought" in told("limits")
    told("trade", "--local", "--sessions", "1")
    assert "Trading is REDUCING since the limits breaker said: limits are looser" in told("status", code=1)
    assert "nothing was done: sim was to be typed" in told("limits", "approve", "--reason", "x", typed="yes\n", code=2)
    assert "Approved until" in told("limits", "approve", "--reason", "a bold month", typed="sim\n")
    assert "looser" not in told("limits")
    assert "ACTIVE" in told("resume", "--reason", "approved")
    told("trade", "--local", "--sessions", "1")
    assert "Trading is ACTIVE" in told("status", code=1)


def test_flatten_sells_everything_once_the_account_is_typed(tmp_path: Path) -> None:
    run("data", "ingest", "--first", "2016-01-04", "--last", "2019-01-10", home=tmp_path)
    run("trade", "--local", "--sessions", "1", home=tmp_path, replay_seconds="0")
    refused = run("flatten", "--reason", "out", home=tmp_path, typed="no\n")
    assert (refused.returncode, "sim was to be typed" in refused.stderr) == (2, True)
    done = run("flatten", "--reason", "out", home=tmp_path, typed="sim\n")
    assert "Everything is sold from the next decision on" in done.stdout
    run("trade", "--local", "--sessions", "1", home=tmp_path, replay_seconds="0")
    with SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", "sim").begin(write=False) as unit:
        assert unit.book.holdings() == {}
    assert "may be built again" in run("flatten", "--lift", "--reason", "in", home=tmp_path).stdout


@pytest.fixture(scope="module")
def a_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ordinis.persistence.unit_of_work import SqlLedger

    home = tmp_path_factory.mktemp("home")
    SqlLedger(f"sqlite:///{home / 'ledger.db'}", "sim").close()
    return home


def test_a_second_actor_is_told_who_trades_and_orders_carry_the_fence(tmp_path: Path) -> None:
    run("data", "ingest", "--first", "2016-01-04", "--last", "2019-01-10", home=tmp_path)
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", "sim")
    ledger.claim()
    refused = run("trade", "--local", home=tmp_path)
    assert refused.returncode == 4
    assert f"another-writer: the ledger is held by process {os.getpid()} on " in refused.stderr
    assert "(fence 1, lease until " in refused.stderr
    ledger.close()
    traded = run("trade", "--local", "--sessions", "1", home=tmp_path, replay_seconds="0")
    assert "Traded sessions 2019-01-02 to 2019-01-02" in traded.stdout, traded.stderr
    with ledger.engine.connect() as connection:
        assert set(connection.execute(text("SELECT fence FROM order_intent")).scalars()) == {2}
    ledger.close()


def test_a_kill_in_the_wrong_folder_says_so_and_makes_nothing(tmp_path: Path) -> None:
    done = run("kill", "--reason", "drill", home=tmp_path)
    assert done.returncode == 1
    assert "is that where Ordinis runs?" in done.stdout.replace("\n", " ").replace("  ", " ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["KILLED-sim"]


def test_a_kill_with_a_ledger_that_is_no_database_still_asks_the_broker(tmp_path: Path) -> None:
    run("data", "ingest", "--first", "2016-01-04", "--last", "2019-01-10", home=tmp_path)
    run("trade", "--local", "--sessions", "1", home=tmp_path, replay_seconds="0")
    (tmp_path / "ledger.db").write_bytes(b"not a database" * 100)
    done = run("kill", "--reason", "drill", home=tmp_path)
    assert done.returncode == 1
    assert done.stdout.count("done") == 3
    assert "Traceback" not in done.stdout + done.stderr


def test_a_kill_with_a_setting_that_cannot_be_read_still_raises_the_flag(tmp_path: Path) -> None:
    done = run("kill", "--reason", "drill", home=tmp_path, replay_seconds="fast")
    assert (tmp_path / "KILLED-sim").exists()
    assert done.returncode == 1
    assert done.stdout.count("ORDINIS_REPLAY_SECONDS") == 3


def test_a_kill_that_cannot_reach_the_venue_says_so_and_fails(tmp_path: Path) -> None:
    done = run("kill", "--reason", "drill", home=tmp_path, broker="venue", venue_port="9")
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert (tmp_path / "KILLED-sim").exists()


def test_a_damaged_file_goes_to_quarantine_row_by_row(tmp_path: Path) -> None:
    file = tmp_path / "bars.csv"
    file.write_text(
        "symbol,session,open,high,low,close,volume\n"
        "KO,2019-01-02,,,,43.1,\nKO,2019-01-03,,,,-42.8,\nKO,2019-01-05,,,,43.3,\n"
    )
    done = run("data", "ingest", "--file", str(file), home=tmp_path)
    assert "3 rows, 1 clean, 1 new, 2 in quarantine" in done.stdout, done.stderr
    batch = done.stdout.split()[1].rstrip(":")
    rows = json.loads(run("data", "quarantine", batch, "--json", home=tmp_path).stdout)
    assert [row["row"] for row in rows] == [2, 3]
    again = run("data", "ingest", "--file", str(file), home=tmp_path)
    assert "1 clean, 0 new, 2 in quarantine" in again.stdout
