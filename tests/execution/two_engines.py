"""A rig in which one trading process after the other hangs or dies, and the next one takes the account over from it.

Each life is a real process with its own connections and its own door to the venue, which notes when an order comes
in through which door. A life stops itself with SIGSTOP at one of its kill points. Then the next is started, which is
refused while the lease of the stopped one lasts. Of a life that hangs the lease is a second: it ends, the next claims
and trades, and the hanging one is woken with SIGCONT in the midst of that. Of a life that dies the lease is ten
minutes: once the next has been refused the stopped one gets SIGKILL, and only its death can have freed the role.

    python -m tests.execution.two_engines HOME LEDGER_URL LIVES [BROKEN ENGINE]
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from ordinis import bootstrap
from ordinis.brokers.venue import create_venue
from ordinis.brokers.venue_client import VenueClient
from ordinis.clock import ReplayClock, trading_calendar
from ordinis.errors import AnotherWriter, OrdinisError
from ordinis.execution.intents import OrderEngine
from ordinis.execution.killpoints import KillPoint
from ordinis.execution.replaying import live_through, resume_session, start_clock
from ordinis.persistence.lease import Terms
from ordinis.settings import Settings
from tests.execution.broken import MUST_CATCH
from tests.execution.inspection import differences, read
from tests.execution.kill_rig import FIRST, PROJECT, await_venue, bring_in, free_port, the_settings

LAST = trading_calendar().between(FIRST, FIRST.replace(month=12))[5]
HANGS, DIES = "hangs", "dies"
LEASE = {HANGS: 1.0, DIES: 600.0}
LIVES = (
    (KillPoint.WIRE, 2, HANGS),
    (KillPoint.SENDING, 3, HANGS),
    (KillPoint.WIRE, 1, DIES),
    (KillPoint.REPLIED, 2, HANGS),
    (KillPoint.INTENT, 2, HANGS),
    (KillPoint.INTENT, 1, DIES),
    (KillPoint.ACKNOWLEDGED, 2, HANGS),
    (KillPoint.FILLED, 1, HANGS),
    (KillPoint.DECIDED, 1, HANGS),
    (KillPoint.RECONCILED, 3, HANGS),
    (KillPoint.VALUED, 1, HANGS),
)
"""At which passing of which point each life stops, and what becomes of it then; the last of a run lives to the end."""


class Onwards(ReplayClock):
    """The venue's time: a process that wakes up late still believes in an earlier one."""

    def advance(self, to: datetime) -> None:
        super().advance(max(to, self.now()))


def run_venue(home: Path, port: int) -> None:
    """The venue's program, with a door for each life, which notes the instant at which an order comes in."""
    import uvicorn
    from fastapi import FastAPI, Request

    settings = the_settings(home, port)
    clock = Onwards(datetime(1990, 1, 1, tzinfo=UTC))
    venue = create_venue(bootstrap.simulated_broker(settings, clock), clock)
    doors = FastAPI()

    @doors.middleware("http")
    async def note(request: Request, proceed: Any) -> Any:
        if request.method == "POST" and request.url.path.endswith("/orders"):
            with (home / "received").open("a") as file:
                file.write(json.dumps([request.url.path.split("/")[1], time.monotonic()]) + "\n")
        return await proceed(request)

    for number in range(len(LIVES) + 1):
        doors.mount(f"/{number}", venue)
    doors.mount("/", venue)
    uvicorn.run(doors, port=port, log_level="error")


@dataclass(frozen=True)
class Life:
    settings: Settings
    number: int
    engine_class: type[OrderEngine]
    last: bool

    def note(self, name: str, fact: Any) -> None:
        """Leave a fact for the rig, whole or not at all."""
        path = self.settings.home / f"{self.number}-{name}"
        part = path.with_suffix(".part")
        part.write_text(json.dumps(fact))
        part.replace(path)

    def noted(self, name: str) -> Any:
        path = self.settings.home / f"{self.number}-{name}"
        return json.loads(path.read_text()) if path.exists() else None

    def live(self) -> None:
        """Claim as soon as that is possible, then trade to the end of the stretch, or to where this life stops."""
        point, left, ends = (None, 0, HANGS) if self.last else LIVES[self.number]

        def kill_point(passed: KillPoint) -> None:
            nonlocal left
            left -= passed is point
            if passed is point and left == 0:
                os.kill(os.getpid(), signal.SIGSTOP)

        calendar, book = trading_calendar(), bootstrap.ledger(self.settings)
        terms = Terms(LEASE[ends])
        while not book.fence:
            try:
                book.claim(terms)
            except AnotherWriter as refused:
                self.note("refused", {"holder": refused.holder, "until": refused.until})
                time.sleep(0.02)
        self.note("claimed", {"fence": book.fence, "at": time.monotonic(), "now": terms.now().isoformat()})
        first = resume_session(book, calendar, FIRST)
        clock = start_clock(calendar, first, bootstrap.venue_time(self.settings))
        actor = bootstrap.actor(self.settings, clock, book, remote=False)
        broker = VenueClient(f"{self.settings.venue_url}/{self.number}", clock)
        engine = self.engine_class(book, broker, clock, actor.engine.gates, kill_point=kill_point)
        live_through(
            replace(actor, engine=engine), clock, bootstrap.source(self.settings).stream(actor.symbols, first, LAST)
        )

    def begin(self) -> int:
        """Fork this life; its exit code is that of the command line."""
        child = os.fork()
        if child == 0:
            try:
                self.live()
            except OrdinisError as error:
                self.note("error", {"code": error.code, "text": str(error)})
                os._exit(error.exit_code)
            except BaseException as error:
                sys.stderr.write(f"life {self.number} ended: {error!r}\n")
                os._exit(3)
            os._exit(0)
        return child

    def wait_for(self, name: str) -> Any:
        for _ in range(6000):
            fact = self.noted(name)
            if fact is not None:
                return fact
            time.sleep(0.01)
        raise SystemExit(f"life {self.number} was not {name}")


