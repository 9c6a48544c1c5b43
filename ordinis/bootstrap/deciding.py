"""Who decides, and under which limits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ordinis.bootstrap.market import bar_store, history, reference_volumes, sectors, universe
from ordinis.errors import ConfigurationError

if TYPE_CHECKING:
    from ordinis.domain.limits import Limits
    from ordinis.governance.rulebook import Rulebook
    from ordinis.ports import Allocator, CostModel
    from ordinis.serving.advisor import Advisor
    from ordinis.settings import Settings


def rulebook(settings: Settings) -> Rulebook:
    from ordinis.governance.rulebook import load_rulebook

    return load_rulebook(settings.profile, sectors(settings), settings.rulebook)


def venue_costs(settings: Settings) -> CostModel:
    """What the simulated venue charges, and a back-test."""
    from ordinis.costs.models import ProportionalCost, SquareRootCost

    return ProportionalCost() if settings.profile == "research" else SquareRootCost()


def costs(settings: Settings) -> CostModel:
    """What trading is expected to cost: the newest calibration that was promoted, before the first the venue's model.

    Raises:
        ConfigurationError: the published model cannot be read.
    """
    from ordinis.costs.models import published

    if settings.costs == "fixed" or not settings.cost_model_path.exists():
        return venue_costs(settings)
    return published(settings.cost_model_path)


ALLOCATORS = (
    "equal-weight",
    "inverse-volatility",
    "minimum-variance",
    "mean-cvar",
    "mean-cvar-after-costs",
    "mean-variance",
    "maximum-sharpe",
    "maximum-diversification",
    "risk-parity",
    "managed-inverse-volatility",
    "managed-minimum-variance",
)


def allocators(settings: Settings) -> Callable[[str, CostModel], Allocator]:
    """What makes an allocator by its name and what trading costs, under the limits and volumes of this moment."""
    limits, symbols = rulebook(settings).limits, universe(settings)
    adv = {symbol: units for symbol, units in reference_volumes(settings).items() if symbol in symbols}
    return lambda name, model: allocator(name, limits, model, adv)


def allocator_for(settings: Settings, name: str) -> Allocator:
    """An allocator by its name under the limits, volumes and cost model of this moment."""
    return allocators(settings)(name, costs(settings))


def allocator(
    name: str, limits: Limits, costs: CostModel | None = None, adv: Mapping[str, float] | None = None
) -> Allocator:
    """An allocator by its name, or `path/to/file.py:ClassName` for one of your own.

    Args:
        costs: of trading, for those that weigh it; None for the model that everything starts from.
        adv: for them, units of an average session by symbol, where bars measure none.

    Raises:
        ConfigurationError: there is no such name, file or class.
    """
    from ordinis.allocation.exposure import ExposureControl
    from ordinis.allocation.naive import EqualWeight, InverseVolatility
    from ordinis.allocation.optimal import Markowitz, MeanCVaR, MinimumVariance
    from ordinis.costs.models import SquareRootCost

    match name:
        case "equal-weight":
            return EqualWeight(limits)
        case "inverse-volatility":
            return InverseVolatility(limits)
        case "minimum-variance":
            return MinimumVariance(limits)
        case "mean-cvar":
            return MeanCVaR(limits)
        case "mean-cvar-after-costs":
            return MeanCVaR(limits, costs=costs or SquareRootCost(), adv=adv or {})
        case "mean-variance":
            return Markowitz(limits, "mean_variance")
        case "maximum-sharpe":
            return Markowitz(limits, "maximum_sharpe")
        case "maximum-diversification":
            return Markowitz(limits, "maximum_diversification")
        case "risk-parity":
            return Markowitz(limits, "risk_parity")
        case "managed-inverse-volatility":
            return ExposureControl(InverseVolatility(limits), limits, target_volatility=0.12, half_life=10)
        case "managed-minimum-variance":
            return ExposureControl(MinimumVariance(limits), limits, target_volatility=0.10, half_life=20)
    if ":" in name:
        return _own_allocator(name, limits)
    raise ConfigurationError("allocator", f"{name!r} is not {', '.join(ALLOCATORS)} or path/to/file.py:ClassName")


def _own_allocator(name: str, limits: Limits) -> Allocator:
    from importlib.util import module_from_spec, spec_from_file_location

    path, _, class_name = name.rpartition(":")
    spec = spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise ConfigurationError("allocator", f"there is no Python file {path!r}")
    module = module_from_spec(spec)
    # Dataclasses look their own module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    made = getattr(module, class_name, None)
    if made is None:
        raise ConfigurationError("allocator", f"{path} has no class {class_name!r}")
    own: Allocator = made(limits)
    return own


def advisor(settings: Settings) -> Advisor:
    """What the allocation service asks: the configured allocator on the bar store."""
    from ordinis.clock import trading_calendar
    from ordinis.serving.advisor import Advisor

    calendar, store, symbols = trading_calendar(), bar_store(settings), universe(settings)
    made_by, path = allocators(settings), settings.cost_model_path
    asked: dict[int, Allocator] = {}

    def answering() -> Allocator:
        """The allocator under the cost model that is in force now, and the limits of the start."""
        stamp = path.stat().st_mtime_ns if path.exists() else 0
        if stamp not in asked:
            asked.clear()
            asked[stamp] = made_by(settings.allocator, costs(settings))
        return asked[stamp]

    def latest() -> datetime:
        """A replayed market has no now of its own: the closing window of the session after the last stored one."""
        return calendar.trading_instant(calendar.next_session(store.complete_through(symbols)))

    return Advisor(
        allocator=answering,
        history=lambda as_of, session: history(settings, as_of, session),
        calendar=calendar,
        symbols=symbols,
        now=latest,
    )
