"""The doors between stations.

Each Protocol here is a door: what stands behind it may be a vendor, a file, a solver or a simulator, and one test
suite runs over everything behind each door. Array letters: T past sessions, N symbols.
"""

from __future__ import annotations

from ordinis.ports.brokers import Broker, BrokerAccount, Capabilities
from ordinis.ports.ledgers import Book, Control, ControlRow, Decisions, Ledger, OrderEvent, Orders, Touched, UnitOfWork
from ordinis.ports.markets import (
    Allocator,
    Clock,
    CostModel,
    DataSource,
    FloatArray,
    MarketView,
    PriceHistory,
    Rule,
    RuleContext,
)

__all__ = [
    "Allocator",
    "Book",
    "Broker",
    "BrokerAccount",
    "Capabilities",
    "Clock",
    "Control",
    "ControlRow",
    "CostModel",
    "DataSource",
    "Decisions",
    "FloatArray",
    "Ledger",
    "MarketView",
    "OrderEvent",
    "Orders",
    "PriceHistory",
    "Rule",
    "RuleContext",
    "Touched",
    "UnitOfWork",
]
