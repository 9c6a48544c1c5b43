"""The report: one page that says what the book held, traded, paid and was limited by, with its pictures.

    report = write_report(collect(ledger, sectors, closes=closes), folder)

The page is one file without scripts and without any outside address: it opens offline, prints, and fits a phone.
Each figure is drawn twice into it, for wide and for narrow screens, and lies beside it as a PNG. Nothing in it depends
on the time at which it was written: the same numbers give the same bytes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup, escape

from ordinis.monitoring import wording
from ordinis.monitoring.drawing import COLOURS, DARK, NARROW, WIDE, Picture
from ordinis.monitoring.figures_book import book_pictures
from ordinis.monitoring.figures_night import night_pictures
from ordinis.monitoring.figures_performance import performance_pictures
from ordinis.monitoring.figures_trading import trading_pictures
from ordinis.monitoring.report_data import SHORTEST_YEAR, ReportData
from ordinis.monitoring.report_json import document
from ordinis.monitoring.report_reading import Baseline, collect
from ordinis.risk import measures

TEMPLATE = Path(__file__).with_name("report.html")
DECISIONS_SHOWN = 15
SMALLEST_WEIGHT = 0.0005
SMALLEST_CHANGE = 0.001
"""Of a weight, by prices alone."""
CONFIDENCE_LEVEL = 0.95
YEAR = 252


@dataclass(frozen=True)
class _Drawn:
    """A picture as the template needs it."""

    name: str
    title: str
    caption: str
    wide: Markup
    narrow: Markup


@dataclass(frozen=True)
class _Holding:
    symbol: str
    sector: str
    weight: float
    decided: float
    risk: float
    """Share of the book's volatility; NaN where no attribution tells it, and likewise the next two."""
    tail: float
    """Share of the book's CVaR."""
    without: float
    """Volatility of the book a year without the position."""


