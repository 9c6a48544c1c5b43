"""The allocation question and its answer as JSON.

Money is exact both ways: a question gives it as decimal text ("1024.50") or as a number whose digits are taken as
written. Estimates are floats in the shortest text that reads back as the same float, so an answer that crossed the
wire equals the one that was made. Unknown fields, a field twice, and numbers that are not finite are refused by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from ordinis.domain.canonical import instant_text, plain, sha256
from ordinis.domain.decisions import Allocation, Certificate, Rung
from ordinis.domain.portfolio import ZERO, PortfolioSnapshot
from ordinis.ports import MarketView

MOST_SYMBOLS = 500
_MOST_DIGITS, _MOST_DECIMALS = 20, 30
_DECIMAL = re.compile(rf"-?[0-9]{{1,{_MOST_DIGITS}}}(\.[0-9]{{1,{_MOST_DECIMALS}}})?")
_INSTANTS = (datetime(1990, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))


def read_json(text: str | bytes) -> Any:
    """JSON with the digits of its numbers kept, as Decimal; ValueError for anything that is not JSON.

    NaN and Infinity, which JSON does not have but many writers produce, come out as Decimals that are not finite, so
    that the field they stand in can be named.
    """
    try:
        return json.loads(text, parse_float=_number, parse_constant=Decimal, object_pairs_hook=_each_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of more than eighteen digits
        return Decimal("Infinity")


def _each_once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the name {key[:40]!r} occurs twice in one object")
        found[key] = value
    return found


def _money(value: object) -> Decimal:
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return Decimal(value)
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        number = Decimal(value)
        if not number.is_finite():
            raise ValueError("must be finite")
        # The exponent is looked at before anything spells the number out: 1e-999999 has a million digits.
        if number.adjusted() < _MOST_DIGITS and int(number.as_tuple().exponent) >= -_MOST_DECIMALS:
            return number
    raise ValueError(
        f"must be a decimal number, or text like '1024.50', of at most {_MOST_DIGITS} digits and "
        f"{_MOST_DECIMALS} decimals"
    )


def _text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be text in ISO 8601")
    return value


Symbol = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._^=/-]{0,23}$")]
Money = Annotated[Decimal, BeforeValidator(_money)]
Price = Annotated[Money, Field(gt=0)]
Balance = Annotated[Money, Field(ge=0)]
Instant = Annotated[AwareDatetime, BeforeValidator(_text), Field(examples=["2022-06-01T19:45:00Z"])]
Session = Annotated[date, BeforeValidator(_text), Field(examples=["2022-06-01"])]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]


class AllocationRequest(BaseModel):
    """A portfolio and the instant at which it asks what to hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    account: Name = "sim"
    request_id: Name | None = Field(None, description="echoed in the answer; computed from the question when missing")
    as_of: Instant | None = Field(None, description="aware instant; the service's own now when missing")
    session: Session | None = Field(None, description="session to trade in; the one open at `as_of`, or the next")
    cash: Balance
    holdings: dict[Symbol, Money] = Field(max_length=MOST_SYMBOLS, description="units by symbol")
    prices: dict[Symbol, Price] = Field(max_length=MOST_SYMBOLS, description="currency per unit; every holding has one")
    peak_equity: Balance = ZERO
    previous_equity: Balance = ZERO
    last_traded: dict[Symbol, Session] = Field(default_factory=dict, max_length=MOST_SYMBOLS)

    def portfolio(self, now: Callable[[], datetime]) -> PortfolioSnapshot:
        """The snapshot that was meant; `now` is asked for its instant only when the question names none."""
        return PortfolioSnapshot(
            account=self.account,
            as_of=self.as_of.astimezone(UTC) if self.as_of else now(),
            cash=self.cash,
            holdings=self.holdings,
            prices=self.prices,
            peak_equity=self.peak_equity,
            previous_equity=self.previous_equity,
            last_traded=self.last_traded,
        )

    def problems(self, symbols: Iterable[str]) -> list[tuple[str, str]]:
        """(field, problem) of what only the fields together can tell."""
        known = set(symbols)
        named: dict[str, Mapping[str, object]] = {
            "holdings": self.holdings,
            "prices": self.prices,
            "last_traded": self.last_traded,
        }
        found = [
            (f"{field}.{symbol}", "is no symbol of this service")
            for field, mapping in named.items()
            for symbol in mapping
            if symbol not in known
        ]
        unpriced = [symbol for symbol in self.holdings if symbol not in self.prices]
        found += [(f"prices.{symbol}", "is missing, and the symbol is held") for symbol in unpriced]
        if self.as_of and not _INSTANTS[0] <= self.as_of < _INSTANTS[1]:
            found.append(("as_of", "must lie between 1990 and 2200"))
        if not unpriced and self.cash + sum((u * self.prices[s] for s, u in self.holdings.items()), ZERO) <= 0:
            found.append(("cash", "the book is worth nothing, so it has no weights"))
        return found


