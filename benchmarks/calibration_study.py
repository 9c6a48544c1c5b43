"""How calibration does against the noise of real markets, rather than against ten basis points of its own choosing.

    python -m benchmarks.calibration_study DATA

Two studies on a folder of market data.

    minute bars     orders of random size are worked at a tenth of each minute's volume through real minute bars. What
                    the market does meanwhile is the noise, wilder the longer an order takes; the impact is planted,
                    once by the law of Almgren et al. (2005) and once not at all, for bars do not know of our orders.
                    How many fills does it take until the model is promoted, and right?
    trades          trades of IBM over five days are signed by the quotes that they met (Lee and Ready 1991). What a
                    minute's net flow paid against the middle it began with is calibrated like the orders of a book. No
                    impact is planted here: whatever is found is the market's.

DATA holds equity_intraday/us7_1min_*.parquet (symbol, datetime, OHLC, volume) and lean/equity/usa as LEAN keeps it.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import machine
from ordinis.costs.models import BASIS_POINT
from ordinis.feedback.calibration import calibrate
from ordinis.feedback.cost_fit import CostPrior, PaidCosts
from ordinis.ports import FloatArray

SHARE_OF_VOLUME = 0.1
"""Of each minute's volume that an order takes."""
LOOK_BACK = 21
SIZES = (200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)
SEEDS = 20
PLANTED = {"almgren 2005": (1.0, 0.142, 0.6), "spread alone": (1.0, 0.0, 0.6)}
"""Half spread in basis points, eta, delta."""
LEAN_PRICE = 10_000.0


class Day:
    """One symbol on one day of minute bars."""

    def __init__(self, bars: pd.DataFrame, volume: float, volatility: float) -> None:
        self.opens = bars["open"].to_numpy()
        self.typical = bars[["high", "low", "close"]].mean(axis=1).to_numpy()
        self.room = SHARE_OF_VOLUME * bars["volume"].to_numpy()
        self.close = float(bars["close"].iloc[-1])
        self.volume, self.volatility = volume, volatility

    def worked(self, start: int, units: float) -> tuple[float, float]:
        """Mean price of an order that starts with minute `start`, and what of it is filled by the close."""
        taken = np.minimum(np.cumsum(self.room[start:]), units)
        parts = np.diff(taken, prepend=0.0)
        filled = float(taken[-1])
        return float(parts @ self.typical[start:]) / filled if filled else np.nan, filled


def days_of(path: Path) -> list[Day]:
    frame, found = pd.read_parquet(path), []
    frame["day"] = frame["datetime"].dt.date
    for _, bars in frame.groupby("symbol", sort=True):
        daily = bars.groupby("day").agg(close=("close", "last"), volume=("volume", "sum"))
        returns = daily["close"].pct_change()
        for place in range(LOOK_BACK + 1, len(daily)):
            before = slice(place - LOOK_BACK, place)
            of_day = bars[bars["day"] == daily.index[place]]
            found.append(Day(of_day, float(daily["volume"].iloc[before].mean()), float(returns.iloc[before].std())))
    return found


def orders(days: list[Day], count: int, law: tuple[float, float, float], rng: np.random.Generator) -> PaidCosts:
    """`count` orders on random days; what the market did to them, and what `law` adds."""
    half_spread, eta, delta = law
    rows: list[tuple[float, ...]] = []
    while len(rows) < count:
        day = days[int(rng.integers(len(days)))]
        start = int(rng.integers(len(day.opens) - 30))
        side = 1.0 if rng.random() < 0.5 else -1.0
        price, filled = day.worked(start, float(np.exp(rng.uniform(np.log(1e-4), np.log(0.1)))) * day.volume)
        if not filled:
            continue
        arrival, participation = day.opens[start], filled / day.volume
        market = side * (price / arrival - 1.0)
        paid = market + half_spread * BASIS_POINT + eta * day.volatility * participation**delta
        rows.append((paid, participation, day.volatility, side * (day.close / arrival - 1.0)))
    table: FloatArray = np.array(rows)
    return PaidCosts(table[:, 0], table[:, 1], table[:, 2], np.zeros(count, dtype=np.int64), table[:, 3])


