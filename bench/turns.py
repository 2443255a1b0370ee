"""How long an agent keeps its user waiting: create, wake, turns, and many agents at once.

usage: .venv/bin/python bench/turns.py [--runs 60] [--crowd 64] [--json]

Starts ``raworc up`` on an empty home of its own, with the scripted model, so that what is measured is ours alone.
Client, server, operator, recorder and Postgres share the machine's cores. Times are milliseconds as the client
sees them, over one keep-alive connection.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from installation import Api, Installation, installed

BASH = "```bash\necho hello\n```"
CROWD_TURNS = 5
SLOWLY = '```fault\n{"chunk_delay_ms": 50}\n```\n'
"""The model sends an event every 50 ms, as real ones do: a crowd that waits for nothing only measures its queue."""


@dataclass(frozen=True)
class Figure:
    """One line of the table. ``must_ms`` and ``aim_ms`` bound ``judged_ms``; None: shown, not judged."""

    what: str
    p50_ms: float
    p95_ms: float
    p99_ms: float
    runs: int
    must_ms: float | None = None
    aim_ms: float | None = None
    judged: str = "p50"

    @property
    def judged_ms(self) -> float:
        return {"p50": self.p50_ms, "p95": self.p95_ms, "p99": self.p99_ms}[self.judged]

    @property
    def verdict(self) -> str:
        if self.must_ms is None:
            return ""
        if self.judged_ms > self.must_ms:
            return "miss"
        return "ok" if self.aim_ms is None or self.judged_ms > self.aim_ms else "ok, aim met"


def figure(
    what: str, times_ms: list[float], *, must: float | None = None, aim: float | None = None, judged: str = "p50"
) -> Figure:
    """The quantiles of ``times_ms``."""
    cuts = statistics.quantiles(times_ms, n=100, method="inclusive")
    return Figure(what, cuts[49], cuts[94], cuts[98], len(times_ms), must, aim, judged)


def measure(installation: Installation, *, runs: int, crowd: int) -> list[Figure]:
    """Every figure, in the order of a user's day."""
    api, events = installation.api(), installation.api()
    warm_up(api, events)
    names = [f"new-{number}" for number in range(runs)]
    return [
        figure("fdatasync of 8 KiB on this disk", [sync_ms() for _ in range(200)]),
        figure("start of an installed server", [installation.start_s * 1000] * 2, must=3000, aim=1500),
        figure("create -> idle", [create_ms(api, events, name) for name in names], must=100, aim=50),
        figure("wake -> idle", [wake_ms(api, events, name) for name in names], must=80, aim=40),
        figure("turn without tools", [turn_ms(api, name, "hello") for name in names * 2], must=25, aim=12),
        figure("turn with one bash tool", [turn_ms(api, name, BASH) for name in names * 2], must=50, aim=25),
        *crowd_figures(installation, crowd),
    ]


def warm_up(api: Api, events: Api) -> None:
    """The first calls pay for imports, pools and plans; a server that runs for days does not."""
    create_ms(api, events, "warm")
    wake_ms(api, events, "warm")
    for _ in range(20):
        api.ask("warm", BASH)


def create_ms(api: Api, events: Api, name: str) -> float:
    """From POST to the event that says ``idle``: its sandbox is up."""
    started = time.perf_counter()
    api.call("POST", "/agents", {"name": name})
    events.follow(name, "idle", after=0)
    return (time.perf_counter() - started) * 1000


def wake_ms(api: Api, events: Api, name: str) -> float:
    """From POST wake to the event that says ``idle``, after putting it to sleep."""
    api.call("PUT", f"/agents/{name}/state", {"state": "slept"})
    asleep = events.follow(name, "slept", after=0)
    started = time.perf_counter()
    api.call("POST", f"/agents/{name}/wake", {})
    events.follow(name, "idle", after=asleep)
    return (time.perf_counter() - started) * 1000


def turn_ms(api: Api, name: str, text: str) -> float:
    """A blocking turn, from POST to its whole answer."""
    started = time.perf_counter()
    api.ask(name, text)
    return (time.perf_counter() - started) * 1000


