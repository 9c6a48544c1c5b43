"""The report for programs: the same numbers as the page, in one JSON document with null for what is not known."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from ordinis.domain.canonical import plain
from ordinis.monitoring.report_data import ReportData


def document(data: ReportData) -> str:
    """Money as text, which no reader rounds; fractions and estimates as numbers."""
    told = {
        "account": data.account,
        "currency": data.currency,
        "session": data.sessions[-1] if data.sessions else None,
        "sessions": len(data.sessions),
        "equity": float(data.equity[-1]) if data.sessions else None,
        "cash": float(data.cash[-1]) if data.sessions else None,
        "gross": float(data.gross[-1]) if data.sessions else None,
        "drawdown": float(data.book.drawdown[-1]) if data.sessions else None,
        "key_numbers": [asdict(track.key_numbers) for track in data.tracks] if data.sessions else [],
        "positions": [
            {"symbol": symbol, "sector": data.sectors.get(symbol), "weight": weight}
            for symbol, weight in zip(data.symbols, data.weights[-1].tolist(), strict=True)
            if weight
        ]
        if data.sessions
        else [],
        "changes": data.changes,
        "decision": _last_decision(data),
        "costs": {
            "slippage": float(data.costs.slippage.sum()),
            "fees": float(data.costs.fees.sum()),
            "expected": None if data.costs.expected is None else float(data.costs.expected.sum()),
        },
        "night": data.night,
        "remarks": data.remarks,
    }
    return json.dumps(_known(plain(told)), sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def _last_decision(data: ReportData) -> dict[str, Any] | None:
    return asdict(data.decisions[-1]) if data.decisions else None


def _known(value: Any) -> Any:
    """`value` with null in place of numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _known(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_known(each) for each in value]
    return value