def run(settings: Settings, count: int, engine_class: type[OrderEngine]) -> dict[str, Any]:
    """Let `count` lives pass; what each of them left behind."""
    command = [sys.executable, "-m", "tests.execution.two_engines", "venue", str(settings.home)]
    venue = subprocess.Popen([*command, str(settings.venue_port)], cwd=PROJECT)
    pids, codes, alive = list[int](), list[int](), set[int]()
    try:
        await_venue(settings)
        bring_in(settings)
        lives = [Life(settings, number, engine_class, number == count - 1) for number in range(count)]
        pids.append(lives[0].begin())
        alive.add(pids[0])
        for (point, _, ends), after in zip(LIVES, lives[1:], strict=False):
            before = pids[-1]
            _, status = os.waitpid(before, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                alive.discard(before)
                raise SystemExit(f"life {after.number - 1} ended before its {point.name}: {os.WEXITSTATUS(status)}")
            pids.append(after.begin())
            alive.add(pids[-1])
            if ends == DIES:
                after.wait_for("refused")
                os.kill(before, signal.SIGKILL)
            after.wait_for("claimed")
            if ends == HANGS:
                os.kill(before, signal.SIGCONT)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(before, 0)[1]))
            alive.discard(before)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pids[-1], 0)[1]))
        alive.discard(pids[-1])
    finally:
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
        venue.terminate()
        venue.wait()
    names = ("claimed", "refused", "error")
    told = [{name: life.noted(name) for name in names} for life in lives]
    return {
        "lives": [{"pid": p, "code": c, **facts} for p, c, facts in zip(pids, codes, told, strict=True)],
        "wrong": wrong(settings, [facts["claimed"] for facts in told]),
    }


def wrong(settings: Settings, claims: list[dict[str, Any]]) -> list[str]:
    """What should not be, read from the two books and from what the venue received."""
    ledger, clock = bootstrap.ledger(settings), ReplayClock(trading_calendar().closes(LAST))
    books = read(ledger, bootstrap.simulated_broker(settings, clock))
    found = differences(books, dedupes=True)
    received = [json.loads(line) for line in (settings.home / "received").read_text().splitlines()]
    for number, after in enumerate(claims[1:]):
        late = sum(door == str(number) and at > after["at"] for door, at in received)
        if late:
            found.append(f"life {number} sent {late} orders after life {number + 1} had claimed fence {after['fence']}")
    events = sorted((e for told in books.events.values() for e in told), key=lambda event: int(event["seq"]))
    sent = [json.loads(event["change"])["fence"] for event in events if event["payload"].get("state") == "SENDING"]
    if any(later < earlier for earlier, later in pairwise(sent)):
        found.append(f"a SENDING row was committed under a lower fence than one before: {sent}")
    if not {claim["fence"] for claim in claims[-1:]} <= set(sent):
        found.append("the last life sent nothing, so nothing was shown")
    return found


def main() -> None:
    if sys.argv[1] == "venue":
        run_venue(Path(sys.argv[2]), int(sys.argv[3]))
        return
    home, url = Path(sys.argv[1]), sys.argv[2]
    engines = {engine.__name__: engine for engine in (OrderEngine, *MUST_CATCH["two engines"])}
    settings = the_settings(home, free_port()).model_copy(update={"ledger_database": url})
    engine_class = engines[[*sys.argv[4:], "OrderEngine"][0]]
    sys.stdout.write(json.dumps(run(settings, int(sys.argv[3]), engine_class)) + "\n")


if __name__ == "__main__":
    main()
