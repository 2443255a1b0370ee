"""Running the checks: each by itself, with a deadline, on every wire that it is about."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from raworc.conformance import answers, breaks, connections, messages, own, refusals, requests, responses, streams
from raworc.conformance.bench import Bench, Case, Failure, Subject, described
from raworc.conformance.caller import connected
from raworc.conformance.standin import Standin
from raworc.conformance.wires import MESSAGES, RESPONSES, Wire

DEADLINE_S: Final = 20.0


@dataclass(frozen=True)
class Check:
    """``wires``: the only ones that it is about; none means all. ``own``: it concerns our own gateway alone."""

    case: Case
    wires: frozenset[str] = frozenset()
    own: bool = False

    @property
    def name(self) -> str:
        """What holds when it holds."""
        return self.case.__name__.replace("_", "-")

    def concerns(self, wire: Wire) -> bool:
        """Whether it is to be run on this wire."""
        return not self.wires or wire.name in self.wires


@dataclass(frozen=True)
class Result:
    """What came of one check. ``expected`` and ``came`` are told when it failed."""

    name: str
    wire: str
    own: bool
    outcome: Literal["ok", "failed", "not run"]
    expected: str | None = None
    came: str | None = None
    took_ms: int = 0


FIRST: Final = Check(requests.the_provider_is_reached)
"""Without it no other one means anything: where it fails, the rest of its wire is not run."""

CHECKS: Final = (
    FIRST,
    *map(Check, (*requests.CASES, *answers.CASES, *streams.CASES, *connections.CASES)),
    *(Check(case, wires=frozenset({MESSAGES.name})) for case in messages.CASES),
    *(Check(case, wires=frozenset({RESPONSES.name})) for case in responses.CASES),
    *map(Check, (*breaks.CASES, *refusals.CASES)),
    *(Check(case, own=True) for case in own.CASES),
)


async def examine(
    subject: Subject, wires: Sequence[Wire], standin: Standin, chosen: Callable[[Check], bool]
) -> AsyncGenerator[Result]:
    """The results, one by one."""
    for wire in wires:
        bench, reached = Bench(subject, wire, standin), True
        for check in CHECKS:
            if check is not FIRST and not (check.concerns(wire) and chosen(check)):
                continue
            if not reached:
                yield Result(check.name, wire.name, check.own, "not run")
                continue
            result = await _result(check, bench)
            reached = check is not FIRST or result.outcome == "ok"
            yield result


async def stranger_at(subject: Subject, wire: Wire, standin: Standin) -> str | None:
    """None when a call to the gateway arrives at our stand-in; else what the gateway answered instead.

    Raises:
        OSError: nobody listens there, or it closed the connection.
    """
    bench = Bench(subject, wire, standin)
    async with bench.staged() as stage, connected(subject.address) as line, asyncio.timeout(DEADLINE_S):
        await line.send(bench.request())
        answer = await line.answer()
    return None if stage.seen else described(answer)


async def _result(check: Check, bench: Bench) -> Result:
    began = time.monotonic()
    expected = came = None
    try:
        async with asyncio.timeout(DEADLINE_S):
            await check.case(bench)
    except Failure as failure:
        expected, came = failure.expected, failure.came
    except TimeoutError:
        expected, came = "an end", f"none within {DEADLINE_S:g} s"
    except (OSError, asyncio.IncompleteReadError) as error:
        expected, came = "an answer", f"{type(error).__name__}: {error}"
    took_ms = round((time.monotonic() - began) * 1000)
    outcome = "ok" if expected is None else "failed"
    return Result(check.name, bench.wire.name, check.own, outcome, expected, came, took_ms)
