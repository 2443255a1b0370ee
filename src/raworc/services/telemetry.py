"""What ``/metrics`` tells: the numbers of every process of this home, of its disk, and of the installation.

A process publishes a snapshot of its numbers (``metrics.py``); the dead ones' are removed here. What only the
database knows is asked when somebody looks, at most every ``FRESH_S``. A database that is away is a number, too.
"""

import asyncio
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from raworc import __version__
from raworc.errors import Unavailable
from raworc.metrics import Metrics, Snapshot, snapshot_file
from raworc.services.workers import DEAD_AFTER_S, has_ended
from raworc.store import overview
from raworc.store.database import Database
from raworc.store.overview import Count

FRESH_S: Final = 2.0
_PATIENCE_S: Final = 2.0
_GAUGES: Final = {
    "turns": (
        "raworc_turns",
        "Responses that wait or run, in the whole installation",
        "status",
        ("pending", "processing"),
    ),
    "waiting_s": ("raworc_turns_oldest_pending_seconds", "How long the oldest waiting response has waited", "", ("",)),
    "sessions": ("raworc_sessions_awake", "Agents that do not sleep, by state", "state", ("init", "idle", "busy")),
    "sandboxes": ("raworc_sandboxes_open", "Sandboxes that are awake", "", ("",)),
    "workers": ("raworc_workers", "Processes that are alive", "kind", ("server", "operator", "recorder")),
}


class Telemetry:
    """The numbers as one server shows them; its own are counted with ``metrics``.

    Programs elsewhere may read them with ``token``, where there is one.
    """

    def __init__(
        self, metrics: Metrics, db: Database, *, worker: uuid.UUID, home: Path, token: str | None = None
    ) -> None:
        self.metrics = metrics
        self.token = token
        self._db = db
        self._worker = worker
        self._home = home
        self._asking = asyncio.Lock()
        self._counts: list[Count] | None = None
        self._asked_s = -FRESH_S

    async def show(self) -> bytes:
        """Prometheus' text format."""
        counts = await self._overview()
        snapshots = [self.metrics.snapshot(str(self._worker)), *self._others()]
        registry = CollectorRegistry()
        registry.register(_Shown([*_merged(snapshots), *_installation(counts), *_disk(self._home)]))
        return generate_latest(registry)

    async def _overview(self) -> list[Count] | None:
        async with self._asking:
            if time.monotonic() - self._asked_s >= FRESH_S:
                self._counts = await self._asked()
                self._asked_s = time.monotonic()
            return self._counts

    async def _asked(self) -> list[Count] | None:
        try:
            async with asyncio.timeout(_PATIENCE_S), self._db.reading() as conn:
                return await overview.read(conn, alive_s=DEAD_AFTER_S)
        except (Unavailable, TimeoutError):
            return None

    def _others(self) -> Iterator[Snapshot]:
        run_dir = self._home / "run"
        own = snapshot_file(run_dir, self._worker)
        for file in sorted(own.parent.glob("*.json")):
            if file == own:
                continue
            try:
                if has_ended(run_dir, uuid.UUID(file.stem)):
                    file.unlink(missing_ok=True)
                else:
                    yield msgspec.json.decode(file.read_bytes(), type=Snapshot)
            except (OSError, ValueError):  # it goes away just now, or is none
                continue


class _Shown(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _merged(snapshots: list[Snapshot]) -> list[Metric]:
    """One family a name, each line with its process; of processes that call themselves alike, the sum."""
    found: dict[str, Metric] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for snapshot in snapshots:
        for family in snapshot.families:
            found.setdefault(family.name, Metric(family.name, family.help, family.kind))
            lines = sums.setdefault(family.name, {})
            for line in family.samples:
                key = (line.name, (("process", snapshot.process), *line.labels.items()))
                lines[key] = lines.get(key, 0.0) + line.value
    for name, lines in sums.items():
        for (line_name, labels), value in lines.items():
            found[name].add_sample(line_name, dict(labels), value)
    return list(found.values())


def _installation(counts: list[Count] | None) -> Iterator[Metric]:
    info = GaugeMetricFamily("raworc_build_info", "The version that runs", labels=["version"])
    info.add_metric([__version__], 1)
    yield info
    yield GaugeMetricFamily("raworc_database_up", "Whether the database answers", value=float(counts is not None))
    if counts is None:
        return
    known = {(count.topic, count.kind): count.value for count in counts}
    for topic, (name, text, label, kinds) in _GAUGES.items():
        family = GaugeMetricFamily(name, text, labels=[label] if label else [])
        for kind in kinds:
            family.add_metric([kind] if label else [], known.get((topic, kind), 0.0))
        yield family


def _disk(home: Path) -> Iterator[Metric]:
    status = os.statvfs(home)
    yield GaugeMetricFamily(
        "raworc_disk_free_bytes", "Free space of the home's disk", value=status.f_bavail * status.f_frsize
    )
    yield GaugeMetricFamily(
        "raworc_disk_size_bytes", "Size of the home's disk", value=status.f_blocks * status.f_frsize
    )
    yield GaugeMetricFamily(
        "raworc_spool_bytes", "Recorded model calls on this node that are not stored yet", value=_size(home / "spool")
    )


def _size(folder: Path) -> float:
    total = 0
    for file in folder.glob("*"):
        try:
            total += file.stat().st_size
        except FileNotFoundError:  # loaded meanwhile
            continue
    return float(total)
