"""Nightly attribution: where the book's return came from, what its risk is made of, and what it could lose.

    return     the book on F factors over the last WINDOW times that the ledger has valued, by least squares; t values
               are Newey and West's, because daily returns of one book are neither even nor independent
    risk       Euler's decomposition of the volatility of today's holdings under a Ledoit-Wolf covariance of their own
               returns, whether or not the book held them then: it is about the book as it stands; and under the model
               in which F factors and each symbol's own residual carry all risk
    losses     value at risk and CVaR of today's holdings over their own past, from four moments, and over the past at
               today's volatility; what they would have lost in crises, and in shocks
    profit     of the session: factors, what is specific to each symbol, timing, cost

Where factors are late the risk falls back to the plain covariance, and a remark says so. Reading and computing are
apart, so that the second can run elsewhere, on arrays alone; randomness comes from the session's date, so that a night
that is done again finds the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ordinis.domain.exposures import MARKET
from ordinis.errors import DataUnavailable
from ordinis.monitoring.attribution_reading import BookHistory, read, valued
from ordinis.monitoring.findings import Losses, Night
from ordinis.monitoring.pnl import session_profit
from ordinis.ports import FloatArray
from ordinis.risk import measures
from ordinis.risk.attribution import (
    FactorAttribution,
    FactorRisk,
    component_cvar,
    factor_attribution,
    factor_risk,
    incremental_risk,
    marginal_risk,
    risk_attribution,
)
from ordinis.risk.covariance import ledoit_wolf
from ordinis.risk.factor_forecast import LEAST_SESSIONS as LEAST_TO_FORECAST
from ordinis.risk.factor_forecast import FactorForecast, forecast_factors
from ordinis.risk.rolling import rolling_regression
from ordinis.risk.simulation import filtered_history
from ordinis.risk.stress import EPISODES, Shock, StressResult, apply_shock, replay_episode

SESSIONS_A_COEFFICIENT = 6
"""Fewer for each coefficient, and a regression finds whatever it likes."""
NEWEY_WEST_LAGS = 5
LEVEL = 0.95
SCENARIOS = 10_000
SHOCKS = (Shock("Market falls by 10 %", market=-0.1), Shock("Market falls by 20 %", market=-0.2))


def attribute(book: BookHistory, sectors: Mapping[str, str], shocks: Sequence[Shock] = SHOCKS) -> Night:
    """All that is found out about the book on the evening of its session."""
    remarks, factors = list(book.remarks), book.factors
    model = _model(book, remarks)
    measured = () if model is None else (*book.symbols, *book.others)
    betas = {} if model is None else {symbol: model.all_betas[:, n] for n, symbol in enumerate(measured)}
    place = factors.names.index(MARKET) if MARKET in factors.names else None
    market = {} if place is None else {symbol: float(beta[place]) for symbol, beta in betas.items()}
    weights = {symbol: book.weights[symbol] for symbol in book.symbols}
    held = np.array(list(weights.values()))
    covariance = ledoit_wolf(book.held) if weights else np.zeros((0, 0))
    profit = None
    try:
        profit = session_profit(book.traded, book.session, book.before, book.now, factors.names, betas, factors.today)
        if factors.today is None and factors.due_today:
            remarks.append("The factors' returns of this session are not known: its profit is specific whole.")
    except DataUnavailable as missing:
        remarks.append(f"The session's profit is not taken apart: {missing}.")
    return Night(
        session=book.session,
        factor_source=factors.source,
        factors_through=factors.through,
        factors=_regression(book, remarks),
        risk=risk_attribution(weights, book.symbols, covariance) if weights else None,
        marginal=_named(book.symbols, marginal_risk(held, covariance)),
        incremental=_named(book.symbols, incremental_risk(held, covariance)) if weights else {},
        exposures={symbol: _named(factors.names, beta) for symbol, beta in betas.items()},
        # The exposures of an earlier time are not those of now.
        factor_risk=None if model is None or factors.late else _factor_risk(book, model, weights),
        losses=_losses(book, held) if weights else None,
        stress=_stress(book, market, sectors, shocks, remarks),
        forecast=_forecast(book),
        profit=profit,
        remarks=tuple(remarks),
    )


@dataclass(frozen=True)
class _Model:
    """Exposures of the held symbols over the window, and what the factors leave of them."""

    all_betas: FloatArray
    """(F, N + M) of what is held, and then of what may be."""
    betas: FloatArray
    """(F, N)."""
    residual_variance: FloatArray
    """(N,)."""
    factors: FloatArray
    """(W', F) the sessions whose factors are known."""


def _model(book: BookHistory, remarks: list[str]) -> _Model | None:
    if not (book.symbols or book.others) or not book.factors.names:
        return None
    if not book.factors.daily:
        # Months explain months: twelve of them say nothing of what is held now.
        return None
    known = np.isfinite(book.factors.in_window).all(axis=1)
    needed = SESSIONS_A_COEFFICIENT * (len(book.factors.names) + 1)
    if known.sum() < needed:
        remarks.append(f"Factors of {known.sum()} sessions are known where {needed} are needed: no risk by factor.")
        return None
    try:
        returns = np.hstack([book.held[known], book.not_held[known]])
        fitted = rolling_regression(returns, book.factors.in_window[known], int(known.sum()))
    except ValueError as error:
        remarks.append(f"No risk by factor: {error}.")
        return None
    count, betas = len(book.symbols), fitted.betas[0]
    return _Model(betas, betas[:, :count], fitted.residual_volatility[0, :count] ** 2, book.factors.in_window[known])


def _factor_risk(book: BookHistory, model: _Model, weights: Mapping[str, float]) -> FactorRisk:
    return factor_risk(
        weights, book.symbols, model.betas, book.factors.names, ledoit_wolf(model.factors), model.residual_variance
    )


def _regression(book: BookHistory, remarks: list[str]) -> FactorAttribution | None:
    if not book.factors.names or len(book.returns) < SESSIONS_A_COEFFICIENT * (len(book.factors.names) + 1):
        return None
    try:
        return factor_attribution(book.returns, book.factors.beside, book.factors.names, NEWEY_WEST_LAGS)
    except ValueError as error:
        remarks.append(f"No factors of the return: {error}.")
        return None


def _losses(book: BookHistory, held: FloatArray) -> Losses:
    rng = np.random.default_rng(book.session.toordinal())
    past = -(book.held @ held)
    simulated = -(filtered_history(book.held, SCENARIOS, rng) @ held)
    return Losses(
        level=LEVEL,
        sessions=len(past),
        value_at_risk=measures.value_at_risk(past, LEVEL),
        cvar=measures.cvar(past, LEVEL),
        cornish_fisher=measures.cornish_fisher(-past, LEVEL),
        simulated_value_at_risk=measures.value_at_risk(simulated, LEVEL),
        simulated_cvar=measures.cvar(simulated, LEVEL),
        parts=_named(book.symbols, component_cvar(held, book.held, LEVEL)),
        drawdown_at_risk=measures.drawdown_at_risk(np.cumprod(np.append(1.0, book.growth)), LEVEL),
    )


def _stress(
    book: BookHistory,
    market: Mapping[str, float],
    sectors: Mapping[str, str],
    shocks: Sequence[Shock],
    remarks: list[str],
) -> tuple[StressResult, ...]:
    symbols, found = tuple(book.weights), []
    if not symbols:
        return ()
    for episode in EPISODES:
        # What had not happened yet was known to nobody.
        if episode.last <= book.session:
            found.append(replay_episode(episode, book.weights, symbols, book.sessions, book.closes, market))
    for shock in shocks:
        # What may be held and is not loses nothing; a name that nobody knows is a slip.
        moved = {s: move for s, move in shock.symbols.items() if s in book.weights or s not in sectors}
        try:
            found.append(apply_shock(replace(shock, symbols=moved), book.weights, sectors, market))
        except ValueError as error:
            remarks.append(f"A shock is left out: {error}.")
    return tuple(found)


def _forecast(book: BookHistory) -> FactorForecast | None:
    known = book.factors.in_window[np.isfinite(book.factors.in_window).all(axis=1)]
    if not book.factors.names or not book.factors.daily or len(known) <= 2 * LEAST_TO_FORECAST:
        return None
    return forecast_factors(known, book.factors.names)


def _named(names: Sequence[str], values: FloatArray) -> dict[str, float]:
    return dict(zip(names, values.tolist(), strict=True))


__all__ = ["BookHistory", "attribute", "read", "valued"]
