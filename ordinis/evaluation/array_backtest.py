"""A back-test of target weights on arrays alone: no orders, no ledger, no loop over sessions.

For research that asks thousands of them: sweeps of a parameter, walk-forwards of an allocator. What decides about money
is the cycle's own back-test (`backtest`); with lots that do not matter the two agree.

At the close of a traded session t, with equity E_t before trading and target weights w_t,

    every target is w_t E_t, on the equity before the session's costs
    sales come first, and what they bring is there for purchases
    a side of a trade costs c_i times its notional, from cash
    purchases that cash does not cover are cut, all in one proportion; those of a fully invested book always are

The first three are vectorbt's `from_orders` with `targetpercent`, shared cash and the automatic call sequence, and
where cash covers all purchases the equity is the same; where it does not, vectorbt cuts the largest of them instead.
Shares are fractional, nothing is borrowed or sold short, cash earns nothing.

Without a loop over sessions. With p_t prices, h_t / R_t the weights as they come to the session, phi_t the costs as a
fraction of E_t, and cash enough,

    h_t = w_{t-1} p_t / p_{t-1},   R_t = sum h_t + 1 - sum w_{t-1} - phi_{t-1},   E_t = E_{t-1} R_t
    phi_t = sum c |w_t - h_t / R_t|

so a session knows the one before through phi_{t-1} alone, a small number that enters phi_t times c. While no trade
changes its side phi_t is linear in 1 / R_t: a few steps of a fixed point find the phi of all sessions at once, and the
few sessions where a side may have changed are looked at again. Where cash runs short the weights after trading are a
fixed point of the same kind: each step makes one more session exact, and shrinks what is wrong with the others to some
4 c of it. Between traded sessions units rest and equity is cash + units' p_t. Sessions are taken in blocks that stay in
the processor's cache; many strategies are many calls, since a common array of theirs would leave it.

Letters: T sessions, N symbols, K traded sessions, b of them in a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from ordinis.ports import FloatArray

BASIS_POINT = 1e-4
SLACK = 1e-9
"""How far below zero a weight, and above one a sum of them, may be: rounding of a solver's."""
BLOCK = 12_800
"""Numbers in a block. Larger arrays are slower: they leave the cache, and their memory is the system's each time."""
SETTLED = 1e-15
"""A step of a fixed point that moved nothing by more than this was the last: the next would be c times as long."""
STEPS, ROUNDS = 60, 8
SIGN = np.uint64(1 << 63)


@dataclass(frozen=True)
class ArrayBacktest:
    """What came of it: (T,) at each session's close and after its trades, in currency."""

    equity: FloatArray
    cash: FloatArray
    costs: FloatArray
    """Paid in the session."""
    opening_cash: float
    prices: FloatArray
    """(T, N) as given."""
    traded: NDArray[np.int64]
    """(K,) places of the traded sessions."""
    reached: FloatArray
    """(K, N) weights after their trades, fractions of equity before their costs: the targets, if cash was enough."""

    @property
    def returns(self) -> FloatArray:
        """(T,) of each session, the first from the opening cash."""
        before = np.concatenate([[self.opening_cash], self.equity[:-1]])
        return np.asarray(self.equity / before - 1.0, dtype=np.float64)

    @property
    def units(self) -> FloatArray:
        """(T, N) held after each session."""
        return self._held()[_since(self.traded, len(self.prices))]

    @property
    def turnover(self) -> FloatArray:
        """(T,) one way: what was bought or what was sold, the larger, as a fraction of equity before trading."""
        turnover, held = np.zeros(len(self.prices)), self._held()
        trades = (held[:-1] - np.roll(held, 1, axis=0)[:-1]) * self.prices[self.traded]
        bought, sold = np.maximum(trades, 0.0).sum(axis=1), np.maximum(-trades, 0.0).sum(axis=1)
        turnover[self.traded] = np.maximum(bought, sold) / (self.equity + self.costs)[self.traded]
        return turnover

    def _held(self) -> FloatArray:
        return _held(self.reached, (self.equity + self.costs)[self.traded], self.prices[self.traded])


