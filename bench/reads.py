"""How many reads of agents one server process answers: one agent, and a page of 30 out of 10,000.

usage: .venv/bin/python bench/reads.py [--agents 10000] [--seconds 10] [--connections 32] [--json]

Starts ``raworc up`` on an empty home, adds sleeping agents straight to its database, and asks over keep-alive
connections. The server process is kept on one core; Postgres and the asking share the others. ``processor`` is the
server's own time for each answer, which other work on the machine does not change.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg

from installation import Installation, installed
from turns import machine

FILL = """
WITH made AS (
    INSERT INTO sessions (id, space, kind, state, idle_timeout_s, busy_timeout_s, last_activity_at)
    SELECT gen_random_uuid(), 'default', 'home', 'slept', 300, 3600, now() FROM generate_series(1, %(count)s)
    RETURNING id, number
)
INSERT INTO agents (id, kind, name, space, session_id, owner_id, created_by, description, tags, created_at)
SELECT gen_random_uuid(), 'named', 'many-' || number, 'default', made.id, accounts.id, 'admin',
       'One of many agents', ARRAY['bench'], now() - number * interval '1 second'
FROM made, accounts WHERE accounts.name = 'admin'
"""


@dataclass(frozen=True)
class Figure:
    """One kind of read. Times are milliseconds as the client sees them."""

    what: str
    per_second: float
    p50_ms: float
    p99_ms: float
    processor_ms: float
    must_per_second: float
    must_p99_ms: float = 80.0

    @property
    def verdict(self) -> str:
        return "ok" if self.per_second >= self.must_per_second and self.p99_ms <= self.must_p99_ms else "miss"


class Asker(asyncio.Protocol):
    """One connection that asks the same again as soon as it is answered, until its time is up."""

    def __init__(self, request: bytes, ends_s: float, times_ms: list[float]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request, self._ends_s, self._times_ms = request, ends_s, times_ms
        self._held = b""
        self._wanted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._held += data
        if not self._wanted:
            head, found, _ = self._held.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 200 " not in head[:16]:
                self.done.set_exception(RuntimeError(self._held[:300].decode(errors="replace")))
                return
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self._wanted = len(head) + 4 + int(length)
        if len(self._held) >= self._wanted:
            self._times_ms.append((time.perf_counter() - self._began_s) * 1000)
            self._held, self._wanted = b"", 0
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or RuntimeError("the server closed the connection"))

    def _ask(self) -> None:
        self._began_s = time.perf_counter()
        if self._began_s < self._ends_s:
            self._transport.write(self._request)  # type: ignore[attr-defined]
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()


async def ask(port: int, request: bytes, *, connections: int, seconds: float) -> tuple[list[float], float]:
    """Every answer's time, and how long it all took."""
    times_ms: list[float] = []
    started = time.perf_counter()
    loop = asyncio.get_running_loop()
    pairs = [
        await loop.create_connection(lambda: Asker(request, started + seconds, times_ms), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(asker.done for _, asker in pairs))
    return times_ms, time.perf_counter() - started


def measure(installation: Installation, options: argparse.Namespace) -> list[Figure]:
    fill(installation, options.agents)
    server = server_pid(installation.home)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(server, cores[:1])
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[1:])
        for pid in postgres_pids(installation.home):
            os.sched_setaffinity(pid, cores[1:])
    reads = (("GET agent", "/agents/many-500", 800), (f"a page of 30 out of {options.agents}", "/agents?limit=30", 350))
    figures: list[Figure] = []
    for what, path, must in reads:
        request = asking(installation, path)
        asyncio.run(ask(installation.port, request, connections=options.connections, seconds=1.0))  # warm up
        before_s = processor_s(server)
        times_ms, took_s = asyncio.run(
            ask(installation.port, request, connections=options.connections, seconds=options.seconds)
        )
        spent_ms = (processor_s(server) - before_s) * 1000
        cuts = statistics.quantiles(times_ms, n=100, method="inclusive")
        count = len(times_ms)
        figures.append(Figure(what, count / took_s, cuts[49], cuts[98], spent_ms / count, must))
    return figures


def fill(installation: Installation, count: int) -> None:
    with psycopg.connect(database_url(installation.home), autocommit=True) as conn:
        conn.execute(FILL, {"count": count})
        conn.execute("ANALYZE")


def asking(installation: Installation, path: str) -> bytes:
    lines = [f"GET /agents/api/v0{path} HTTP/1.1", "Host: bench", f"Authorization: Bearer {installation.token}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def server_pid(home: Path) -> int:
    return next(
        pid for pid, words in processes() if any('"server-1"' in word for word in words) and str(home) in environ(pid)
    )


def postgres_pids(home: Path) -> list[int]:
    """The postmaster and what it has started: new backends inherit where it may run."""
    found = [pid for pid, words in processes() if "postgres" in words[0] and str(home) in " ".join(words)]
    return found + [pid for pid, _ in processes() if parent(pid) in found]


def processes() -> list[tuple[int, list[str]]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            found.append((int(entry.name), words))
    return found


def environ(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def database_url(home: Path) -> str:
    return next(
        line.removeprefix("RAWORC_DATABASE_URL=")
        for line in environ(server_pid(home)).split("\0")
        if line.startswith("RAWORC_DATABASE_URL=")
    )


def main() -> int:
    """1 when a must is missed."""
    parser = argparse.ArgumentParser(description="Measure reads of agents.")
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with installed() as installation:
        figures = measure(installation, options)
    if options.json:
        rows = [{**asdict(one), "verdict": one.verdict} for one in figures]
        print(json.dumps({"machine": machine(), "figures": rows}, indent=2))
    else:
        print(machine())
        print(f"{'':<32}{'per s':>8}{'p50 ms':>8}{'p99 ms':>8}{'processor ms':>14}{'must':>6}")
        for one in figures:
            print(
                f"{one.what:<32}{one.per_second:>8.0f}{one.p50_ms:>8.1f}{one.p99_ms:>8.1f}{one.processor_ms:>14.2f}"
                f"{one.must_per_second:>6.0f}  {one.verdict}"
            )
    return 1 if any(one.verdict == "miss" for one in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
