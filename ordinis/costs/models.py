"""Trading costs: half spread, impact that passes, impact that stays, commission.

A trade of Q shares in a name that trades V a day, with session volatility sigma and participation p = Q / V, costs in
its price

    half_spread  +  eta * sigma * p ** delta  +  permanent / 2 * sigma * p        (fraction of the notional)

and a commission in cash. The terms are

    half spread          what crossing from the middle of the quotes to one side of them costs
    temporary impact     what the trade moves the price while it is worked, gone afterwards; delta near 1/2 is the
                         empirical law (Almgren et al. 2005 fit 0.6, later work 0.5)
    permanent impact     the trade leaves the price moved by permanent * sigma * p for good, in proportion to its size,
                         since otherwise splitting it would earn money (Huberman and Stanzl 2004). An order that is
                         worked evenly meets the middle of that way and pays half (Almgren and Chriss 2000)

The coefficient `permanent` is the gamma of that literature. Almgren et al. (2005) fit 0.314, times the fourth root of
shares outstanding over V, which for a large stock is 3 to 4. It is 0 here until the book's own fills say otherwise: an
eta of 0.3 with a delta of 1/2 covers both of their impacts up to a tenth of a day's volume. Where volume or volatility
is unknown both impacts are left out, and the caller can see that from the NaN it passed.

A calibration knows more about some symbols than about others: `CalibratedCost` has parameters by liquidity bucket.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from decimal import ROUND_UP, Decimal
from pathlib import Path
from typing import Any, cast

from ordinis.domain.canonical import to_decimal
from ordinis.errors import ConfigurationError, NoVolume
from ordinis.files import replace_text
from ordinis.ports import CostModel

CENT = Decimal("0.01")
BASIS_POINT = 1e-4


@dataclass(frozen=True)
class SquareRootCost:
    """The default: a large US stock pays about one basis point of half spread."""

    half_spread_bps: float = 1.0
    eta: float = 0.3
    """Of temporary impact, a pure number; nightly calibration replaces it with one fitted to the book's own fills."""
    delta: float = 0.5
    """Exponent of participation in the temporary impact: above 0, at most 1."""
    commission_bps: float = 0.5
    permanent: float = 0.0
    """Of permanent impact, a pure number: the price moves by permanent * sigma * p, and the trade pays half of it."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0.0):
                raise ConfigurationError("cost model", f"{field.name} of {value} is not at least 0")
        if not 0.0 < self.delta <= 1.0:
            raise ConfigurationError("cost model", f"delta of {self.delta} is not above 0 and at most 1")

    def slippage(self, symbol: str, notional: float, participation: float, volatility: float) -> float:
        spread = self.half_spread_bps * BASIS_POINT
        if math.isnan(participation) or not math.isfinite(volatility):
            return spread
        if math.isinf(participation):
            raise NoVolume(symbol, 0.0)
        temporary: float = self.eta * participation**self.delta
        return spread + volatility * (temporary + self.permanent / 2.0 * participation)

    def fee(self, notional: Decimal) -> Decimal:
        return _commission(notional, self.commission_bps)


@dataclass(frozen=True)
class ProportionalCost:
    """A fixed price for every trade, as the tables of baselines use: ten basis points a side."""

    bps: float = 10.0

    def slippage(self, symbol: str, notional: float, participation: float, volatility: float) -> float:
        return self.bps * BASIS_POINT

    def fee(self, notional: Decimal) -> Decimal:
        return Decimal(0)


@dataclass(frozen=True)
class CalibratedCost:
    """Parameters by liquidity bucket; one delta, which is the exponent that an optimiser has, and one commission."""

    version: str
    """Of the calibration: two with one version charge the same."""
    book: SquareRootCost
    """For a symbol that no bucket names."""
    buckets: tuple[SquareRootCost, ...]
    bucket: Mapping[str, int]
    """Place in `buckets` by symbol."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "buckets", tuple(self.buckets))
        # Kept as a plain dict, in one order: the model is written into decisions and told apart by its text.
        object.__setattr__(self, "bucket", dict(sorted(self.bucket.items())))
        where = f"calibrated cost {self.version}"
        for place, other in enumerate(self.buckets):
            for name in ("delta", "commission_bps"):
                own, shared = getattr(other, name), getattr(self.book, name)
                if own != shared:
                    raise ConfigurationError(
                        where, f"bucket {place} has a {name} of {own}, the book {shared}: share one"
                    )
        for symbol, place in self.bucket.items():
            if not 0 <= place < len(self.buckets):
                raise ConfigurationError(where, f"{symbol} is in bucket {place} of {len(self.buckets)}")

    def of(self, symbol: str) -> SquareRootCost:
        """What trades in `symbol` cost."""
        place = self.bucket.get(symbol)
        return self.book if place is None else self.buckets[place]

    def slippage(self, symbol: str, notional: float, participation: float, volatility: float) -> float:
        return self.of(symbol).slippage(symbol, notional, participation, volatility)

    def fee(self, notional: Decimal) -> Decimal:
        return self.book.fee(notional)


