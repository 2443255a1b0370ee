"""Whether server and recorder grow with the number of model calls that went through them, every call recorded.

usage: .venv/bin/python bench/memory.py [--calls 200000] [--slices 8] [--json]

The provider and the load generator of ``bench/gateway.py``, three of four calls JSON, one a stream of 36 events, over
32 connections. After each slice the recorder's backlog is waited for and the memory of both processes is read: what is
a process' own, and its share of what it shares. The first slice is warm-up (caches fill, the allocator takes its
pools); what comes after it has to stay where it is.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from gateway import memory_mb, ours, recorder_pid, settled, tools
from turns import machine

MOST_GROWTH_MB = 16.0
_STREAMED_SHARE = 4
_TURN_S = 3.0


@dataclass(frozen=True)
class Point:
    """Memory after so many calls, MiB."""

    calls: int
    server_mb: float
    recorder_mb: float


def grown(calls: int, slices: int) -> Iterator[Point]:
    """Memory after each slice, while ``calls`` calls are made."""
    with tools() as made, ours(made) as (system, running):
        server, recorder = system.pids()[0], recorder_pid(running.home)
        yield Point(0, memory_mb(server), memory_mb(recorder))
        for slice_ in range(1, slices + 1):
            done, turn = 0, 0
            while done < calls * slice_ // slices:
                made.run(system, "sse" if turn % _STREAMED_SHARE == 0 else "json", seconds=_TURN_S)
                done, turn = settled(running), turn + 1
            yield Point(done, memory_mb(server), memory_mb(recorder))


def growth_mb(points: list[Point]) -> dict[str, float]:
    """How much each process grew after the first slice."""
    warm, last = points[1], points[-1]
    return {"server": last.server_mb - warm.server_mb, "recorder": last.recorder_mb - warm.recorder_mb}


def main() -> int:
    """1 when a process grew by more than it may."""
    parser = argparse.ArgumentParser(description="See whether memory grows with the number of calls.")
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    points: list[Point] = []
    for point in grown(options.calls, max(options.slices, 2)):
        points.append(point)
        if not options.json:
            print(f"{point.calls:>9,} calls  server {point.server_mb:6.1f} MiB  recorder {point.recorder_mb:6.1f} MiB")
            sys.stdout.flush()
    growth = growth_mb(points)
    if options.json:
        print(json.dumps({"machine": machine(), "points": [asdict(p) for p in points], "growth_mb": growth}, indent=2))
    else:
        told = ", ".join(f"{name} {grown_mb:+.1f} MiB" for name, grown_mb in growth.items())
        print(f"after the first slice: {told} (at most {MOST_GROWTH_MB:.0f})")
    return 1 if max(growth.values()) > MOST_GROWTH_MB else 0


if __name__ == "__main__":
    sys.exit(main())
