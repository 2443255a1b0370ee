"""What one process counts, for Prometheus: few series, never a label that a caller can choose.

Each process keeps its own numbers in memory, where counting costs a microsecond, and writes them to a file every
``PUBLISH_EVERY_S``; whichever server is asked for ``/metrics`` shows them all (``services/telemetry.py``).
"""

import asyncio
import contextlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

PUBLISH_EVERY_S: Final = 2.0
NO_ROUTE: Final = "none"
_FAST_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_SLOW_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0)
_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One line of the text format."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, frozen=True):
    """All lines of one metric."""

    name: str
    help: str
    kind: str
    samples: list[Sample]


class Snapshot(msgspec.Struct, frozen=True):
    """The numbers of one process; ``worker`` is its id."""

    process: str
    worker: str
    families: list[Family]


class _Durations(Collector):
    """A histogram that costs a third of the library's: it is adding up that is put off until somebody looks."""

    def __init__(self, name: str, text: str, labels: list[str], buckets: tuple[float, ...]) -> None:
        self._described = (name, text, labels)
        self._buckets = buckets
        self._known: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}

    def observe(self, labels: tuple[str, ...], took_s: float) -> None:
        """Count one."""
        known = self._known.get(labels)
        if known is None:
            known = self._known[labels] = ([0] * (len(self._buckets) + 1), [0.0])
        known[0][bisect_left(self._buckets, took_s)] += 1
        known[1][0] += took_s

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The library's."""
        name, text, labels = self._described
        family = HistogramMetricFamily(name, text, labels=labels)
        ends = [*map(str, self._buckets), "+Inf"]
        for values, (counts, (total_s,)) in self._known.items():
            family.add_metric(values, list(zip(ends, accumulate(counts), strict=True)), total_s)
        yield family


class Metrics:
    """The numbers of this process, which shows itself as ``process``."""

    def __init__(self, process: str = "") -> None:
        self.process = process
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = self._histogram(
            "raworc_http_request_duration_seconds",
            "Requests of the API, from their head to the end of the answer",
            ["method", "route", "status"],
            _FAST_S,
        )
        self._calls = _Durations(
            "raworc_model_call_duration_seconds",
            "Model calls through the gateway, from their head to the end of the answer",
            ["caller", "status"],
            _SLOW_S,
        )
        self._registry.register(self._calls)
        self._recorded = self._counter("raworc_recorded_calls", "Model calls that were stored", ["request_type"])
        self._late = self._counter("raworc_late_calls", "Model calls of days that were dropped: not stored", [])
        self._tokens = self._counter("raworc_recorded_tokens", "Tokens of the model calls that were stored", ["kind"])
        self._turns = self._counter("raworc_turns_ended", "Responses that an operator brought to an end", ["status"])
        self._known: dict[tuple[str, ...], Histogram] = {}

    def request(self, method: str, route: str | None, status: int, took_s: float) -> None:
        """A request of the API was answered; 0 is the status of one that got no answer."""
        self._observe(self._requests, (_method(method), route or NO_ROUTE, _class(status)), took_s)

    def model_call(self, caller: str, status: int, took_s: float) -> None:
        """A model call ended."""
        self._calls.observe((caller, _class(status)), took_s)

    def recorded(self, request_type: str, tokens: Mapping[str, int]) -> None:
        """A model call was stored; ``tokens`` by kind."""
        self._recorded.labels(request_type).inc()
        for kind, count in tokens.items():
            self._tokens.labels(kind).inc(count)

    def late(self, calls: int) -> None:
        """Model calls came of days that were dropped already."""
        self._late.inc(calls)

    def turn_ended(self, status: str) -> None:
        """A response reached its end here."""
        self._turns.labels(status).inc()

    def gauge(self, name: str, text: str, read: Callable[[], float], **labels: str) -> None:
        """Show what ``read`` returns when somebody looks. One name may come several times, with other labels."""
        known = self._registry._names_to_collectors.get(name)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        gauge = known if isinstance(known, Gauge) else Gauge(name, text, list(labels), registry=self._registry)
        (gauge.labels(**labels) if labels else gauge).set_function(read)

    def snapshot(self, worker: str) -> Snapshot:
        """The numbers as they are now."""
        families = [
            Family(
                found.name,
                found.documentation,
                found.type,
                [Sample(line.name, line.labels, line.value) for line in found.samples if _is_told(line.name)],
            )
            for found in self._registry.collect()
        ]
        return Snapshot(self.process, worker, [family for family in families if family.samples])

    async def publish(self, file: Path) -> None:
        """Keep ``file`` up to date, for ever; it goes when this ends. Its stem is this process' worker id."""
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = file.with_suffix(".new")
        try:
            while True:
                with contextlib.suppress(OSError):  # a full disk: what is there grows old, and work goes on
                    draft.write_bytes(msgspec.json.encode(self.snapshot(file.stem)))
                    draft.replace(file)
                await asyncio.sleep(PUBLISH_EVERY_S)
        finally:
            for path in (draft, file):
                path.unlink(missing_ok=True)

    def _observe(self, metric: Histogram, labels: tuple[str, ...], took_s: float) -> None:
        child = self._known.get(labels)
        if child is None:
            child = self._known[labels] = metric.labels(*labels)
        child.observe(took_s)

    def _histogram(self, name: str, text: str, labels: list[str], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(name, text, labels, registry=self._registry)


def snapshot_file(run_dir: Path, worker: object) -> Path:
    """Where a process of this home publishes."""
    return run_dir / "metrics" / f"{worker}.json"


def _method(given: str) -> str:
    return given if given in _METHODS else "other"


def _class(status: int) -> str:
    return f"{status // 100}xx" if status else NO_ROUTE


def _is_told(name: str) -> bool:
    return not name.endswith("_created")  # when a series began: Prometheus' text format has no use for it
