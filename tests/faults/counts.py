"""How much of each fault: small counts in every run of the suite, the long table with ``--faults``."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    operator_kills: int
    backend_kills: int
    streamed_tools: int
    crowd: int
    malformed: int
    every_point: bool
    raced_reads: int
    raced_writes: int
    outage_s: float
    server_kills: int
    recorder_steps: int


SMALL = Counts(
    operator_kills=10,
    backend_kills=4,
    streamed_tools=12,
    crowd=16,
    malformed=400,
    every_point=False,
    raced_reads=2_000,
    raced_writes=150,
    outage_s=2.0,
    server_kills=2,
    recorder_steps=3,
)
LONG = Counts(
    operator_kills=200,
    backend_kills=25,
    streamed_tools=40,
    crowd=64,
    malformed=10_000,
    every_point=True,
    raced_reads=50_000,
    raced_writes=5_000,
    outage_s=60.0,
    server_kills=40,
    recorder_steps=1,
)