def planted_study(days: list[Day]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, law in PLANTED.items():
        for count in SIZES:
            made = [
                calibrate(orders(days, count, law, np.random.default_rng(s)), CostPrior(), None) for s in range(SEEDS)
            ]
            etas = np.array([each.book.eta.value for each in made])
            found[f"{name}, {count} fills"] = {
                "promoted": sum(each.promoted for each in made) / SEEDS,
                "eta_mean": float(etas.mean()),
                "eta_off_p50": float(np.median(np.abs(etas - law[1]))),
                "eta_covered": sum(each.book.eta.low <= law[1] <= each.book.eta.high for each in made) / SEEDS,
                "delta_mean": float(np.mean([each.book.delta.value for each in made])),
                "half_spread_bps": float(np.mean([each.book.half_spread.value for each in made])) / BASIS_POINT,
                "noise_bps": float(np.mean([each.book.noise for each in made])) / BASIS_POINT,
                "error_bps": float(np.mean([each.error for each in made])) / BASIS_POINT,
                "error_of_prior_bps": float(np.mean([each.error_in_force for each in made])) / BASIS_POINT,
            }
            print(f"{name}, {count} fills: {found[f'{name}, {count} fills']}")
    return found


def ticks(path: Path, columns: list[str]) -> pd.DataFrame:
    with zipfile.ZipFile(path) as archive:
        text = archive.read(archive.namelist()[0])
    frame = pd.read_csv(io.BytesIO(text), header=None, usecols=range(len(columns)), names=columns)
    return frame.set_index("at").sort_index(kind="stable")


def signed_minutes(folder: Path, day: str) -> pd.DataFrame:
    """Net flow, first middle, mean price paid and last middle of each minute."""
    quotes = ticks(folder / f"{day}_quote.zip", ["at", "bid", "bid_size", "ask", "ask_size"])
    trades = ticks(folder / f"{day}_trade.zip", ["at", "price", "units"])
    sides = quotes[["bid", "ask"]].where(quotes[["bid", "ask"]] > 0.0).ffill()
    middle = sides.mean(axis=1)[(sides["ask"] > sides["bid"])] / LEAN_PRICE
    middle = middle[~middle.index.duplicated(keep="last")]
    trades["price"] /= LEAN_PRICE
    met = pd.merge_asof(trades.reset_index(), middle.rename("middle").reset_index(), on="at", allow_exact_matches=False)
    met = met.dropna()
    met["sign"] = np.sign(met["price"] - met["middle"])
    met["minute"] = met["at"] // 60_000
    met["flow"], met["money"] = met["sign"] * met["units"], met["sign"] * met["units"] * met["price"]
    grouped = met.groupby("minute")
    return pd.DataFrame(
        {
            "flow": grouped["flow"].sum(),
            "money": grouped["money"].sum(),
            "first": grouped["middle"].first(),
            "last": grouped["middle"].last(),
            "units": grouped["units"].sum(),
        }
    )


def trades_study(folder: Path) -> dict[str, Any]:
    ticks_of = folder / "tick" / "ibm"
    names = sorted(path.name[:8] for path in ticks_of.glob("*_trade.zip"))
    minutes = pd.concat([signed_minutes(ticks_of, day) for day in names], ignore_index=True)
    daily = pd.read_csv(folder / "daily" / "ibm.zip", header=None, names=["at", "o", "h", "l", "c", "volume"])
    before = daily[daily["at"] < f"{names[0]} 00:00"].tail(LOOK_BACK + 1)
    volatility = float((before["c"].pct_change()).std())
    volume = float(minutes["units"].sum()) / len(names)
    kept = minutes[minutes["flow"].abs() > 0.0]
    sign = np.sign(kept["flow"].to_numpy())
    # Against the flow's own mean price half of what crossed both ways has cancelled: the move of the middle is cleaner.
    paid = sign * (kept["last"].to_numpy() / kept["first"].to_numpy() - 1.0) / 2.0
    participation = np.abs(kept["flow"].to_numpy()) / volume
    fills = PaidCosts(
        paid, participation, np.full(len(kept), volatility), np.zeros(len(kept), dtype=np.int64),
        sign * (kept["last"].to_numpy() / kept["first"].to_numpy() - 1.0),
    )  # fmt: skip
    # A move of the middle has no spread in it.
    made = calibrate(fills, CostPrior(half_spread=1e-8, half_spread_sd=1e-9), None)
    told = {
        "minutes": len(kept), "days": len(names), "volatility": volatility, "volume_a_day": volume,
        "promoted": made.promoted, "reason": made.reason, "error_bps": made.error / BASIS_POINT,
        "error_of_prior_bps": made.error_in_force / BASIS_POINT,
        **{name: vars(getattr(made.book, name)) for name in ("half_spread", "eta", "delta", "permanent")},
    }  # fmt: skip
    print(f"IBM, net flow of a minute: {told}")
    return told


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.calibration_study DATA")
    data = Path(sys.argv[1])
    [bars] = sorted((data / "equity_intraday").glob("us7_1min_*.parquet"))
    days = days_of(bars)
    figures = {
        "symbol_days": len(days),
        "minute_bars": planted_study(days),
        "trades": trades_study(data / "lean" / "equity" / "usa"),
    }
    machine.write("calibration_study", figures)


if __name__ == "__main__":
    main()
