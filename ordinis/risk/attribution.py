"""Where return and risk came from.

Return: ordinary least squares of a portfolio's session returns on F factor returns,

    r_t = alpha + sum_f beta_f x_tf + e_t        so that        mean(r) = alpha + sum_f beta_f mean(x_f)

exactly, because residuals of a regression with an intercept sum to zero: each term is the contribution of one
factor. Risk: volatility sigma(w) = sqrt(w' Sigma w) is homogeneous of degree one, so by Euler's theorem
sigma = sum_i w_i d sigma / d w_i, and the parts w_i (Sigma w)_i / sigma sum to the whole. A part may be negative: that
position hedges. The same holds for CVaR, and for the factors and the specific risks of a factor model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import statsmodels.api as sm

from ordinis.ports import FloatArray

TINY = 1e-300


@dataclass(frozen=True)
class FactorAttribution:
    """One regression. Mappings are by factor name; returns and volatilities are per session."""

    alpha: float
    alpha_t: float
    factor_exposures: Mapping[str, float]
    t: Mapping[str, float]
    r_squared: float
    residual_volatility: float
    """Standard deviation of the residual, with T - F - 1 in the denominator."""
    contributions: Mapping[str, float]
    """Exposure times the factor's mean return; with `alpha` they sum to the mean return."""
    mean_return: float
    sessions: int


@dataclass(frozen=True)
class RiskAttribution:
    """Portfolio volatility per session, and the part of it that each symbol carries."""

    volatility: float
    parts: Mapping[str, float]


def factor_attribution(
    returns: FloatArray, factors: FloatArray, names: Sequence[str], newey_west_lags: int | None = None
) -> FactorAttribution:
    """Regress returns on factors.

    Args:
        returns: (T,) of the portfolio, in excess of the risk-free rate when the factors are.
        factors: (T, F), the same sessions.
        names: F factor names.
        newey_west_lags: t values robust to heteroskedasticity and to autocorrelation up to this lag; None for the
            classical ones.
    """
    count, width = factors.shape
    if len(returns) != count or len(names) != width:
        raise ValueError(f"{len(returns)} returns and {len(names)} names for factors of shape {factors.shape}")
    if count <= width + 1:
        raise ValueError(f"{count} sessions cannot determine {width + 1} coefficients")
    if not (np.isfinite(returns).all() and np.isfinite(factors).all()):
        raise ValueError("returns and factors must be finite: leave incomplete sessions out first")
    design = np.column_stack([np.ones(count), factors])
    if np.linalg.matrix_rank(design / np.maximum(np.abs(design).max(axis=0), TINY)) <= width:
        raise ValueError("a factor does not move, or is a copy of others")
    model = sm.OLS(returns, design)
    fit = model.fit() if newey_west_lags is None else model.fit(cov_type="HAC", cov_kwds={"maxlags": newey_west_lags})
    betas = np.asarray(fit.params, dtype=np.float64)
    t_values = np.asarray(fit.tvalues, dtype=np.float64)
    contributions = betas[1:] * factors.mean(axis=0)
    return FactorAttribution(
        alpha=float(betas[0]),
        alpha_t=float(t_values[0]),
        factor_exposures=_by_name(names, betas[1:]),
        t=_by_name(names, t_values[1:]),
        r_squared=float(fit.rsquared),
        residual_volatility=float(np.sqrt(fit.mse_resid)),
        contributions=_by_name(names, contributions),
        mean_return=float(returns.mean()),
        sessions=count,
    )


def component_risk(weights: FloatArray, covariance: FloatArray) -> FloatArray:
    """Split portfolio volatility into one part per symbol; the parts sum to the whole.

    Args:
        weights: (N,) fraction of equity.
        covariance: (N, N) of session returns.

    Returns:
        (N,) volatility per session, in the unit of a return; zeros for a book without risk.
    """
    marginal = covariance @ weights
    variance = float(weights @ marginal)
    if variance <= 0.0:
        return np.zeros(len(weights))
    return np.asarray(weights * marginal / np.sqrt(variance), dtype=np.float64)