def write_report(data: ReportData, folder: Path, title: str = "", notes: Sequence[str] = ()) -> Path:
    """Write report.html, its figures as PNG and report.json into `folder`; return the path of the page.

    Args:
        data: what `collect` found.
        folder: made when it is missing; files of the same names are replaced.
        title: of the page; empty for one that names the account.
        notes: one line each, shown near the top: the source of the data, what is assumed, what is synthetic.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown = pictures(data)
    for picture in shown:
        if picture.draw is not None:
            picture.write_png(folder)
    changes = [row for row in data.changes if row.units or abs(row.now - row.before) >= SMALLEST_CHANGE]
    page = _template().render(
        title=title or f"Report on account {data.account}",
        notes=[*notes, *data.remarks],
        data=data,
        night=data.night,
        changes=changes,
        unchanged=len(data.changes) - len(changes),
        why=_why(data),
        losses=_losses(data),
        last_equity=float(data.equity[-1]) if data.sessions else 0.0,
        light=COLOURS,
        dark=DARK,
        standing=_standing(data),
        key_numbers=[(track.key_numbers, track.against_book) for track in data.tracks],
        compared=any(track.against_book is not None for track in data.tracks),
        shortest_year=SHORTEST_YEAR,
        pictures=[_drawn(picture) for picture in shown],
        holdings=_holdings(data),
        sources=Counter((line.source, line.allocator, line.rung or "not told") for line in data.decisions),
        decisions=data.decisions[: -DECISIONS_SHOWN - 1 : -1],
        orders=", ".join(f"{count:,} {state.lower().replace('_', ' ')}" for state, count in data.orders.items()),
        plural=wording.plural,
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8", newline="\n")
    (folder / "report.json").write_text(document(data), encoding="utf-8", newline="\n")
    return path


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": wording.percent, "number": wording.number, "unbroken": _unbroken}
    environment.filters |= {"money": _money, "quantity": _quantity}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def pictures(data: ReportData) -> list[Picture]:
    """Every figure of the report, in the order of the page; none before the second session."""
    if len(data.sessions) < 2:
        return []
    return [*night_pictures(data), *performance_pictures(data), *book_pictures(data), *trading_pictures(data)]


def _drawn(picture: Picture) -> _Drawn:
    # The SVG is our own drawing, in which matplotlib has escaped every text.
    wide, narrow = ("", "") if picture.draw is None else (picture.svg(WIDE), picture.svg(NARROW))
    return _Drawn(picture.name, picture.title, picture.caption, Markup(wide), Markup(narrow))  # noqa: S704


def _money(amount: Decimal) -> str:
    return wording.number(float(amount), 2)


def _quantity(units: Decimal) -> str:
    return wording.signed(f"{units:+,f}")


def _why(data: ReportData) -> str:
    """What was decided in the last session, and by whom."""
    if not data.sessions or not data.decisions or data.decisions[-1].session != data.sessions[-1]:
        traded = any(change.units for change in data.changes)
        why = "what was traded had been decided before" if traded else "prices alone moved the weights"
        return f"Nothing was decided in this session: {why}."
    line = data.decisions[-1]
    told = f"Decided by {line.allocator} ({line.source}, {line.rung.replace('_', ' ') or 'rung not told'}): "
    told += f"{wording.plural(line.sells, 'sell')}, {wording.plural(line.buys, 'buy')}"
    if line.cuts:
        told += f"; limits that cut: {', '.join(line.cuts)}"
    return f"{told}; {line.reason}." if line.reason else f"{told}."


def _losses(data: ReportData) -> list[tuple[str, float, float]]:
    """Value at risk and CVaR, by how they were estimated."""
    found = None if data.night is None else data.night.losses
    if found is None:
        return []
    bent = found.cornish_fisher or (np.nan, np.nan)
    return [
        (f"Over the last {found.sessions} sessions of these holdings", found.value_at_risk, found.cvar),
        ("The same from four moments (Cornish-Fisher)", *bent),
        ("The past at today's volatility, simulated", found.simulated_value_at_risk, found.simulated_cvar),
    ]


def _unbroken(text: str) -> Markup:
    """`text` whose dates stay on one line."""
    return Markup(re.sub(r"\d{4}-\d\d-\d\d", r'<span class="date">\g<0></span>', str(escape(text))))  # noqa: S704


def _standing(data: ReportData) -> Mapping[str, str]:
    """Where the book stands at the last close, in words and numbers."""
    if not data.sessions:
        return {}
    cap = float(data.gross_cap[-1])
    recent = data.book.returns[-YEAR:]
    told = {
        f"Equity, {data.currency}": wording.number(float(data.equity[-1]), 0),
        "Last session": wording.percent(float(data.book.returns[-1]), 2),
        "Below the last high": wording.percent(float(data.book.drawdown[-1])),
        f"Invested, cap {wording.percent(cap, 0)}" if np.isfinite(cap) else "Invested": wording.percent(
            float(data.gross[-1])
        ),
        "Cash": wording.percent(float(data.cash[-1] / data.equity[-1])),
    }
    ahead = None if data.night is None else data.night.losses
    if ahead is not None:
        told[f"CVaR {wording.percent(ahead.level, 0)}, next session"] = wording.percent(ahead.cvar, 2)
    elif len(recent) >= SHORTEST_YEAR:
        told[f"CVaR {wording.percent(CONFIDENCE_LEVEL, 0)}, sessions past"] = wording.percent(
            measures.cvar(-recent, CONFIDENCE_LEVEL), 2
        )
    return told


def _holdings(data: ReportData) -> list[_Holding]:
    """Positions at the last close, and those decided, the largest first."""
    if not data.sessions:
        return []
    held = dict(zip(data.symbols, data.weights[-1].tolist(), strict=True))
    decided = data.decisions[-1].weights if data.decisions else {}
    night = data.night
    risk = None if night is None else night.risk
    shares = {} if risk is None or risk.volatility <= 0.0 else {s: p / risk.volatility for s, p in risk.parts.items()}
    tail = {} if night is None or night.losses is None else night.losses.parts
    whole = sum(tail.values())
    without = (
        {}
        if night is None or risk is None
        else {symbol: (risk.volatility - part) * YEAR**0.5 for symbol, part in night.incremental.items()}
    )
    rows = [
        _Holding(
            symbol=symbol,
            sector=data.sectors.get(symbol, ""),
            weight=weight,
            decided=decided.get(symbol, 0.0) if data.decisions else np.nan,
            risk=shares.get(symbol, np.nan),
            tail=tail.get(symbol, np.nan) / whole if whole else np.nan,
            without=without.get(symbol, np.nan),
        )
        for symbol, weight in held.items()
    ]
    shown = [row for row in rows if max(abs(row.weight), np.nan_to_num(row.decided)) >= SMALLEST_WEIGHT]
    return sorted(shown, key=lambda row: (-abs(row.weight), row.symbol))


__all__ = ["Baseline", "ReportData", "collect", "pictures", "write_report"]
