"""What can be traded, and in which steps.

Prices move in ticks, quantities in lots. Rounding happens once, here, and says its direction: a quantity rounds
towards zero, because a smaller order never carries more risk than the one decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from enum import StrEnum

from ordinis.errors import NoVolume


class AssetClass(StrEnum):
    EQUITY = "equity"
    ETF = "etf"
    INDEX = "index"


@dataclass(frozen=True)
class Instrument:
    symbol: str
    name: str
    asset_class: AssetClass
    tick: Decimal
    """Smallest step of a price, in currency."""
    lot: Decimal
    """Smallest step of a quantity, in shares."""
    currency: str = "USD"
    sector: str = "unclassified"
    tradable: bool = True
    adv: float | None = None
    """Average daily volume in shares, above 0; None when nobody knows."""
    adv_is_assumed: bool = False
    """True when `adv` is a named assumption of the reference file, not a measurement."""

    def __post_init__(self) -> None:
        if self.adv is not None and not self.adv > 0.0:
            raise NoVolume(self.symbol, self.adv)

    def round_quantity(self, quantity: Decimal) -> Decimal:
        """Whole lots, towards zero."""
        return (quantity / self.lot).to_integral_value(ROUND_DOWN) * self.lot

    def round_price(self, price: Decimal) -> Decimal:
        """The nearest tick."""
        return (price / self.tick).to_integral_value(ROUND_HALF_EVEN) * self.tick