def marginal_risk(weights: FloatArray, covariance: FloatArray) -> FloatArray:
    """(N,) by how much volatility grows for each unit of weight bought with cash; zeros for a book without risk."""
    pull = covariance @ weights
    variance = float(weights @ pull)
    return np.zeros(len(weights)) if variance <= 0.0 else np.asarray(pull / np.sqrt(variance))


def incremental_risk(weights: FloatArray, covariance: FloatArray) -> FloatArray:
    """(N,) the volatility that goes when a position is sold for cash whole; negative where it hedges the others."""
    # Book by book: to take a position's terms off the whole would leave the square root of rounding.
    books = np.vstack([weights, np.where(np.eye(len(weights), dtype=bool), 0.0, weights)])
    volatilities = np.sqrt(np.maximum(((books @ covariance) * books).sum(axis=1), 0.0))
    return np.asarray(volatilities[0] - volatilities[1:])


def component_cvar(weights: FloatArray, scenarios: FloatArray, confidence_level: float = 0.95) -> FloatArray:
    """Split the CVaR of (S, N) scenarios into (N,) one part per symbol: its mean loss in the book's worst scenarios.

    CVaR is homogeneous of degree one, so the parts sum to the whole (Tasche 1999).
    """
    if not 0.0 <= confidence_level < 1.0:
        raise ValueError(f"confidence level {confidence_level} is not in [0, 1)")
    losses = -(scenarios @ weights)
    tail = (1.0 - confidence_level) * len(losses)
    order = np.argsort(-losses, kind="stable")
    share = np.clip(tail - np.arange(len(losses)), 0.0, 1.0)
    return np.asarray(-(share @ scenarios[order]) / share.sum() * weights)


@dataclass(frozen=True)
class FactorRisk:
    """Volatility per session, and its parts by factor and, for what no factor explains, by symbol."""

    volatility: float
    factors: Mapping[str, float]
    specific: Mapping[str, float]


def factor_risk(
    weights: Mapping[str, float],
    symbols: Sequence[str],
    betas: FloatArray,
    names: Sequence[str],
    factor_covariance: FloatArray,
    specific_variance: FloatArray,
) -> FactorRisk:
    """Split volatility under the model Sigma = B' Omega B + diag(d); the parts sum to the whole.

    Args:
        betas: (F, N) exposures of `symbols` to the F factors `names`.
        factor_covariance: (F, F) Omega.
        specific_variance: (N,) d, what the factors leave unexplained.
    """
    held = np.array([weights.get(symbol, 0.0) for symbol in symbols])
    unknown = sorted(set(weights) - set(symbols))
    if unknown:
        raise ValueError(f"no exposures for {', '.join(unknown)}")
    exposures = betas @ held
    by_factor, by_symbol = exposures * (factor_covariance @ exposures), held**2 * specific_variance
    volatility = float(np.sqrt(by_factor.sum() + by_symbol.sum()))
    scale = volatility or 1.0
    return FactorRisk(volatility, _by_name(names, by_factor / scale), _by_name(symbols, by_symbol / scale))


def by_group(parts: Mapping[str, float], groups: Mapping[str, str], other: str = "other") -> dict[str, float]:
    """Parts by symbol summed over groups, sectors for one; a symbol without a group counts as `other`."""
    summed: dict[str, float] = {}
    for symbol, part in parts.items():
        group = groups.get(symbol, other)
        summed[group] = summed.get(group, 0.0) + part
    return summed


def risk_attribution(weights: Mapping[str, float], symbols: Sequence[str], covariance: FloatArray) -> RiskAttribution:
    """`component_risk` by symbol; `symbols` names the rows of `covariance`, a symbol without weight has none."""
    unknown = sorted(set(weights) - set(symbols))
    if unknown:
        raise ValueError(f"no covariance for {', '.join(unknown)}")
    parts = component_risk(np.array([weights.get(symbol, 0.0) for symbol in symbols]), covariance)
    return RiskAttribution(volatility=float(parts.sum()), parts=_by_name(symbols, parts))


def _by_name(names: Sequence[str], values: FloatArray) -> dict[str, float]:
    return dict(zip(names, values.tolist(), strict=True))
