"""From target weights to a plan of orders.

Each symbol's target in units is weight * equity / price in whole lots, towards zero. What is traded of the difference
is limited by bands, cool-down, minimum order and turnover, and these limit only trades that add risk or tidy: a sale
that is demanded, by a rule or because the book as a whole is to shrink past its band, passes them all. Initial funding
and a calendar trigger pass bands, cool-down and turnover. A symbol drifts out of its band when

    |held weight - target weight| > min(absolute band, relative band * target weight)

so a target of zero has no band and is sold. Where the rules weigh costs the band of a symbol with target w is at least

    (3/2 cost w^2 (1 - w)^2 / aversion) ^ (1/3)

with what its trade is expected to cost, as a share of what is traded: the half width of the region in which an investor
of that aversion to risk does best not to trade (Davis and Norman 1990; Gerhold and others 2013). The invested share has
a band of the first form. Idle cash past the absolute band lets underweight symbols be bought. Buys are scaled by one
factor to what their sector may still take, to the share that was approved, and to the cash that is there after the
sells, their costs and the cash buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from ordinis.clock import first_of_period
from ordinis.costs.conditions import MarketConditions
from ordinis.costs.execution import expected_cash
from ordinis.costs.models import CENT
from ordinis.domain.canonical import to_decimal
from ordinis.domain.instruments import Instrument
from ordinis.domain.limits import Limits, TradingRules
from ordinis.domain.orders import PlannedOrder, Side
from ordinis.domain.portfolio import ZERO, PortfolioSnapshot
from ordinis.ports import CostModel

SAME_WEIGHT = 1e-9
Expected = Callable[[PlannedOrder], Decimal]
UNBOUNDED = Limits(position_cap=1.0, gross_cap=1.0, cash_buffer=0.0, sector_cap=1.0)


@dataclass(frozen=True)
class Planner:
    """Turns targets into a plan; the same targets and book give the same plan."""

    instruments: Mapping[str, Instrument]
    rules: TradingRules
    costs: CostModel
    limits: Limits = UNBOUNDED

    def plan(
        self,
        targets: Mapping[str, float],
        portfolio: PortfolioSnapshot,
        *,
        session: date,
        previous_session: date,
        conditions: MarketConditions,
        demanded: Collection[str] = (),
        wished: Collection[str] = (),
    ) -> tuple[PlannedOrder, ...]:
        """Sells first, then buys, each in the order of symbols.

        Args:
            targets: weights as fractions of equity; a held symbol that is missing is sold.
            session: the session to trade in; `previous_session` the one before, for the calendar trigger.
            conditions: for the cost estimate.
            demanded: symbols whose sale nothing may hold up.
            wished: symbols that a person wants at their target: neither band nor cool-down holds them up.
        """

        def cash(order: PlannedOrder) -> Decimal:
            """Expected change of the cash balance by `order`."""
            instrument, price = self.instruments[order.symbol], order.reference_price
            return expected_cash(self.costs, instrument, order.side, order.quantity, price, conditions)

        due = self.due(portfolio, session, previous_session)
        deltas = self._deltas(targets, portfolio)
        kept = {
            symbol: units
            for symbol, units in deltas.items()
            if (units < 0 and symbol in demanded)
            or (
                (due or symbol in wished or self._tidies(symbol, units, targets, portfolio, session, cash))
                and self._worth(symbol, units, portfolio)
            )
        }
        if not due:
            kept = self._within_turnover(kept, portfolio, demanded)
        sells = [self._order(symbol, units, portfolio) for symbol, units in sorted(kept.items()) if units < 0]
        buys = [self._order(symbol, units, portfolio) for symbol, units in sorted(kept.items()) if units > 0]
        buys = self._within_sectors(buys, sells, portfolio)
        buys = self._within_approved(buys, sells, targets, portfolio)
        return (*sells, *self._affordable(buys, sells, portfolio, cash))

    def due(self, portfolio: PortfolioSnapshot, session: date, previous_session: date) -> bool:
        """True for initial funding and on the sessions of the calendar trigger."""
        calendar = self.rules.calendar
        return not portfolio.holdings or (calendar is not None and first_of_period(calendar, session, previous_session))

    def takes_risk_off(self, asked: Mapping[str, float], portfolio: PortfolioSnapshot) -> bool:
        """True when the weights asked for lower the invested share past its band."""
        target = sum(asked.values())
        return sum(portfolio.weights.values()) - target > self._band(target)

    @property
    def watches_drift(self) -> bool:
        """True when a band may ask for a trade on any session."""
        return self.rules.absolute_band is not None or self.rules.relative_band is not None

    def _deltas(self, targets: Mapping[str, float], portfolio: PortfolioSnapshot) -> dict[str, Decimal]:
        deltas = {}
        for symbol in sorted(targets.keys() | portfolio.holdings.keys()):
            instrument, price = self.instruments.get(symbol), portfolio.prices.get(symbol)
            if instrument is None or not instrument.tradable or price is None:
                continue
            if abs(targets.get(symbol, 0.0) - portfolio.weights.get(symbol, 0.0)) <= SAME_WEIGHT:
                # A weight is a rounded number: turned back into lots it may miss what is held by one.
                continue
            wanted = instrument.round_quantity(to_decimal(targets.get(symbol, 0.0)) * portfolio.equity / price)
            delta = wanted - portfolio.holdings.get(symbol, ZERO)
            # What is held beside whole lots, after a split for one, is no order.
            if instrument.round_quantity(abs(delta)):
                deltas[symbol] = delta
        return deltas

    def _tidies(
        self,
        symbol: str,
        units: Decimal,
        targets: Mapping[str, float],
        portfolio: PortfolioSnapshot,
        session: date,
        cash: Expected,
    ) -> bool:
        """True when drift or idle cash asks for this trade and the symbol is not cooling down."""
        traded = portfolio.last_traded.get(symbol)
        if traded is not None and (session - traded).days < self.rules.cooldown_days:
            return False
        target, held = targets.get(symbol, 0.0), portfolio.weights.get(symbol, 0.0)
        if abs(held - target) > max(self._band(target), self._cost_band(symbol, units, target, portfolio, cash)):
            return True
        return units > 0 and self._idle_cash(targets, portfolio)

    def _band(self, target: float) -> float:
        absolute = float("inf") if self.rules.absolute_band is None else self.rules.absolute_band
        relative = float("inf") if self.rules.relative_band is None else self.rules.relative_band * target
        return min(absolute, relative)

    def _cost_band(
        self, symbol: str, units: Decimal, target: float, portfolio: PortfolioSnapshot, cash: Expected
    ) -> float:
        if self.rules.cost_aversion is None:
            return 0.0
        order = self._order(symbol, units, portfolio)
        paid = abs(cash(order)) - order.notional
        cost = float((paid if order.side is Side.BUY else -paid) / order.notional)
        return float((1.5 * max(cost, 0.0) * (target * (1.0 - target)) ** 2 / self.rules.cost_aversion) ** (1.0 / 3.0))

    def _idle_cash(self, targets: Mapping[str, float], portfolio: PortfolioSnapshot) -> bool:
        if self.rules.absolute_band is None:
            return False
        idle = portfolio.cash - to_decimal(1.0 - sum(targets.values())) * portfolio.equity
        band = to_decimal(self.rules.absolute_band) * portfolio.equity
        return idle > max(band, self.rules.minimum_invest_cash)

    def _worth(self, symbol: str, units: Decimal, portfolio: PortfolioSnapshot) -> bool:
        return abs(units) * portfolio.prices[symbol] >= self.rules.minimum_order

    def _within_turnover(
        self, deltas: dict[str, Decimal], portfolio: PortfolioSnapshot, demanded: Collection[str]
    ) -> dict[str, Decimal]:
        """Scale what merely tidies by one factor, so that the larger way stays under the cap."""
        if self.rules.turnover_cap is None:
            return deltas
        tidy = {symbol: units for symbol, units in deltas.items() if not (units < 0 and symbol in demanded)}
        ways = [
            sum((abs(u) * portfolio.prices[s] for s, u in tidy.items() if (u > 0) == bought), ZERO)
            for bought in (True, False)
        ]
        allowed = to_decimal(self.rules.turnover_cap) * portfolio.equity
        if max(ways) <= allowed:
            return deltas
        scaled = {
            symbol: self.instruments[symbol].round_quantity(units * allowed / max(ways))
            for symbol, units in tidy.items()
        }
        worth = {symbol: units for symbol, units in scaled.items() if units and self._worth(symbol, units, portfolio)}
        return {symbol: units for symbol, units in deltas.items() if symbol not in tidy} | worth

    def _within_sectors(
        self, buys: list[PlannedOrder], sells: list[PlannedOrder], portfolio: PortfolioSnapshot
    ) -> list[PlannedOrder]:
        """Buys of a sector scaled by one factor to what it may still take.

        Where a band leaves a holding above its target, the targets alone do not keep its sector under the cap.
        """
        sectors, cap = self.limits.sectors, to_decimal(self.limits.sector_cap) * portfolio.equity
        worth = {s: units * portfolio.prices[s] for s, units in portfolio.holdings.items()}
        for order in sells:
            worth[order.symbol] -= order.notional
        kept = []
        for sector in dict.fromkeys(sectors.get(order.symbol) for order in buys):
            mine = [order for order in buys if sectors.get(order.symbol) == sector]
            room = cap - sum((value for s, value in worth.items() if sectors.get(s) == sector), ZERO)
            wanted = sum((order.notional for order in mine), ZERO)
            fits = sector is None or wanted <= room
            kept += mine if fits else self._scaled(mine, max(ZERO, room), wanted, portfolio)
        return sorted(kept, key=lambda order: order.symbol)

    def _within_approved(
        self,
        buys: list[PlannedOrder],
        sells: list[PlannedOrder],
        targets: Mapping[str, float],
        portfolio: PortfolioSnapshot,
    ) -> list[PlannedOrder]:
        """Buys scaled by one factor, so that the invested share does not pass that of the targets.

        Bands and cool-down may leave out sells; the buys they were to make room for must then wait as well.
        """
        invested = sum((units * portfolio.prices[s] for s, units in portfolio.holdings.items()), ZERO)
        room = to_decimal(sum(targets.values())) * portfolio.equity - invested + sum((o.notional for o in sells), ZERO)
        wanted = sum((order.notional for order in buys), ZERO)
        if wanted <= room + CENT:
            return buys
        return self._scaled(buys, max(ZERO, room), wanted, portfolio)

    def _scaled(
        self, buys: list[PlannedOrder], allowed: Decimal, wanted: Decimal, portfolio: PortfolioSnapshot
    ) -> list[PlannedOrder]:
        scaled = [self._order(order.symbol, order.quantity * allowed / wanted, portfolio) for order in buys]
        return [o for o in scaled if o.quantity and self._worth(o.symbol, o.quantity, portfolio)]

    def _affordable(
        self,
        buys: list[PlannedOrder],
        sells: list[PlannedOrder],
        portfolio: PortfolioSnapshot,
        cash: Expected,
    ) -> list[PlannedOrder]:
        proceeds = sum((cash(order) for order in sells), ZERO)
        # A fee rounds up to the cent: one more cent an order keeps the scaled plan affordable.
        spendable = (
            portfolio.cash + proceeds - to_decimal(self.limits.cash_buffer) * portfolio.equity - CENT * len(buys)
        )
        needed = -sum((cash(order) for order in buys), ZERO)
        if needed <= spendable:
            return buys
        return self._scaled(buys, max(ZERO, spendable), needed, portfolio)

    def _order(self, symbol: str, units: Decimal, portfolio: PortfolioSnapshot) -> PlannedOrder:
        side = Side.BUY if units > 0 else Side.SELL
        quantity = self.instruments[symbol].round_quantity(abs(units))
        return PlannedOrder(symbol, side.value, side, quantity, portfolio.prices[symbol])
