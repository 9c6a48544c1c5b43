"""Where concrete things are joined: settings in, stations out.

Every import of something concrete stands inside the function that needs it, so that a process loads what it uses and
nothing else: the command line's help loads no numerics, the execution actor neither Ray, Prefect nor torch.
"""

from ordinis.bootstrap.deciding import ALLOCATORS, advisor, allocator, costs, rulebook, venue_costs
from ordinis.bootstrap.learning import CURRENCY, calibration_work, keep_calibration
from ordinis.bootstrap.market import (
    backfill,
    bar_store,
    factors,
    feedback_records,
    history,
    instruments,
    records,
    sample_market,
    sectors,
    source,
    universe,
    venue_history,
)
from ordinis.bootstrap.process import logging_to, secret_file, token
from ordinis.bootstrap.repeating import answering, recompute, replay_ledger
from ordinis.bootstrap.reporting import backtest_report, report
from ordinis.bootstrap.trading import (
    actor,
    adopt_now,
    approve_limits,
    backup_ledger,
    broker,
    broker_for_control,
    ledger,
    ledger_for_control,
    loosened_limits,
    market_now,
    reconcile_now,
    restore_ledger,
    simulated_broker,
    traded_symbol,
    venue,
    venue_time,
)

__all__ = [
    "ALLOCATORS",
    "CURRENCY",
    "actor",
    "adopt_now",
    "advisor",
    "allocator",
    "answering",
    "approve_limits",
    "backfill",
    "backtest_report",
    "backup_ledger",
    "bar_store",
    "broker",
    "broker_for_control",
    "calibration_work",
    "costs",
    "factors",
    "feedback_records",
    "history",
    "instruments",
    "keep_calibration",
    "ledger",
    "ledger_for_control",
    "logging_to",
    "loosened_limits",
    "market_now",
    "recompute",
    "reconcile_now",
    "records",
    "replay_ledger",
    "report",
    "restore_ledger",
    "rulebook",
    "sample_market",
    "secret_file",
    "sectors",
    "simulated_broker",
    "source",
    "token",
    "traded_symbol",
    "universe",
    "venue",
    "venue_costs",
    "venue_history",
    "venue_time",
]