def cost_model(kind: str, parameters: Mapping[str, Any]) -> CostModel:
    """The model whose type is named `kind` and whose `dataclasses.asdict` is `parameters`, as a decision stores it.

    Raises:
        ConfigurationError: there is no such model, or a parameter is missing, unknown, or not what it must be.
    """
    match kind:
        case "SquareRootCost":
            return SquareRootCost(**_numbers(kind, SquareRootCost, parameters))
        case "ProportionalCost":
            return ProportionalCost(**_numbers(kind, ProportionalCost, parameters))
        case "CalibratedCost":
            return _calibrated(parameters)
    raise ConfigurationError("cost model", f"{kind!r} is not SquareRootCost, ProportionalCost or CalibratedCost")


def stored_costs(inputs: str) -> CostModel:
    """The model by which a decision was made, from what was asked of it."""
    [(kind, parameters)] = json.loads(inputs)["costs"].items()
    return cost_model(kind, parameters)


def publish(model: CostModel, path: Path) -> None:
    """Write `model` where every program finds the one in force; a reader sees the old one or the new one whole."""
    body = {"kind": type(model).__name__, "parameters": asdict(cast(Any, model))}
    replace_text(path, json.dumps(body, indent=1, sort_keys=True) + "\n")


def published(path: Path) -> CostModel:
    """The model that was published at `path`.

    Raises:
        ConfigurationError: the file cannot be read, or holds no cost model.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        return cost_model(body["kind"], body["parameters"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(f"cost model {path}", f"cannot be read: {error}; calibrate again") from error


def _calibrated(parameters: Mapping[str, Any]) -> CalibratedCost:
    kind = "CalibratedCost"
    _named(kind, CalibratedCost, parameters)
    version, bucket = parameters["version"], parameters["bucket"]
    book, buckets = parameters["book"], parameters["buckets"]
    if not isinstance(version, str):
        raise ConfigurationError(f"{kind}, parameter version", f"{version!r} is not text")
    if not isinstance(book, Mapping):
        raise ConfigurationError(f"{kind}, parameter book", f"{book!r} is not a set of parameters")
    if not (isinstance(buckets, (list, tuple)) and all(isinstance(each, Mapping) for each in buckets)):
        raise ConfigurationError(f"{kind}, parameter buckets", f"{buckets!r} is not a list of sets of parameters")
    if not (isinstance(bucket, Mapping) and all(type(place) is int for place in bucket.values())):
        raise ConfigurationError(f"{kind}, parameter bucket", f"{bucket!r} is not a whole number by symbol")
    return CalibratedCost(
        version,
        SquareRootCost(**_numbers(f"book of {kind}", SquareRootCost, book)),
        tuple(
            SquareRootCost(**_numbers(f"bucket {place} of {kind}", SquareRootCost, each))
            for place, each in enumerate(buckets)
        ),
        bucket,
    )


def _numbers(where: str, model: type, parameters: Mapping[str, Any]) -> dict[str, float]:
    if model is SquareRootCost:
        # Decisions of before there was such a term were made without it.
        parameters = {"permanent": 0.0, **parameters}
    _named(where, model, parameters)
    for name, value in parameters.items():
        if type(value) not in (int, float):
            raise ConfigurationError(f"{where}, parameter {name}", f"{value!r} is not a number")
    return dict(parameters)


def _named(where: str, model: type, parameters: Mapping[str, Any]) -> None:
    names = {field.name for field in fields(model)}
    for name in sorted(names - parameters.keys()):
        raise ConfigurationError(f"{where}, parameter {name}", "missing")
    for name in sorted(parameters.keys() - names):
        raise ConfigurationError(
            f"{where}, parameter {name}", f"no such parameter; there are {', '.join(sorted(names))}"
        )


def _commission(notional: Decimal, bps: float) -> Decimal:
    return (notional * to_decimal(bps) / 10_000).quantize(CENT, ROUND_UP)
