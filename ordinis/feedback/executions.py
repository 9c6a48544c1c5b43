"""How well orders were carried out: shortfall, fill rate and latency, by symbol, venue and time of day.

A median hides what the worst orders cost, so the 95th percentile stands beside it, and the mean is weighted by money.
An order that was not filled has no shortfall; it lowers the fill rate instead. A fill that takes another one back is
netted: what is averaged is what was kept. Fills are known by their ids, so that to hear of one twice changes nothing.

Advice on size: where the shortfall of at least thirty orders in a symbol is, with a confidence of 95 %, above what the
cost model expects of them, orders there should shrink until the law of impact says that the expected cost is met again,
by (expected / observed)^(1 / delta), never below a quarter at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import numpy as np
from scipy import stats

from ordinis.clock import TradingCalendar
from ordinis.domain.executions import BASIS_POINTS, Execution
from ordinis.domain.orders import Fill, OrderIntent, Side
from ordinis.domain.portfolio import ZERO

HALF_HOUR = 30
LEAST_ORDERS = 30
"""Below so many orders nothing is advised."""
CONFIDENCE = 0.95
SMALLEST_STEP = 0.25


@dataclass(frozen=True)
class Quality:
    """Of some orders; NaN where none of them was filled."""

    orders: int
    fill_rate: float
    """Money filled of money asked, at arrival prices."""
    shortfall_p50: float
    """Basis points, over orders that were filled; likewise below."""
    shortfall_p95: float
    shortfall_mean: float
    """Weighted by money."""
    fees: float
    """Basis points of the money that was filled."""
    latency_p50: float
    """Seconds."""
    latency_p95: float


@dataclass(frozen=True)
class SizingAdvice:
    """By how much orders in a symbol should shrink: 1 leaves them as they are."""

    symbol: str
    factor: float
    reason: str


def executions(
    intents: Iterable[OrderIntent], fills: Iterable[Fill], venue: str, calendar: TradingCalendar
) -> list[Execution]:
    """Every order that was sent, in the order of `intents`, with what was kept of it."""
    by_order: dict[str, dict[str, Fill]] = {}
    for fill in fills:
        if fill.client_order_id is not None:
            by_order.setdefault(fill.client_order_id, {})[fill.exec_id] = fill
    return [
        _execution(
            intent,
            intent.sent_at,
            calendar.session_of(intent.sent_at),
            list(by_order.get(intent.client_order_id, {}).values()),
            venue,
        )
        for intent in intents
        if intent.sent_at is not None
    ]


def quality(rows: Sequence[Execution]) -> Quality:
    """What `rows` were worth together."""
    kept = [row for row in rows if row.notional]
    asked = sum((row.asked * row.arrival for row in rows), ZERO)
    money = sum((row.notional for row in kept), ZERO)
    shortfalls, latencies = [row.shortfall_bps for row in kept], [row.latency for row in kept]
    paid = sum((row.shortfall for row in kept), ZERO)
    return Quality(
        orders=len(rows),
        fill_rate=float(money / asked) if asked else float("nan"),
        shortfall_p50=_percentile(shortfalls, 50),
        shortfall_p95=_percentile(shortfalls, 95),
        shortfall_mean=float(paid / money) * BASIS_POINTS if money else float("nan"),
        fees=float(sum((row.fees for row in rows), ZERO) / money) * BASIS_POINTS if money else float("nan"),
        latency_p50=_percentile(latencies, 50),
        latency_p95=_percentile(latencies, 95),
    )


def quality_by(rows: Sequence[Execution], key: Callable[[Execution], str]) -> dict[str, Quality]:
    """`quality` of each group; `key` is `by_symbol`, `by_venue`, `by_time_of_day(calendar)` or your own."""
    groups: dict[str, list[Execution]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return {name: quality(groups[name]) for name in sorted(groups)}


def by_symbol(row: Execution) -> str:
    return row.symbol


def by_venue(row: Execution) -> str:
    return row.venue


def by_time_of_day(calendar: TradingCalendar) -> Callable[[Execution], str]:
    """Half hours since the open of the session, such as "6.0 to 6.5 h"; "closed" outside it."""

    def half_hour(row: Execution) -> str:
        if not calendar.is_open(row.sent_at):
            return "closed"
        minutes = int((row.sent_at - calendar.opens(calendar.session_of(row.sent_at))).total_seconds() // 60)
        first = minutes // HALF_HOUR / 2
        return f"{first:.1f} to {first + 0.5:.1f} h"

    return half_hour


def sizing_advice(
    rows: Sequence[Execution], expected_bps: Mapping[str, float], delta: float = 0.5
) -> dict[str, SizingAdvice]:
    """What to do about size, by symbol of `rows`.

    Args:
        expected_bps: by order id, what the cost model expected of the fills, fees left out.
        delta: exponent of participation in the law of impact.
    """
    symbols: dict[str, list[Execution]] = {}
    for row in rows:
        if row.notional and np.isfinite(expected_bps.get(row.order_id, np.nan)):
            symbols.setdefault(row.symbol, []).append(row)
    return {symbol: _advice(symbol, symbols[symbol], expected_bps, delta) for symbol in sorted(symbols)}


def _advice(symbol: str, rows: Sequence[Execution], expected_bps: Mapping[str, float], delta: float) -> SizingAdvice:
    if len(rows) < LEAST_ORDERS:
        return SizingAdvice(symbol, 1.0, f"{len(rows)} orders, {LEAST_ORDERS} are needed")
    observed = np.array([row.shortfall_bps for row in rows])
    expected = np.array([expected_bps[row.order_id] for row in rows])
    excess = observed - expected
    error = float(excess.std(ddof=1)) / len(rows) ** 0.5
    least = float(excess.mean()) - float(stats.t.ppf(CONFIDENCE, len(rows) - 1)) * error
    told = f"{observed.mean():.1f} bp paid and {expected.mean():.1f} bp expected over {len(rows)} orders"
    if not (least > 0.0 and expected.mean() > 0.0):
        return SizingAdvice(symbol, 1.0, told)
    factor = max(SMALLEST_STEP, float(expected.mean() / observed.mean()) ** (1.0 / delta))
    return SizingAdvice(symbol, factor, told)


def _execution(intent: OrderIntent, sent_at: datetime, session: date, fills: Sequence[Fill], venue: str) -> Execution:
    sign = 1 if intent.side is Side.BUY else -1
    taken_back: dict[str | None, Decimal] = {}
    for fill in fills:
        taken_back[fill.reverses] = taken_back.get(fill.reverses, ZERO) + fill.quantity
    kept = [f for f in fills if f.reverses is None and f.quantity > taken_back.get(f.exec_id, ZERO)]
    filled = sign * sum((fill.units for fill in fills), ZERO)
    spent = sign * sum((fill.units * fill.price for fill in fills), ZERO)
    return Execution(
        order_id=intent.client_order_id,
        symbol=intent.symbol,
        side=intent.side,
        venue=venue,
        session=session,
        asked=intent.quantity,
        filled=filled,
        arrival=intent.reference_price,
        price=spent / filled if filled else None,
        fees=sum((fill.fee for fill in fills), ZERO),
        sent_at=sent_at,
        first_fill_at=min((fill.at for fill in kept), default=None) if filled else None,
    )


def _percentile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else float("nan")
