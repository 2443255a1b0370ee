"""What a model call costs on its way through the gateway, beside other gateways, every call recorded.

usage: .venv/bin/python bench/gateway.py [--rounds 3] [--seconds 3] [--without NAME]... [--json]

A provider and a load generator in C (``bench/loopback``, compiled here) run on the first core, the measured system on
the last one: our server process under a client key, with Postgres and recorder beside the generator. All systems are
asked in turns, so neighbours' work meets all of them, the other gateways stopped meanwhile; medians of the rounds.
*Processor* is what the system itself used for 1,000 calls: where the generator's core is full it says more than calls
per second.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx2
import psycopg

from installation import Installation, installed
from peers import Absent, System, family, litellm, nginx, portkey, wait_ready
from reads import database_url, postgres_pids, processes, server_pid
from turns import machine

PROVIDER = 8100
OURS = "Raworc"
_LOOPBACK = Path(__file__).parent / "loopback"
_PROMPT = "You are a coding agent. Ticket NONCE00000. " + "Refactor the following function and explain each step. " * 10
_BODY = {
    "model": "claude-sonnet-4-20250514",
    "max_tokens": 1024,
    "system": [{"type": "text", "text": "Answer briefly and cite the file names that you changed."}],
    "messages": [{"role": "user", "content": _PROMPT}],
    "metadata": {"user_id": "user_1"},
}
_CONNECTIONS = 32
_STREAMS = 300
_SETTLE_S = 120.0
_QUIET_S = 3.0


@dataclass(frozen=True)
class Run:
    """One system under one load. Times are milliseconds, ``processor_s`` is for 1,000 calls."""

    system: str
    load: str
    per_second: float
    p50_ms: float
    p99_ms: float
    processor_s: float
    errors: int
    failure: str


@dataclass(frozen=True)
class Tools:
    """The compiled programs, the bodies of requests, and the cores."""

    folder: Path
    easy: int
    measured: int

    def run(self, system: System, load: str, *, seconds: float, connections: int = _CONNECTIONS, rate: int = 0) -> Run:
        """Ask ``system`` as often as it answers, or ``rate`` times a second."""
        words = [self.folder / "load", system.port, "/v1/messages", self.folder / f"{load}.json"]
        words += [seconds, connections, rate, *system.headers]
        command = ["taskset", "-c", str(self.easy), *map(str, words)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            said = iter(process.stdout or ())
            next(said)  # the time begins
            pids = system.pids()
            before_s = sum(map(processor_s, pids))
            told = json.loads(next(said))
            spent_s = sum(map(processor_s, pids)) - before_s
        count = max(told["count"], 1)
        return Run(
            system.name,
            load if not rate else "latency",
            told["per_second"],
            told["p50_us"] / 1000,
            told["p99_us"] / 1000,
            spent_s / count * 1000,
            told["errors"],
            told["failure"],
        )


@contextmanager
def tools() -> Iterator[Tools]:
    """Compile, write the bodies, start the provider."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="rwb-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx' workers are another user
        for program in ("upstream", "load"):
            source = _LOOPBACK / f"{program}.c"
            subprocess.run(["gcc", "-O2", "-o", str(folder / program), str(source)], check=True)
        bodies = {
            "json": _BODY,
            "sse": {**_BODY, "stream": True},
            "slow": {**_BODY, "stream": True, "stop_sequences": ["pace=150000"]},
        }
        for load, body in bodies.items():
            (folder / f"{load}.json").write_text(json.dumps(body))
        provider = subprocess.Popen(["taskset", "-c", str(cores[0]), str(folder / "upstream"), str(PROVIDER)])
        try:
            yield Tools(folder, cores[0], cores[-1])
        finally:
            provider.terminate()
            provider.wait()


@contextmanager
def ours(made: Tools) -> Iterator[tuple[System, Installation]]:
    """``raworc up``, its server on the measured core, everything else of it beside the generator."""
    with installed(ANTHROPIC_BASE_URL=f"http://127.0.0.1:{PROVIDER}", ANTHROPIC_API_KEY="sk-provider") as running:
        server = server_pid(running.home)
        os.sched_setaffinity(server, [made.measured])
        for pid in (*postgres_pids(running.home), recorder_pid(running.home)):
            os.sched_setaffinity(pid, [made.easy])
        answer = httpx2.post(
            f"http://127.0.0.1:{running.port}/api/keys",
            json={"name": "bench"},
            headers={"authorization": f"Bearer {running.token}"},
            trust_env=False,
        )
        headers = (f"x-api-key: {answer.json()['key']}", "anthropic-version: 2023-06-01")
        system = System(OURS, running.port, headers, lambda: [server])
        wait_ready(system, json.dumps(_BODY).encode(), lambda: None)
        yield system, running