def array_backtest(
    prices: FloatArray, weights: FloatArray, cost_bps: float | FloatArray, opening_cash: float = 1.0
) -> ArrayBacktest:
    """Trade to target weights at the prices of their own sessions.

    Args:
        prices: (T, N) positive; a symbol without a price has no place here.
        weights: (T, N) targets as fractions of equity, none below 0, their sum at most 1; a row of NaN where nothing is
            traded. Row t is traded at row t of `prices`: a decision that is not to look ahead has seen rows before t.
        cost_bps: of a side, in basis points of its notional; one number or (N,).
        opening_cash: currency.

    Raises:
        ValueError: names what is wrong and where it is first.
    """
    prices, weights = np.asarray(prices, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    costs = _costs(prices, cost_bps, opening_cash)
    traded = _traded(prices, weights)
    daily = len(traded) == len(prices)
    at, targets = (prices, weights) if daily else (prices[traded], weights[traded])
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        path = _all_met(at, targets, costs) if len(traded) else None
    path = path or _purchases_cut(at, targets, costs)
    before = np.asarray(opening_cash * np.cumprod(path.growth), dtype=np.float64)
    result = ArrayBacktest(
        before * (1.0 - path.costs), before * path.cash, before * path.costs, opening_cash, prices, traded, path.weights
    )
    return result if daily else _between(result, before)


def _between(trading: ArrayBacktest, before: FloatArray) -> ArrayBacktest:
    """(T,) of all sessions, from (K,) of those that are traded and their equity before trading."""
    prices, traded = trading.prices, trading.traded
    costs, since = np.zeros(len(prices)), _since(traded, len(prices))
    costs[traded] = trading.costs
    cash = np.append(trading.cash, trading.opening_cash)[since]
    equity = cash + np.einsum("tn,tn->t", _held(trading.reached, before, prices[traded])[since], prices)
    return ArrayBacktest(equity, cash, costs, trading.opening_cash, prices, traded, trading.reached)


def _held(reached: FloatArray, before: FloatArray, prices: FloatArray) -> FloatArray:
    """(K + 1, N) units from each traded session on, and those before the first at the end: place -1."""
    return np.vstack([reached * before[:, None] / prices, np.zeros((1, prices.shape[1]))])


class _Path(NamedTuple):
    """Weights, cash and costs in fractions of the equity before each session's trades."""

    weights: FloatArray
    """(K, N) after trading."""
    cash: FloatArray
    """(K,) after trading."""
    costs: FloatArray
    """(K,)."""
    growth: FloatArray
    """(K,) of equity since before the trades of the session before; R_t above."""


def _all_met(prices: FloatArray, targets: FloatArray, costs: FloatArray) -> _Path | None:
    """The path of the traded sessions where cash covers every purchase; None if it does not."""
    look = _first_look(prices, targets, costs)
    rows, start = look.doubtful, 1.0 / look.free
    at, slope, anchor = look.at, look.slope, start.copy()
    wanted, come = targets[rows], targets[rows - 1] * prices[rows] / prices[rows - 1]
    steps = _steps(float(at.max()), float(costs.max() * start.max()))
    paid, scale = at, 1.0 / (look.free - _before(at))
    for _ in range(ROUNDS):
        anchor[rows] = scale[rows]
        trades = wanted - come * anchor[rows, None]
        sizes = np.abs(trades)
        at[rows], slope[rows] = sizes @ costs, np.where(trades < 0.0, -come, come) @ costs
        for _ in range(steps):
            scale = 1.0 / (look.free - _before(paid))
            paid = at - slope * (scale - anchor)
        if not (sizes < come * np.abs(scale - anchor)[rows, None]).any():
            break
    else:
        return None
    cash = look.idle - paid
    # What is not a number is not enough either.
    if not cash.min() >= 0.0 or (np.abs(scale - start) > look.reach).any():
        return None
    return _Path(targets, cash, paid, look.free - _before(paid))


class _FirstLook(NamedTuple):
    """What the sessions would cost if the one before had cost nothing; (K,) each."""

    at: FloatArray
    slope: FloatArray
    """Less of phi for more of 1 / R."""
    free: FloatArray
    """R_t + phi_{t-1}."""
    idle: FloatArray
    """Not in any target."""
    reach: FloatArray
    """How far 1 / R may be off."""
    doubtful: NDArray[np.int64]
    """The sessions where so far is enough for a trade to change its side."""


def _first_look(prices: FloatArray, targets: FloatArray, costs: FloatArray) -> _FirstLook:
    count, symbols = targets.shape
    one, rows = np.ones(symbols), max(1, BLOCK // symbols)
    at, slope, free, reach = np.zeros((4, count))
    at[0], free[0], idle = targets[0] @ costs, 1.0, 1.0 - targets @ one
    doubtful = []
    whole = np.empty((3, min(rows, count), symbols))
    for first in range(1, count, rows):
        now = slice(first, min(first + rows, count))
        before = slice(first - 1, now.stop - 1)
        come, trades, sizes = whole[:, : now.stop - first]
        np.divide(prices[now], prices[before], out=come)
        np.multiply(come, targets[before], out=come)
        free[now] = come @ one + idle[before]
        start = 1.0 / free[now]
        np.multiply(come, start[:, None], out=trades)
        np.subtract(targets[now], trades, out=trades)
        np.abs(trades, out=sizes)
        at[now], slope[now] = sizes @ costs, _signed(come, trades) @ costs
        # Twice what the costs of the session before, nearly known, make of it.
        reach[now] = 2.0 * start * start * at[before]
        np.multiply(come, reach[now, None], out=trades)
        doubtful.append(first + np.flatnonzero(sizes < trades) // symbols)
    found = np.flatnonzero(np.bincount(np.concatenate(doubtful))) if doubtful else np.zeros(0, dtype=np.int64)
    return _FirstLook(at, slope, free, idle, reach, found)


def _signed(sizes: FloatArray, signs: FloatArray) -> FloatArray:
    """`sizes` with their signs turned where those of `signs`, which is spoilt, are negative.

    As a product with np.sign or by np.copysign it takes NumPy four times as long.
    """
    bits = signs.view(np.uint64)
    np.bitwise_and(bits, SIGN, out=bits)
    np.bitwise_xor(bits, sizes.view(np.uint64), out=bits)
    return signs


def _before(paid: FloatArray) -> FloatArray:
    """(K,) phi_{t-1}."""
    due = np.empty_like(paid)
    due[0], due[1:] = 0.0, paid[:-1]
    return due


def _steps(first: float, shrinks: float) -> int:
    """Steps of a fixed point until one moves nothing, when the first moved so much and each `shrinks` the next."""
    if not shrinks < 0.5:
        return STEPS
    return 1 + (int(np.log(SETTLED / first) / np.log(shrinks)) if first > SETTLED else 0)


def _purchases_cut(prices: FloatArray, targets: FloatArray, costs: FloatArray) -> _Path:
    """The path of the traded sessions where some purchases are cut, block by block."""
    count, symbols = targets.shape
    path = _Path(np.empty_like(targets), np.empty(count), np.empty(count), np.empty(count))
    rows, held, cash = max(2, BLOCK // symbols), np.zeros(symbols), 1.0
    for first in range(0, count, rows):
        now, begun = slice(first, min(first + rows, count)), max(first, 1)
        moved = np.ones_like(targets[now])
        np.divide(prices[begun : now.stop], prices[begun - 1 : now.stop - 1], out=moved[begun - first :])
        done = _block_cut(targets[now], moved, held, cash, costs)
        for whole, part in zip(path, done, strict=True):
            whole[now] = part
        held, cash = done.weights[-1], float(done.cash[-1])
    return path


def _block_cut(targets: FloatArray, moved: FloatArray, held: FloatArray, cash: float, costs: FloatArray) -> _Path:
    """One block. It begins with all targets met, and as many steps as there are sessions end it if nothing did before.

    Args:
        targets: (b, N).
        moved: (b, N) prices over those of the session before.
        held: (N,) weights after the block before.
        cash: after it, like `held` a fraction of the equity before that session's trades.
        costs: (N,) fractions of a side's notional.
    """
    weights, left = targets, np.maximum(1.0 - targets.sum(axis=1), 0.0)
    come, ready = np.empty_like(moved), np.empty(len(moved))
    for _ in range(len(targets) + 1):
        come[0], ready[0] = held * moved[0], cash
        np.multiply(weights[:-1], moved[1:], out=come[1:])
        ready[1:] = left[:-1]
        growth = come.sum(axis=1) + ready
        come /= growth[:, None]
        trades = targets - come
        bought, sold = np.maximum(trades, 0.0), np.maximum(-trades, 0.0)
        there, needed = ready / growth + sold @ (1.0 - costs), bought @ (1.0 + costs)
        short = needed > there
        share = np.where(short, there / np.where(short, needed, 1.0), 1.0)
        before, weights = (weights, left), come - sold + share[:, None] * bought
        left = np.where(short, 0.0, there - needed)
        if max(np.abs(weights - before[0]).max(), np.abs(left - before[1]).max()) <= SETTLED:
            break
    return _Path(weights, left, sold @ costs + share * (bought @ costs), growth)


def _since(traded: NDArray[np.int64], sessions: int) -> NDArray[np.int64]:
    """(T,) place of the last one traded by then; -1 before the first."""
    return np.cumsum(np.bincount(traded, minlength=sessions)) - 1


def _costs(prices: FloatArray, cost_bps: float | FloatArray, opening_cash: float) -> FloatArray:
    """(N,) costs of a side as fractions, when the arguments beside the weights are in order."""
    if prices.ndim != 2 or not prices.size:
        raise ValueError(f"prices of shape {prices.shape}; expected (T, N) with at least one of each")
    if not (prices.min() > 0.0 and prices.max() < np.inf):
        session, symbol = np.argwhere(~((prices > 0.0) & (prices < np.inf)))[0]
        raise ValueError(f"the price of symbol {symbol} in session {session} is {prices[session, symbol]}")
    if not 0.0 < opening_cash < np.inf:
        raise ValueError(f"an opening cash of {opening_cash} buys nothing")
    costs = np.asarray(cost_bps, dtype=np.float64) * BASIS_POINT
    if costs.ndim and costs.shape != prices.shape[1:]:
        raise ValueError(f"costs of shape {costs.shape} for {prices.shape[1]} symbols")
    costs = np.full(prices.shape[1], costs)
    if not (costs.min() >= 0.0 and costs.max() < 1.0):
        raise ValueError(f"a cost of {cost_bps} basis points a side is not from 0 to below 10,000")
    return costs


def _traded(prices: FloatArray, weights: FloatArray) -> NDArray[np.int64]:
    """(K,) sessions that have targets, when all targets are in order."""
    if weights.shape != prices.shape:
        raise ValueError(f"weights of shape {weights.shape} for prices of shape {prices.shape}")
    totals = np.asarray(weights @ np.ones(prices.shape[1]))
    traded = np.flatnonzero(~np.isnan(totals))
    targets = weights if len(traded) == len(weights) else weights[traded]
    missing = np.count_nonzero(np.isnan(weights))
    whole = missing == weights.size - targets.size
    if not (whole and targets.min(initial=0.0) >= -SLACK and totals[traded].max(initial=0.0) <= 1.0 + SLACK):
        _refuse(weights, totals)
    return traded


def _refuse(weights: FloatArray, totals: FloatArray) -> NoReturn:
    known = ~np.isnan(weights)
    for wrong, what in (
        (np.isinf(weights), "is infinite"),
        (known.any(axis=1, keepdims=True) & ~known, "is missing, where others of the session are there"),
        (np.asarray(weights < -SLACK), "is below 0: nothing is sold short"),
    ):
        if wrong.any():
            session, symbol = np.argwhere(wrong)[0]
            raise ValueError(f"the weight {weights[session, symbol]} of symbol {symbol} in session {session} {what}")
    beyond = int(np.flatnonzero(totals > 1.0 + SLACK)[0])
    raise ValueError(f"the weights of session {beyond} sum to {totals[beyond]}: nothing is borrowed")
