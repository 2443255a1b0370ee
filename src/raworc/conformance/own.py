"""What this project's gateway adds, and no other one has to: run only when asked for."""

from typing import Final

from raworc.conformance.bench import Bench, Case, holds, same
from raworc.conformance.standin import json_answer, plays

_TELEMETRY: Final = "/api/event_logging/batch"


async def our_headers_stay_here(bench: Bench) -> None:
    extra = [("msl-train-id", "conformance"), ("raworc-odd", "1")]
    seen = await bench.sent(bench.request(extra=extra))
    same([name for name, _ in extra if seen.values(name)], [], "our headers at the provider")


async def the_call_has_an_id_of_ours(bench: Bench) -> None:
    answer = await bench.told(plays(json_answer(b"{}", "200 OK", "request-id: req_theirs")))
    same(answer.values("request-id"), ["req_theirs"], "the provider's id")
    holds(len(answer.values("x-raworc-request-id")) == 1, "one 'x-raworc-request-id'", answer.headers)


async def a_bad_train_id_is_refused(bench: Bench) -> None:
    async with bench.staged() as stage:
        answer = await bench.call(bench.request(extra=[("msl-train-id", "not a train")]))
    same((answer.status, len(stage.seen)), (400, 0), "status, and calls at the provider")
    holds(bench.is_error(answer), f"an error as '{bench.wire.name}' tells it", answer.body[:60])


async def telemetry_goes_nowhere(bench: Bench) -> None:
    async with bench.staged(path=_TELEMETRY) as stage:
        answer = await bench.call(bench.request(b"{}", target=_TELEMETRY))
    same((answer.status, answer.body), (200, b'{"status":"ok"}'), "the answer")
    same(len(stage.seen), 0, "calls at the provider")


async def a_probe_says_yes(bench: Bench) -> None:
    async with bench.line() as line:
        await line.send(bench.head([("connection", "close")], target="/", method="HEAD") + b"\r\n\r\n")
        told = await line.raw()
    holds(told.startswith(b"HTTP/1.1 200 "), "200", told[:40])


CASES: Final[tuple[Case, ...]] = (
    our_headers_stay_here,
    the_call_has_an_id_of_ours,
    a_bad_train_id_is_refused,
    telemetry_goes_nowhere,
    a_probe_says_yes,
)