def processor_s(pid: int) -> float:
    """What the threads of a process used; exact, where the ticks of ``/proc/PID/stat`` are guesses for short work."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def recorder_pid(home: Path) -> int:
    return next(
        pid for pid, words in processes() if any('"recorder' in word for word in words) and f"{home}" in told(pid)
    )


def told(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")


def memory_mb(pid: int) -> float:
    """What is this process' own, and its share of what it shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def open_streams(made: Tools, system: System) -> float:
    """MiB that ``_STREAMS`` open streams take at most, above what the idle server has."""
    pid = system.pids()[0]
    idle_mb = most_mb = memory_mb(pid)
    words = [made.folder / "load", system.port, "/v1/messages", made.folder / "slow.json", 4, _STREAMS, 0]
    with subprocess.Popen(list(map(str, [*words, *system.headers])), stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            most_mb = max(most_mb, memory_mb(pid))
            time.sleep(0.1)
    return most_mb - idle_mb


def recorded(running: Installation) -> int:
    with psycopg.connect(database_url(running.home)) as conn:
        return conn.execute("SELECT count(*) FROM requests").fetchone()[0]  # type: ignore[index]


@dataclass(frozen=True)
class Recorder:
    """What recording ``calls`` cost beside the server: processor seconds for 1,000, and how long it lagged behind."""

    calls: int
    recorder_s: float
    postgres_s: float
    behind_s: float


def keeping_up(made: Tools, system: System, running: Installation, *, seconds: float) -> Recorder:
    """As many calls as the server takes, then as long as the recorder needs for the rest."""
    recorder, before = recorder_pid(running.home), settled(running)
    recorder_s, postgres_s = processor_s(recorder), sum(map(processor_s, family(postgres_pids(running.home)[0])))
    made.run(system, "json", seconds=seconds)
    ended_s = time.monotonic()
    calls = settled(running) - before
    behind_s = max(time.monotonic() - ended_s - _QUIET_S, 0.0)
    postgres_s = sum(map(processor_s, family(postgres_pids(running.home)[0]))) - postgres_s
    recorder_s = processor_s(recorder) - recorder_s
    return Recorder(calls, recorder_s / calls * 1000, postgres_s / calls * 1000, behind_s)


def settled(running: Installation) -> int:
    """How many calls are recorded, once no more come."""
    ends_s, count, seen_s = time.monotonic() + _SETTLE_S, -1, time.monotonic()
    while time.monotonic() - seen_s < _QUIET_S:  # a batch may take a slow recorder a second
        if time.monotonic() > ends_s:
            sys.exit("the recorder does not come to an end")
        if (now := recorded(running)) != count:
            count, seen_s = now, time.monotonic()
        time.sleep(0.2)
    return count


def measure(options: argparse.Namespace) -> tuple[list[Run], float, Recorder]:
    with ExitStack() as stack:
        made = stack.enter_context(tools())
        systems = [System("direct", PROVIDER)]
        for peer in (nginx, portkey, litellm):
            if peer.__name__ in options.without:
                continue
            try:
                systems.append(stack.enter_context(peer(made.folder, made.measured, PROVIDER)))
            except Absent as error:
                print(f"left out: {error}", file=sys.stderr)
        own, running = stack.enter_context(ours(made))
        systems.append(own)
        runs: list[Run] = []
        for _ in range(options.rounds):
            for system in systems:
                still([peer for peer in systems if peer not in (system, own)], signal.SIGSTOP)
                still([system], signal.SIGCONT)
                if system.name != "LiteLLM":  # first: the recorder is busy with the others for long, on the easy core
                    runs.append(made.run(system, "json", seconds=options.seconds * 2, connections=8, rate=100))
                runs.append(made.run(system, "json", seconds=options.seconds))
                runs.append(made.run(system, "sse", seconds=options.seconds))
                if system is own:
                    settled(running)
        still(systems, signal.SIGCONT)
        streams_mb = open_streams(made, own)
        return runs, streams_mb, keeping_up(made, own, running, seconds=options.seconds)


def still(systems: list[System], told_them: signal.Signals) -> None:
    """Stop them while another is measured on their core, or let them go on: some work when nobody asks them."""
    for pid in {pid for system in systems for pid in system.pids()}:
        with suppress(ProcessLookupError):
            os.kill(pid, told_them)


def medians(runs: list[Run]) -> dict[tuple[str, str], Run]:
    """By system and load; errors are summed."""
    found: dict[tuple[str, str], Run] = {}
    for key in dict.fromkeys((run.system, run.load) for run in runs):
        same = [run for run in runs if (run.system, run.load) == key]
        figures = {
            name: statistics.median(getattr(run, name) for run in same)
            for name in ("per_second", "p50_ms", "p99_ms", "processor_s")
        }
        failure = next((run.failure for run in same if run.failure), "")
        found[key] = Run(*key, **figures, errors=sum(run.errors for run in same), failure=failure)
    return found


@dataclass(frozen=True)
class Figure:
    """A figure with what it must be at least, or at most."""

    what: str
    value: float
    must: float
    aim: float
    at_most: bool = False

    @property
    def verdict(self) -> str:
        def holds(bar: float) -> bool:
            return self.value <= bar if self.at_most else self.value >= bar

        return "aim" if holds(self.aim) else "must" if holds(self.must) else "miss"


def figures(found: dict[tuple[str, str], Run], streams_mb: float) -> list[Figure]:
    """Ratios by processor time: of the system's core, not of the generator's."""

    def cost(system: str, load: str) -> float | None:
        run = found.get((system, load))
        return run.processor_s if run and run.per_second else None

    made: list[Figure] = []
    ours_json, ours_sse = cost(OURS, "json") or 1, cost(OURS, "sse") or 1
    if portkey_json := cost("Portkey", "json"):
        made.append(Figure("JSON, times Portkey", portkey_json / ours_json, 5, 10))
    if litellm_json := cost("LiteLLM", "json"):
        made.append(Figure("JSON, times LiteLLM", litellm_json / ours_json, 60, 120))
    if nginx_json := cost("nginx", "json"):
        made.append(Figure("JSON, % of nginx", nginx_json / ours_json * 100, 14, 25))
    if nginx_sse := cost("nginx", "sse"):
        made.append(Figure("SSE, processor times nginx's", ours_sse / nginx_sse, 1.8, 1.2, at_most=True))
    if portkey_sse := cost("Portkey", "sse"):
        made.append(Figure("SSE, times Portkey", portkey_sse / ours_sse, 4, 7))
    direct, own = found["direct", "latency"], found[OURS, "latency"]
    made.append(Figure("added at 100/s, p50 ms", own.p50_ms - direct.p50_ms, 1, 0.4, at_most=True))
    made.append(Figure("added at 100/s, p99 ms", own.p99_ms - direct.p99_ms, 5, 5, at_most=True))
    made.append(Figure(f"MiB for {_STREAMS} open streams", streams_mb, 150, 60, at_most=True))
    return made


def main() -> int:
    """1 when a must is missed."""
    parser = argparse.ArgumentParser(description="Measure the gateway beside others.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--without", action="append", default=[], choices=("nginx", "portkey", "litellm"))
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    runs, streams_mb, recorder = measure(options)
    found = medians(runs)
    bars = figures(found, streams_mb)
    if options.json:
        rows = {"runs": [asdict(run) for run in runs], "recorder": asdict(recorder)}
        rows["figures"] = [{**asdict(bar), "verdict": bar.verdict} for bar in bars]
        print(json.dumps({"machine": machine(), **rows}, indent=2))
    else:
        show(list(found.values()), bars, recorder)
    return 1 if any(bar.verdict == "miss" for bar in bars) else 0


def show(found: list[Run], bars: list[Figure], recorder: Recorder) -> None:
    print(machine())
    print(f"{'':<10}{'load':<9}{'per s':>9}{'p50 ms':>9}{'p99 ms':>9}{'processor s / 1,000':>21}{'errors':>8}")
    for run in found:
        print(
            f"{run.system:<10}{run.load:<9}{run.per_second:>9.0f}{run.p50_ms:>9.2f}{run.p99_ms:>9.2f}"
            f"{run.processor_s:>21.3f}{run.errors:>8}  {run.failure[:80]}"
        )
    print(f"\n{'':<32}{'value':>9}{'must':>9}{'aim':>9}")
    for bar in bars:
        print(f"{bar.what:<32}{bar.value:>9.2f}{bar.must:>9.2f}{bar.aim:>9.2f}  {bar.verdict}")
    print(
        f"\nrecording {recorder.calls} calls: recorder {recorder.recorder_s:.2f} and Postgres {recorder.postgres_s:.2f}"
        f" processor s for 1,000; {recorder.behind_s:.1f} s behind at the end"
    )


if __name__ == "__main__":
    sys.exit(main())