def crowd_figures(installation: Installation, size: int) -> list[Figure]:
    """Many agents that work at the same time, each followed by its user, and how the API feels meanwhile."""
    names = [f"crowd-{number}" for number in range(size)]
    apis = [installation.api() for _ in names]
    done = threading.Event()
    with ThreadPoolExecutor(size + 1) as pool:
        started = time.perf_counter()
        list(pool.map(lambda api, name: create_ms(api, api, name), apis, names))
        created = (time.perf_counter() - started) * 1000
        watching = pool.submit(watch, installation, done)
        started = time.perf_counter()
        pauses = [number / size for number in range(size)]
        try:
            turns = [turn for of_agent in pool.map(streamed_turns, apis, names, pauses) for turn in of_agent]
        finally:
            done.set()
        answered = (time.perf_counter() - started) * 1000
        reads = watching.result()
    who = f"{size} agents at once"
    return [
        figure(f"{who}: all idle", [created, created]),
        figure(f"{who}: {CROWD_TURNS} turns with a tool each, all complete", [answered, answered]),
        figure(f"{who}: one turn", [turn_ms for turn_ms, _ in turns]),
        figure(f"{who}: from a tool's output to its user", [lag_ms for _, lag_ms in turns], must=500, judged="p99"),
        figure(f"{who}: GET agent", reads, must=250, judged="p99"),
    ]


def streamed_turns(api: Api, name: str, pause_s: float) -> list[tuple[float, float]]:
    """Each turn's time, and how old its tool's output was when it arrived; each must say what it was told to.

    The first begins after ``pause_s``: people do not all press a key in the same millisecond.
    """
    time.sleep(pause_s)
    times: list[tuple[float, float]] = []
    for _ in range(CROWD_TURNS):
        started, lag_ms, last = time.perf_counter(), 0.0, {}
        for last in api.stream(name, f"{SLOWLY}```bash\necho {name} $(date +%s%N)\n```"):
            segment = last.get("segment", {})
            if segment.get("type") == "tool_result":
                said, _, at_ns = segment["output"].partition(" ")
                lag_ms = (time.time_ns() - int(at_ns)) / 1_000_000 if said == name else float("nan")
        if last.get("status") != "completed" or not lag_ms > 0:
            sys.exit(f"'{name}' did not answer as told: {last}")
        times.append(((time.perf_counter() - started) * 1000, lag_ms))
    return times


def watch(installation: Installation, done: threading.Event) -> list[float]:
    """Read an agent every 20 ms until told to stop."""
    api = installation.api()
    times: list[float] = []
    while not done.wait(0.02) or len(times) < 10:
        started = time.perf_counter()
        api.call("GET", "/agents/warm")
        times.append((time.perf_counter() - started) * 1000)
    return times


def sync_ms() -> float:
    """What one durable write costs here, before anything of ours."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x" * 8192)
        file.flush()
        started = time.perf_counter()
        os.fdatasync(file.fileno())
        return (time.perf_counter() - started) * 1000


def show(figures: list[Figure]) -> None:
    print(f"{'ms':<62}{'p50':>8}{'p95':>8}{'p99':>8}{'runs':>6}{'must':>7}{'aim':>6}")
    for one in figures:
        bounds = f"{one.must_ms or '':>7}{one.aim_ms or '':>6}  {one.verdict}"
        print(f"{one.what:<62}{one.p50_ms:>8.1f}{one.p95_ms:>8.1f}{one.p99_ms:>8.1f}{one.runs:>6}{bounds}")


def main() -> int:
    """1 when a must is missed."""
    parser = argparse.ArgumentParser(description="Measure how long an agent keeps its user waiting.")
    parser.add_argument("--runs", type=int, default=60, help="repetitions of each single measurement")
    parser.add_argument("--crowd", type=int, default=64, help="agents that work at once")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with installed() as installation:
        figures = measure(installation, runs=options.runs, crowd=options.crowd)
    if options.json:
        rows = [{**asdict(one), "verdict": one.verdict} for one in figures]
        print(json.dumps({"machine": machine(), "figures": rows}, indent=2))
    else:
        print(machine())
        show(figures)
    return 1 if any(one.verdict == "miss" for one in figures) else 0


def machine() -> str:
    """What this was measured on."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = model[0].partition(":")[2].strip() if model else platform.machine()
    return f"{os.cpu_count()} cores ({name}), Linux {platform.release()}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
