"""Data contracts: what a batch must be like before anybody may believe it.

The expectations of a contract file are run by Great Expectations on the batch with the derived columns beside it.
Every rejected row gets its reasons in words; a breach that concerns the batch rejects every row of it. Nothing is
repaired: a row passes as it came, or it does not pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd

from ordinis.data.contract_files import Contract, Expectation, load_contract
from ordinis.data.derived import Background, absent, derive, read_cells
from ordinis.domain.canonical import canonical
from ordinis.errors import ConfigurationError

__all__ = ["Background", "Contract", "Inspection", "Rejection", "inspect", "load_contract"]

_ONE_AT_A_TIME = Lock()
"""Great Expectations keeps its current project in a global."""


@dataclass(frozen=True)
class Rejection:
    """One row that was not believed."""

    row_no: int
    """From 1 on, in the order of the batch."""
    symbol: str | None
    session: date | None
    reasons: tuple[str, ...]
    payload: str
    """The row as it came, as canonical text."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a contract said of one batch."""

    contract: str
    rows: int
    clean: pd.DataFrame
    """Rows that passed, in the contract's columns and types."""
    rejections: tuple[Rejection, ...]
    batch_reasons: tuple[str, ...]
    """Why the batch as a whole was rejected; empty when it was not."""


def inspect(contract: Contract, batch: pd.DataFrame, background: Background) -> Inspection:
    """Check a batch against its contract.

    Raises:
        ConfigurationError: an expectation of the contract cannot be run.
    """
    raw = batch.reset_index(drop=True)
    raw.columns = pd.Index(_distinct([str(name) for name in raw.columns]))
    names = [column.name for column in contract.columns]
    of_table = [e for e in contract.expectations if e.expect.startswith("expect_table_")]
    facts = {"missing": _listed(set(names) - set(raw.columns)), "extra": _listed(set(raw.columns) - set(names))}
    failing = _breaches(contract, raw, of_table)
    broken = [expectation.reason.format_map(facts) for expectation in of_table if expectation.name in failing]
    reasons: dict[int, list[str]] = {}
    frame = pd.DataFrame(columns=names)
    if not broken:
        frame = read_cells(raw, {column.name: column.type for column in contract.columns})
        frame = derive(list(contract.derived), frame, contract.key, background)
        broken, reasons = _content(contract, frame)
    rejected = range(len(raw)) if broken else sorted(reasons)
    rejections = tuple(
        _rejection(row, cells, (*broken, *reasons.get(row, ())))
        for row, cells in zip(rejected, raw.iloc[list(rejected)].to_dict("records"), strict=True)
    )
    clean = frame.drop(index=list(rejected), errors="ignore")[names].reset_index(drop=True)
    return Inspection(contract.name, len(raw), clean, rejections, tuple(broken))


def _content(contract: Contract, frame: pd.DataFrame) -> tuple[list[str], dict[int, list[str]]]:
    """Reasons against the batch, and reasons against single rows by position."""
    asked = [e for e in contract.all_expectations if not e.expect.startswith("expect_table_")]
    failing = _breaches(contract, frame, asked)
    settled = {row for e in asked if e.decisive for row in failing.get(e.name, ())}
    broken: list[str] = []
    reasons: dict[int, list[str]] = {}
    for expectation in asked:
        rows = [row for row in failing.get(expectation.name, ()) if expectation.decisive or row not in settled]
        told = [expectation.reason.format_map(cells) for cells in frame.loc[rows].to_dict("records")]
        if expectation.breach == "batch" and told:
            broken.append(told[0] + (f" (and {len(told) - 1} more)" if len(told) > 1 else ""))
            continue
        for row, reason in zip(rows, told, strict=True):
            reasons.setdefault(row, []).append(reason)
    return broken, reasons


def _breaches(contract: Contract, frame: pd.DataFrame, asked: Sequence[Expectation]) -> dict[str, list[int]]:
    """Positions of the rows that break each expectation, by its name; the expectations that hold are left out."""
    import great_expectations as gx
    from great_expectations.exceptions.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    names = [column.name for column in contract.columns]
    with _ONE_AT_A_TIME:
        batch = _door().get_batch(batch_parameters={"dataframe": frame})
        suite = gx.ExpectationSuite(name=contract.name)
        for expectation in asked:
            arguments = dict(expectation.arguments)
            if expectation.expect == "expect_table_columns_to_match_set":
                arguments.setdefault("column_set", names)
            asking = ExpectationConfiguration(expectation.expect, arguments, meta={"name": expectation.name})
            try:
                suite.add_expectation_configuration(asking)
            except (GreatExpectationsError, TypeError, ValueError) as error:
                raise _unusable(contract, expectation.name, str(error)) from error
        results = batch.validate(suite, result_format="COMPLETE").results
    breaches = {}
    for result in results:
        name = str((result.expectation_config.meta or {})["name"]) if result.expectation_config else ""
        problems = [info for info in _infos(result.exception_info) if info.get("raised_exception")]
        if problems:
            raise _unusable(contract, name, str(problems[0].get("exception_message")))
        if not result.success:
            breaches[name] = list(result.result.get("unexpected_index_list") or [])
    return breaches


@lru_cache(maxsize=1)
def _door() -> Any:
    """Where Great Expectations takes in a frame: in memory, without files, telemetry or progress bars."""
    # Its import takes seconds, and only a check needs it.
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("batch")
    return asset.add_batch_definition_whole_dataframe("whole")


def _infos(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Great Expectations gives one account of an exception, or one for each metric."""
    return [info] if "raised_exception" in info else list(info.values())


def _unusable(contract: Contract, expectation: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"contract {contract.name}", f"expectation {expectation!r} cannot be run: {problem}")


def _distinct(names: list[str]) -> list[str]:
    """`names` with each repetition marked, so that it counts as a column nobody asked for."""
    return [f"{name} (again)" if name in names[:at] else name for at, name in enumerate(names)]


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _rejection(row: int, cells: Mapping[Any, Any], reasons: tuple[str, ...]) -> Rejection:
    symbol, session = cells.get("symbol"), cells.get("session")
    return Rejection(
        row_no=row + 1,
        symbol=symbol if isinstance(symbol, str) else None,
        session=session if isinstance(session, date) and not isinstance(session, datetime) else None,
        reasons=reasons,
        payload=canonical({name: _as_it_came(cell) for name, cell in cells.items()}),
    )


def _as_it_came(cell: Any) -> Any:
    """`cell` as something that has a canonical text."""
    if absent(cell):
        return None
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, float) and not np.isfinite(cell):
        return str(cell)
    if isinstance(cell, (bool, int, float, str, date, Decimal)) and not (
        isinstance(cell, datetime) and cell.tzinfo is None
    ):
        return cell
    return str(cell)
