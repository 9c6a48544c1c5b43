"""What may be known: a price history cut to the sessions that lie before the one that would be traded.

A decision at `as_of` for `session` may use the close of no session at or after `session`, nor of one dated after
`as_of`. The last VIEW_SESSIONS of the others are copied into fresh C-contiguous float64 arrays with one bit pattern
for "no value", so that results are equal to the byte whatever array, slice or file they came from, and hashed. Every
number that an allocator sees passes through this function: it is the one place where the future is kept out.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np

from ordinis.errors import DataUnavailable, StaleView
from ordinis.features.regime import regime
from ordinis.ports import FloatArray, MarketView, PriceHistory

VIEW_SESSIONS = 756
"""Three years: an exposure window, a CVaR sample and room for the regime's own past."""
LONGEST_CLOSURE = timedelta(days=7)
"""The exchange has not been closed for longer since 1990 (September 2001). A larger gap is missing data."""


def market_view(history: PriceHistory, as_of: datetime, session: date) -> MarketView:
    """The market as it was known at `as_of` to a decision that trades in `session`.

    Raises:
        ValueError: `as_of` is naive, or the history's shapes or sessions are out of order.
        DataUnavailable: the history has no session before `session`.
        StaleView: its last session is so far back that sessions must be missing. A gap of a few days passes here;
            only the exchange's calendar could tell it from a holiday, and the caller holds that.
    """
    if as_of.tzinfo is None:
        raise ValueError(f"naive instant {as_of!r}: every instant is aware UTC")
    _check(history)
    # A row dated tomorrow was not known today, whatever session is asked for.
    unknown_from = min(session, as_of.astimezone(UTC).date() + timedelta(days=1))
    end = bisect_left(history.sessions, unknown_from)
    if end == 0:
        raise DataUnavailable(
            "price history", f"session before {unknown_from}", "bring bars in with `ordinis data ingest`"
        )
    rows = slice(max(0, end - VIEW_SESSIONS), end)
    sessions = tuple(history.sessions[rows])
    if any(later <= earlier for earlier, later in pairwise(sessions)):
        raise ValueError("the sessions of a price history must be in order, each once")
    if session - sessions[-1] > LONGEST_CLOSURE:
        raise StaleView(f"one on or after {session - LONGEST_CLOSURE}", str(sessions[-1]))
    closes = _fresh(history.closes[rows])
    volumes = None if history.volumes is None else _fresh(history.volumes[rows])
    return MarketView(
        as_of=as_of,
        session=session,
        symbols=tuple(history.symbols),
        sessions=sessions,
        closes=closes,
        volumes=volumes,
        regime=regime(closes, volumes),
        sha=view_sha(history.symbols, sessions, closes, volumes),
    )


def view_sha(symbols: Sequence[str], sessions: Sequence[date], closes: FloatArray, volumes: FloatArray | None) -> str:
    """sha256 over symbols, session dates and the arrays as little-endian float64 with one NaN."""
    head = json.dumps([list(symbols), [day.isoformat() for day in sessions], volumes is not None])
    digest = hashlib.sha256(head.encode())
    for array in (closes, volumes):
        if array is not None:
            digest.update(_fresh(array).astype("<f8", copy=False).data)
    return digest.hexdigest()


def _fresh(values: FloatArray) -> FloatArray:
    """A read-only C-contiguous copy with one NaN and no negative zero."""
    copy = np.array(values, dtype=np.float64, order="C")
    copy += 0.0
    copy[np.isnan(copy)] = np.nan
    copy.setflags(write=False)
    return copy


def _check(history: PriceHistory) -> None:
    shape = (len(history.sessions), len(history.symbols))
    if history.closes.shape != shape:
        raise ValueError(f"closes of shape {history.closes.shape} for {shape[0]} sessions and {shape[1]} symbols")
    if history.volumes is not None and history.volumes.shape != shape:
        raise ValueError(f"volumes of shape {history.volumes.shape} for {shape[0]} sessions and {shape[1]} symbols")
    if len(set(history.symbols)) != len(history.symbols):
        raise ValueError("a symbol occurs twice in the price history")
