"""What the book would have lost in a past crisis, and what it would lose in a shock that somebody imagines.

An episode is a stretch of sessions that people remember by name. Each symbol that had prices then moves as it did;
one that had none moves by its market beta times what the market did, and the result says so, for a beta is a guess
where a price is a fact. A shock is a move of symbols, of sectors or of the whole market at once; what is named
closest wins, and the market reaches every symbol through its beta.

    loss of symbol i = - weight_i * move_i        weights as fractions of equity, nothing traded meanwhile
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from ordinis.ports import FloatArray


@dataclass(frozen=True)
class Episode:
    """From the close of the session before `first` to that of `last`."""

    name: str
    first: date
    last: date
    market: float
    """What the S&P 500 returned, without dividends."""


EPISODES = (
    Episode("Gulf war 1990", date(1990, 7, 17), date(1990, 10, 11), -0.1992),
    Episode("Russian crisis 1998", date(1998, 7, 20), date(1998, 8, 31), -0.1934),
    Episode("Dot-com bust 2000-2002", date(2000, 3, 27), date(2002, 10, 9), -0.4915),
    Episode("September 2001", date(2001, 9, 17), date(2001, 9, 21), -0.116),
    Episode("Quant crisis 2007", date(2007, 8, 1), date(2007, 8, 15), -0.0334),
    Episode("Lehman 2008", date(2008, 9, 15), date(2008, 11, 20), -0.3989),
    Episode("Flash crash 2010", date(2010, 5, 4), date(2010, 7, 2), -0.1495),
    Episode("US downgrade 2011", date(2011, 7, 25), date(2011, 8, 8), -0.1677),
    Episode("China devaluation 2015", date(2015, 8, 18), date(2015, 8, 25), -0.1117),
    Episode("Volatility spike 2018", date(2018, 1, 29), date(2018, 2, 8), -0.1016),
    Episode("Fourth quarter 2018", date(2018, 10, 4), date(2018, 12, 24), -0.1963),
    Episode("Pandemic 2020", date(2020, 2, 20), date(2020, 3, 23), -0.3392),
    Episode("Inflation 2022", date(2022, 1, 4), date(2022, 10, 12), -0.2543),
)
"""Falls of the S&P 500 by a tenth and more, and two weeks of 2007 that hit books rather than the index."""


@dataclass(frozen=True)
class Shock:
    """A move that somebody imagines, as fractions: -0.2 is a fall of 20 %."""

    name: str
    market: float = 0.0
    sectors: Mapping[str, float] = field(default_factory=dict)
    symbols: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StressResult:
    name: str
    loss: float
    """Fraction of equity, positive for a loss; the parts sum to it."""
    parts: Mapping[str, float]
    guessed: tuple[str, ...]
    """Symbols moved by their beta, for want of prices."""


def replay_episode(
    episode: Episode,
    weights: Mapping[str, float],
    symbols: Sequence[str],
    sessions: Sequence[date],
    closes: FloatArray,
    betas: Mapping[str, float],
) -> StressResult:
    """The book of today through `episode`.

    Args:
        weights: fractions of equity by symbol.
        symbols: N names, of the columns of `closes`.
        sessions: T in order.
        closes: (T, N), NaN where a symbol had no price.
        betas: market betas; a symbol without a finite one counts as 1.
    """
    before, after = bisect_left(sessions, episode.first) - 1, bisect_right(sessions, episode.last) - 1
    reaches = before >= 0 and sessions[-1] >= episode.last
    places = {symbol: place for place, symbol in enumerate(symbols)} if reaches else {}
    moves, guessed = {}, []
    for symbol in weights:
        move = _move(closes[:, places[symbol]], before, after) if symbol in places else None
        if move is None:
            guessed.append(symbol)
            beta = betas.get(symbol, 1.0)
            move = max((beta if np.isfinite(beta) else 1.0) * episode.market, -1.0)
        moves[symbol] = move
    return _result(episode.name, weights, moves, guessed)


def apply_shock(
    shock: Shock, weights: Mapping[str, float], sectors: Mapping[str, str], betas: Mapping[str, float]
) -> StressResult:
    """The book after `shock`.

    Raises:
        ValueError: the shock names a symbol or a sector that the book knows nothing of, or a fall of more than all.
    """
    unknown = sorted({*shock.symbols} - {*weights}) + sorted({*shock.sectors} - {*sectors.values()})
    if unknown:
        raise ValueError(f"shock {shock.name!r} moves {', '.join(unknown)}, which the book does not have")
    moves = {}
    for symbol in weights:
        by_market = betas.get(symbol, 1.0) * shock.market
        move = shock.symbols.get(symbol, shock.sectors.get(sectors.get(symbol, ""), by_market))
        if not (np.isfinite(move) and move >= -1.0):
            raise ValueError(f"shock {shock.name!r} moves {symbol} by {move:.0%}: no price falls below nothing")
        moves[symbol] = move
    guessed = [s for s in weights if s not in shock.symbols and sectors.get(s) not in shock.sectors and s not in betas]
    return _result(shock.name, weights, moves, guessed if shock.market else [])


def _move(closes: FloatArray, before: int, after: int) -> float | None:
    first, last = float(closes[before]), float(closes[after])
    return last / first - 1.0 if np.isfinite([first, last]).all() and first > 0.0 else None


def _result(
    name: str, weights: Mapping[str, float], moves: Mapping[str, float], guessed: Sequence[str]
) -> StressResult:
    parts = {symbol: -weight * moves[symbol] for symbol, weight in weights.items()}
    return StressResult(name, sum(parts.values()), parts, tuple(guessed))
