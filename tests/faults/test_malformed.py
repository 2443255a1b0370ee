"""Malformed requests over raw sockets: no 5xx, no connection that hangs, no memory that stays, and others are served.

``pytest -s`` shows the figures.
"""

import asyncio
import collections
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cluster import clone, drop
from conftest import short_home
from faults.assault import Assault, Outcome, assaults, outcome
from faults.counts import Counts
from faults.host import memory_mb
from raworc.client import Raworc
from raworc.settings import Settings
from raworc.supervisor.cluster import Cluster
from stack import Stack

_SEED = 20261125
_AT_ONCE = 24
_PATIENCE_S = 1.0
_HANG_S = 15.0
_WARM_UP = 250
_LOGINS_AT_ONCE = 8
_MAX_GROWTH_MB = 24.0
_MAX_P99_MS = 100.0
_ENOUGH_PROBES = 1_000
_TURNS = 3
"""How often an answer waits for a processor: to be asked for, to be made, to be read."""


@dataclass
class Tally:
    """What became of all of them."""

    hung: list[Assault] = field(default_factory=list)
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    failed: list[tuple[Assault, list[int]]] = field(default_factory=list)
    kinds: collections.Counter[str] = field(default_factory=collections.Counter)

    def add(self, assault: Assault, found: Outcome) -> None:
        self.kinds[assault.kind] += 1
        self.statuses.update(found.statuses)
        if found.hung:
            self.hung.append(assault)
        if any(status >= 500 for status in found.statuses):
            self.failed.append((assault, found.statuses))


@pytest.fixture(scope="module")
def stack(postgres: Cluster) -> Iterator[Stack]:
    """A server alone, which does not wait long for what is slow."""
    name = clone(postgres)
    with short_home() as folder:
        chosen = Settings(
            home=folder,
            database_url=postgres.url(name),
            header_timeout_s=_PATIENCE_S,
            body_idle_timeout_s=_PATIENCE_S,
        )
        running = Stack(chosen)
        try:
            running.start("server")
            yield running
        finally:
            running.close()
            drop(postgres, name)


@pytest.mark.timeout(900)
def test_malformed_requests_harm_nobody(stack: Stack, counts: Counts) -> None:
    parts = urlsplit(stack.url)
    host, port = str(parts.hostname), int(parts.port or 0)
    with Raworc(stack.url) as client:
        token = client.login("admin", "admin").token
    made = assaults(_SEED, token)
    _log_in_at_once(stack.url)
    asyncio.run(_attack(islice(made, _WARM_UP), host, port))
    before_mb = memory_mb(stack.pid("server"))

    with _prober(host, port) as prober:
        tally = asyncio.run(_attack(islice(made, counts.malformed), host, port))
        measured = json.loads(prober.communicate(timeout=60)[0])

    after_mb, probes = memory_mb(stack.pid("server")), len(measured["took"])
    p99_ms, late_ms = _p99(measured["took"]), _p99(measured["late"])
    figures = f"{sum(tally.kinds.values())} requests {dict(tally.kinds)}, statuses {dict(tally.statuses)}"
    figures += (
        f"; memory {before_mb:.1f} -> {after_mb:.1f} MB; {probes} probes, p99 {p99_ms:.1f}, waking {late_ms:.1f} ms"
    )
    print(figures)  # noqa: T201  they are for people
    assert tally.failed == []
    assert tally.hung == []
    assert stack.runs("server")
    assert "request failed" not in stack.logs("server")
    assert after_mb - before_mb <= _MAX_GROWTH_MB
    if probes >= _ENOUGH_PROBES:  # the p99 of fewer is a single one
        assert p99_ms <= _MAX_P99_MS + _TURNS * late_ms  # what a busy machine makes all wait is not the server's


def _log_in_at_once(url: str) -> None:
    """Every thread that hashes passwords takes its 19 MiB with its first hash, and keeps them for the next."""
    with Raworc(url) as client, ThreadPoolExecutor(_LOGINS_AT_ONCE) as threads:
        logins = [threads.submit(client.login, "admin", "admin") for _ in range(_LOGINS_AT_ONCE)]
        assert all(login.result().token for login in logins)


async def _attack(made: Iterator[Assault], host: str, port: int) -> Tally:
    tally = Tally()

    async def attacker() -> None:
        for assault in made:
            tally.add(assault, await outcome(assault, host, port, limit_s=_HANG_S))

    await asyncio.gather(*(attacker() for _ in range(_AT_ONCE)))
    return tally


def _prober(host: str, port: int) -> subprocess.Popen[str]:
    program = Path(__file__).with_name("prober.py")
    return subprocess.Popen(
        [sys.executable, str(program), host, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _p99(found_ms: list[float]) -> float:
    return sorted(found_ms)[int(len(found_ms) * 0.99)]


def test_a_hang_and_a_failure_are_found() -> None:
    """The measure itself: a server that says nothing hangs, one that answers 500 fails."""
    assault = next(assaults(1, "token"))

    async def measure(answer: bytes | None) -> Outcome:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if answer:
                writer.write(answer)
            await reader.read()
            await asyncio.Event().wait()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            return await outcome(assault, "127.0.0.1", port, limit_s=0.5)
        finally:
            server.close()

    assert asyncio.run(measure(None)).hung
    assert asyncio.run(measure(b"HTTP/1.1 500 x\r\n\r\n")) == Outcome([500], hung=False)
