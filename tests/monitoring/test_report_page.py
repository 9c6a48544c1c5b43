"""The report's page and pictures, and what they say."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from datetime import date
from decimal import Decimal
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordinis.costs.models import ProportionalCost
from ordinis.domain.orders import Side
from ordinis.monitoring.axes import periods, spread, thinned
from ordinis.monitoring.drawing import COLOURS, DARK, WIDE
from ordinis.monitoring.figures_performance import growth
from ordinis.monitoring.findings import Losses, Night
from ordinis.monitoring.pnl import SessionProfit
from ordinis.monitoring.report import ReportData, collect, pictures, write_report
from ordinis.monitoring.report_data import Track
from ordinis.monitoring.wording import number, percent, plural
from ordinis.risk import measures
from ordinis.risk.attribution import FactorAttribution, FactorRisk, RiskAttribution
from ordinis.risk.stress import StressResult
from tests.monitoring.book import (
    CALENDAR,
    SECTORS,
    SESSIONS,
    BookWriter,
    a_longer_book,
    three_closes,
    three_sessions,
)

FIGURES = (
    "session-profit",
    "profit-by-source",
    "stress",
    "risk-by-factor",
    "risk-by-sector",
    "equity",
    "drawdown",
    "rolling-sharpe",
    "monthly-returns",
    "weights",
    "exposures",
    "limits",
    "turnover-and-cost",
    "component-risk",
    "factor-exposures",
)


@pytest.fixture(scope="module")
def three() -> ReportData:
    return collect(three_sessions().ledger, SECTORS, closes=three_closes(), costs=ProportionalCost(10.0))


# numbers


def test_drawdown_and_growth_begin_before_the_first_session() -> None:
    track = Track("x", SESSIONS[:2], np.array([-0.1, 0.05]))
    np.testing.assert_allclose(track.growth, [90.0, 94.5])
    np.testing.assert_allclose(track.drawdown, [0.1, 0.055])


# drawing


@given(st.lists(st.tuples(st.floats(-50, 350), st.floats(5, 40)), min_size=1, max_size=9))
def test_names_do_not_overlap_and_stay_inside_where_there_is_room(names: list[tuple[float, float]]) -> None:
    wanted, heights = [y for y, _ in names], [height for _, height in names]
    room = sum(heights) + 10.0
    places = spread(wanted, heights, room)
    edges = sorted((place - height / 2, place + height / 2) for place, height in zip(places, heights, strict=True))
    assert edges[0][0] >= -1e-6
    assert edges[-1][1] <= room + 1e-6
    assert all(low >= high - 1e-6 for (_, high), (low, _) in pairwise(edges))


def test_a_name_with_room_around_it_stays_where_it_wants_to_be() -> None:
    assert spread([20.0, 100.0], [14.0, 14.0], 200.0) == [20.0, 100.0]
    assert spread([50.0, 50.0], [14.0, 14.0], 200.0) == [43.0, 57.0]


@pytest.mark.parametrize(("count", "word"), [(60, "session"), (200, "week"), (600, "month"), (4000, "quarter")])
def test_periods_keep_every_session(count: int, word: str) -> None:
    sessions = CALENDAR.between(CALENDAR.back(SESSIONS[0], count), SESSIONS[0])[:count]
    gathered = periods(sessions)
    assert gathered.word == word
    assert gathered.sums(np.ones(count)).sum() == count
    assert len(gathered.edges) == len(gathered.starts) + 1


def test_thinning_keeps_the_ends() -> None:
    assert thinned(3, 300).tolist() == [0, 1, 2]
    rows = thinned(1000, 300)
    assert (rows[0], rows[-1], len(rows)) == (0, 999, 300)


def test_no_two_roles_share_a_colour_and_every_role_has_a_dark_one() -> None:
    assert len(set(COLOURS.values())) == len(COLOURS)
    assert COLOURS.keys() == DARK.keys()


def test_a_path_that_spans_more_than_threefold_is_drawn_on_a_logarithmic_scale(three: ReportData) -> None:
    steep = replace(three, book=replace(three.book, returns=np.array([0.0, 1.0, 0.6])))
    picture = growth(steep)
    assert picture.caption.startswith("Logarithmic scale")
    assert picture.draw is not None
    assert picture.draw(WIDE).axes[0].get_yscale() == "log"
    assert growth(three).draw(WIDE).axes[0].get_yscale() == "linear"  # type: ignore[misc]


def test_numbers_are_written_as_people_write_them() -> None:
    assert number(-1234.5, 1) == "\N{MINUS SIGN}1,234.5"
    assert number(-0.001) == "0.00"
    assert percent(0.1234) == "12.3\N{NO-BREAK SPACE}%"
    assert percent(float("nan")) == "\N{EN DASH}"
    assert (plural(1, "session"), plural(2000, "session")) == ("1 session", "2,000 sessions")


# the page


class Links(HTMLParser):
    """What a page refers to, its ids, its headings and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("href", "src", "xlink:href", "data", "srcset", "action"):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")


