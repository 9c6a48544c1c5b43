"""How long an allocation takes: in process, and over HTTP from the same application under bare uvicorn.

    python -m benchmarks.allocations [QUESTIONS]

Twenty stocks, three years of view, every allocator by name. Latency is of one keep-alive client, after a warm-up; the
view is cut once, as it is in a closing window. Medians and 99th percentiles in milliseconds, with the machine's
description, are printed and written to benchmarks/results/allocations.json.
"""

from __future__ import annotations

import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import uvicorn

from benchmarks import machine
from ordinis import bootstrap
from ordinis.allocation.remote import RemoteAllocator
from ordinis.bootstrap.deciding import ALLOCATORS
from ordinis.clock import trading_calendar
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.features.view import market_view
from ordinis.ports import Allocator
from ordinis.serving.advisor import Advisor
from ordinis.serving.app import create_app
from ordinis.settings import Settings

SESSION = date(2020, 3, 16)


def always(allocator: Allocator) -> Callable[[], Allocator]:
    return lambda: allocator


def measure(ask: Callable[[], object], times: int) -> dict[str, float]:
    """p50 and p99 of `ask`, in milliseconds."""
    for _ in range(max(5, times // 10)):
        ask()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - started) * 1e3)
    return {"p50_ms": round(float(np.percentile(taken, 50)), 3), "p99_ms": round(float(np.percentile(taken, 99)), 3)}


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    settings = Settings(home=Path(tempfile.mkdtemp()))
    calendar, symbols = trading_calendar(), bootstrap.universe(settings)
    past = bootstrap.sample_market(settings).before(SESSION)
    as_of = calendar.trading_instant(SESSION)
    view = market_view(past, as_of, SESSION)
    prices = {symbol: Decimal(str(price)) for symbol, price in zip(view.symbols, view.closes[-1], strict=True)}
    book = PortfolioSnapshot("sim", as_of, Decimal(100_000), dict.fromkeys(symbols, Decimal(100)), prices)
    limits = bootstrap.rulebook(settings).limits
    rows: dict[str, dict[str, dict[str, float]]] = {
        "market view": {"in process": measure(lambda: market_view(past, as_of, SESSION), times)}
    }
    for name in ALLOCATORS:
        allocator = bootstrap.allocator_for(settings, name)
        advisor = Advisor(always(allocator), lambda *_: past, calendar, symbols, lambda: as_of)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(create_app(advisor, "token"), port=port, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        remote = RemoteAllocator(f"http://127.0.0.1:{port}", "token", limits, 30.0)
        assert remote.allocate(view, book) == allocator.allocate(view, book), "both sides must find the same answer"
        rows[name] = {
            "in process": measure(lambda a=allocator: a.allocate(view, book), times),  # type: ignore[misc]
            "over HTTP": measure(lambda r=remote: r.allocate(view, book), times),  # type: ignore[misc]
        }
        server.should_exit = True
        thread.join()
    machine.write("allocations", {"questions": times, "latency": rows})
    for name, sides in rows.items():
        print(f"{name:28}", "  ".join(f"{side} {v['p50_ms']:.2f} / {v['p99_ms']:.2f} ms" for side, v in sides.items()))


if __name__ == "__main__":
    main()