class CertificateAnswer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    slacks: dict[str, Number]
    binding: tuple[str, ...]
    tolerance: Annotated[Number, Field(ge=0)]
    worst: Number
    holds: bool


class AllocationAnswer(BaseModel):
    """Target weights as fractions of equity, with what it takes to check them and to know where they came from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(description="hash of the question, the data and the model: the same for the same answer")
    request_id: str
    account: str
    as_of: AwareDatetime
    session: date
    data_through: date = Field(description="last session whose close was known")
    weights: dict[Symbol, Number]
    cash: Number
    expected_pnl: dict[Symbol, Number] = Field(description="currency over `horizon_sessions`, by symbol")
    horizon_sessions: int
    confidence: Annotated[Number, Field(ge=0, le=1)]
    next_decisions: tuple[AwareDatetime, ...]
    allocator: str
    version: str
    rung: Rung
    certificate: CertificateAnswer
    view_sha: str
    trace: dict[str, JsonValue]

    def allocation(self) -> Allocation:
        return Allocation(
            weights=self.weights,
            cash=self.cash,
            allocator=self.allocator,
            version=self.version,
            rung=self.rung,
            certificate=Certificate(
                slacks=self.certificate.slacks,
                binding=self.certificate.binding,
                tolerance=self.certificate.tolerance,
            ),
            expected_pnl=self.expected_pnl,
            horizon_sessions=self.horizon_sessions,
            confidence=self.confidence,
            next_decisions=self.next_decisions,
            view_sha=self.view_sha,
            trace=self.trace,
        )


def question_id(portfolio: PortfolioSnapshot, session: date) -> str:
    """32 hex digits, the same for the same portfolio and session."""
    return sha256([portfolio, session])[:32]


def question(portfolio: PortfolioSnapshot, session: date) -> dict[str, Any]:
    """The request that asks for `portfolio`, exact to the last digit."""
    asked: dict[str, Any] = plain(portfolio)
    return asked | {"session": session.isoformat(), "request_id": question_id(portfolio, session)}


def answer(allocation: Allocation, portfolio: PortfolioSnapshot, view: MarketView, request_id: str | None) -> str:
    """The answer's JSON; ValueError when a number in it is not finite."""
    certificate = allocation.certificate
    asked = question_id(portfolio, view.session)
    fields: Mapping[str, Any] = {
        "id": sha256([asked, view.sha, allocation.allocator, allocation.version])[:32],
        "request_id": request_id or asked,
        "account": portfolio.account,
        "as_of": instant_text(view.as_of),
        "session": view.session,
        "data_through": view.sessions[-1],
        **{name: getattr(allocation, name) for name in _SHARED},
        "certificate": {**plain(certificate), "worst": certificate.worst, "holds": certificate.holds},
    }
    return json.dumps(plain(fields), allow_nan=False, separators=(",", ":"))


_SHARED = (
    "weights",
    "cash",
    "expected_pnl",
    "horizon_sessions",
    "confidence",
    "next_decisions",
    "allocator",
    "version",
    "rung",
    "view_sha",
    "trace",
)