def a_night(session: date, factors: FactorAttribution) -> Night:
    """Numbers that agree with each other, of a book of AAPL and KO."""
    return Night(
        session=session,
        factor_source="factor ETFs",
        factors_through=session,
        remarks=("KO <late>: prices of 252 sessions are not all there, so the risk leaves them out.",),
        factors=factors,
        risk=RiskAttribution(0.01, {"AAPL": 0.008, "KO": 0.002}),
        incremental={"AAPL": 0.006, "KO": 0.001},
        factor_risk=FactorRisk(0.01, {"market": 0.007, "size": -0.001}, {"AAPL": 0.003, "KO": 0.001}),
        losses=Losses(0.95, 252, 0.015, 0.021, None, 0.017, 0.024, {"AAPL": 0.018, "KO": 0.003}, 0.05),
        stress=(
            StressResult("Pandemic 2020", 0.3, {"AAPL": 0.2, "KO": 0.1}, ()),
            StressResult("Gulf war 1990", 0.15, {"AAPL": 0.1, "KO": 0.05}, ("AAPL", "KO")),
        ),
        profit=SessionProfit(
            session, Decimal("101.50"), {"market": Decimal("80.00")},
            {"AAPL": Decimal("30.00"), "KO": Decimal("-4.00")},
            {"KO": Decimal("2.00")}, Decimal("5.00"), Decimal("1.50"), Decimal("0"),
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def full() -> ReportData:
    book, closes = a_longer_book(70)
    index = (SESSIONS[:70], np.random.default_rng(2).normal(0.0, 0.02, 70))
    factors = FactorAttribution(
        0.0001, 1.2, {"market": 0.8, "size": -0.1}, {"market": 20.0, "size": float("nan")}, 0.7, 0.005, {}, 0.0, 70
    )
    night = a_night(SESSIONS[69], factors)
    return collect(
        book.ledger,
        SECTORS,
        {"<b>index</b> & $co$": index},
        {SESSIONS[68]: replace(night, session=SESSIONS[68]), SESSIONS[69]: night},
        closes=closes,
        costs=ProportionalCost(10.0),
        rng=np.random.default_rng(0),
    )


@pytest.fixture(scope="module")
def folder(full: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(full, folder / "new", "Sample <book>", ["Daily volumes are assumed."])
    return folder / "new"


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_has_every_figure_for_wide_and_for_narrow_screens(page: str) -> None:
    assert set(FIGURES) <= set(Links(page).ids)
    assert page.count("<svg") == 2 * len(FIGURES)


def test_the_page_refers_to_nothing_outside_itself(page: str) -> None:
    links = Links(page)
    assert all(address.startswith("#") for address in links.addresses)
    assert not re.search(r"https?:|@import|url\((?!#)", page)
    assert not {"script", "link", "img", "iframe"} & set(links.tags)


def test_ids_are_unique_and_every_reference_has_its_target(page: str) -> None:
    links = Links(page)
    assert [name for name, times in Counter(links.ids).items() if times > 1] == []
    wanted = {address[1:] for address in links.addresses} | set(re.findall(r"url\(#([^)]+)\)", page))
    assert wanted <= set(links.ids)


def test_the_drawings_use_the_colours_of_the_page(page: str) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    # matplotlib leaves black out: it is what SVG draws by default
    assert re.findall(r"#[0-9a-fA-F]{6}\b", drawings) == []
    assert "var(--book)" in drawings


def test_names_and_notes_are_text_and_not_markup(page: str) -> None:
    assert "<b>index</b>" not in page
    assert "&lt;b&gt;index&lt;/b&gt; &amp; $co$" in page
    assert "Sample &lt;book&gt;" in page
    assert "Daily volumes are assumed." in page


def test_the_page_tells_the_key_numbers_the_interval_and_the_last_decisions(page: str, full: ReportData) -> None:
    assert percent(full.book.key_numbers.annual_return) in page
    difference = full.baselines[0].against_book
    assert difference is not None
    assert f"{number(difference.low)} to {number(difference.high)}" in page
    assert page.count('<th scope="row" class="date">') == 15
    assert "position cap" in page


def test_the_page_tells_what_changed_what_it_could_lose_and_what_is_missing(page: str, full: ReportData) -> None:
    assert "KO &lt;late&gt;: prices of 252 sessions" in page
    changes = page[page.index('id="changes"') : page.index('id="losses"')]
    last = full.decisions[-1]
    if last.session != full.sessions[-1]:
        assert "Nothing was decided in this session" in changes
    losses = page[page.index('id="losses"') : page.index("Key numbers")]
    for told in (percent(0.015, 2), percent(0.021, 2), number(0.024 * float(full.equity[-1]), 0), "four moments"):
        assert told in losses
    holdings = page[page.index('id="holdings"') :]
    assert percent(0.018 / 0.021) in holdings
    assert percent((0.01 - 0.006) * 252**0.5) in holdings


def test_the_first_lines_say_what_the_next_session_could_cost_else_what_the_past_did(
    page: str, full: ReportData, tmp_path: Path
) -> None:
    past = write_report(replace(full, nights={}), tmp_path).read_text(encoding="utf-8")
    worst = percent(measures.cvar(-full.book.returns, 0.95), 2)
    assert f"<dt>CVaR {percent(0.95, 0)}, next session</dt><dd>{percent(0.021, 2)}</dd>" in page
    assert f"<dt>CVaR {percent(0.95, 0)}, sessions past</dt><dd>{worst}</dd>" in past
    assert "sessions past</dt>" not in page


def test_programs_read_the_same_numbers(folder: Path, full: ReportData) -> None:
    told = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert told["session"] == str(full.sessions[-1])
    assert told["equity"] == float(full.equity[-1])
    assert told["night"]["profit"]["profit"] == "101.5"
    assert told["night"]["losses"]["cornish_fisher"] is None
    assert told["night"]["factors"]["t"]["size"] is None, "what is not known is null"
    assert {row["symbol"]: row["weight"] for row in told["positions"]} == dict(
        zip(full.symbols, full.weights[-1].tolist(), strict=True)
    )


def test_the_figures_lie_beside_the_page_and_are_not_blank(folder: Path) -> None:
    assert {path.stem for path in folder.glob("*.png")} == set(FIGURES)
    for path in folder.glob("*.png"):
        pixels = matplotlib.image.imread(path)
        assert pixels.shape[1] == 1680
        assert pixels[..., :3].std() > 0.02, path


def test_the_same_ledger_gives_the_same_bytes(folder: Path, full: ReportData, tmp_path: Path) -> None:
    again = write_report(full, tmp_path, "Sample <book>", ["Daily volumes are assumed."])
    assert again.read_bytes() == (folder / "report.html").read_bytes()
    assert (tmp_path / "equity.png").read_bytes() == (folder / "equity.png").read_bytes()


def test_an_empty_ledger_gives_a_page_that_says_so(tmp_path: Path) -> None:
    data = collect(BookWriter().ledger, {}, {"index": (SESSIONS, np.zeros(len(SESSIONS)))}, closes=three_closes())
    text = write_report(data, tmp_path).read_text(encoding="utf-8")
    assert "No session has been valued yet" in text
    assert list(tmp_path.glob("*.png")) == []


def test_decisions_and_fills_before_the_first_close_are_told(tmp_path: Path) -> None:
    book = BookWriter()
    book.deposit(SESSIONS[0], "100")
    decision = book.decide(SESSIONS[0], {"KO": 0.5}, [("KO", Side.BUY, "1", "50")])
    book.fill(decision, "KO", "50", "0")
    text = write_report(collect(book.ledger, {}), tmp_path).read_text(encoding="utf-8")
    assert "1 decision and\n1 fill" in text
    assert "Told after the last valuation, and not in these figures: 1 fill." in text


def test_one_session_gives_tables_and_says_when_figures_begin(tmp_path: Path) -> None:
    book = BookWriter()
    book.deposit(SESSIONS[0], "100")
    book.close(SESSIONS[0], {})
    text = write_report(collect(book.ledger, {}, closes=three_closes()), tmp_path).read_text(encoding="utf-8")
    assert "One session has been valued. Figures begin with the second." in text
    assert "Numbers a year begin with 63 sessions" in text


def test_a_book_that_only_holds_cash_is_drawn(tmp_path: Path) -> None:
    book = BookWriter()
    book.deposit(SESSIONS[0], "100")
    for session in SESSIONS[:3]:
        book.close(session, {})
    data = collect(book.ledger, {}, closes=three_closes(), costs=ProportionalCost())
    text = write_report(data, tmp_path).read_text(encoding="utf-8")
    for reason in ("nothing was traded", "nothing was decided or held", "there are no decisions", "needs 31"):
        assert reason in text
    assert "never fell below an earlier high" in text


def test_the_window_of_the_rolling_sharpe_is_stated_when_it_is_short(full: ReportData) -> None:
    rolling = next(picture for picture in pictures(full) if picture.name == "rolling-sharpe")
    assert "70 sessions are too few for a year's" in rolling.caption
    assert "of the month up to each session" in rolling.caption
