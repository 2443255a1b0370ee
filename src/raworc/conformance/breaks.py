"""When one side goes away in the middle: the other one is told."""

import asyncio
from typing import Final

from raworc.conformance.bench import Bench, Case, described, holds, same
from raworc.conformance.caller import Answer
from raworc.conformance.standin import Reply, Seen, chunk, json_answer, stream_head
from raworc.conformance.wires import read_events

_BAD_GATEWAY: Final = range(500, 600)


async def a_stream_that_breaks_off_ends_with_an_error_event(bench: Bench) -> None:
    await _broken(bench, bench.wire.events[0])


async def an_event_that_breaks_off_does_not_swallow_the_error(bench: Bench) -> None:
    event = bench.wire.events[1]
    await _broken(bench, bench.wire.events[0] + event[: len(event) - 4])


async def a_stream_that_breaks_off_before_its_first_event_ends_with_an_error_event(bench: Bench) -> None:
    await _broken(bench, b"")


async def a_break_behind_the_last_event_is_no_error(bench: Bench) -> None:
    whole = b"".join(bench.wire.events)
    answer = await _cut(bench, whole)
    same(answer.body, whole, "the stream")


async def a_plain_answer_that_breaks_off_does_not_look_whole(bench: Bench) -> None:
    half = bench.plain()[:-9]

    async def play(_seen: Seen, reply: Reply) -> None:
        await reply.send(half)
        reply.close()

    try:
        answer = await bench.told(play)
    except ConnectionError:
        return  # cut off before anything was told: as plain as can be
    holds(not answer.whole or answer.status in _BAD_GATEWAY, "5xx, or an answer that is cut off", described(answer))


async def a_provider_that_closes_without_an_answer_is_told(bench: Bench) -> None:
    async def play(_seen: Seen, reply: Reply) -> None:
        reply.cut()

    _told(bench, await bench.told(play))


async def a_provider_that_speaks_no_http_is_told(bench: Bench) -> None:
    _told(bench, await bench.told(_speaks_no_http))


async def the_gateways_own_errors_hold_no_key(bench: Bench) -> None:
    async with bench.staged(_speaks_no_http) as stage:
        answer = await bench.call()
    sent = [value for name in ("x-api-key", "authorization") for value in stage.last.values(name)]
    keys = [value.removeprefix("Bearer ").encode() for value in sent] + [bench.subject.key.encode()]
    same([key for key in keys if key in answer.body], [], "keys in the error")


async def a_client_that_hangs_up_ends_the_stream(bench: Bench) -> None:
    async def play(_seen: Seen, reply: Reply) -> None:
        await reply.send(stream_head() + chunk(bench.wire.events[0]))
        await asyncio.Event().wait()

    async with bench.staged(play) as stage, bench.line() as line:
        await line.send(bench.request(bench.body(stream=True)))
        await bench.soon(line.head(), "the head of the stream")
        await bench.soon(line.piece(), "the first event")
        line.close()
        await bench.soon(stage.left.wait(), "the end of the provider's call")


async def a_client_that_hangs_up_before_the_answer_ends_the_call(bench: Bench) -> None:
    here = asyncio.Event()

    async def play(_seen: Seen, _reply: Reply) -> None:
        here.set()
        await asyncio.Event().wait()

    async with bench.staged(play) as stage, bench.line() as line:
        await line.send(bench.request())
        await bench.soon(here.wait(), "the call at the provider")
        line.close()
        await bench.soon(stage.left.wait(), "the end of the provider's call")


async def a_client_that_hangs_up_amid_its_request_calls_nobody(bench: Bench) -> None:
    async with bench.staged() as stage:
        async with bench.line() as line:
            await line.send(bench.request()[:-9])
        same((await bench.call()).status, 200, "the status of the next call")
        same(len(stage.seen), 1, "calls at the provider")


async def a_connection_that_the_provider_closed_costs_no_call(bench: Bench) -> None:
    async def play(_seen: Seen, reply: Reply) -> None:
        await reply.send(bench.plain())
        reply.close()

    async with bench.staged(play):
        for _ in range(3):
            answer = await bench.call()
            holds(answer.status == 200, "the status 200", described(answer))


async def a_provider_that_refuses_while_the_body_is_sent_is_heard(bench: Bench) -> None:
    async def play(_seen: Seen, reply: Reply) -> None:
        await reply.send(json_answer(bench.wire.error, "413 Content Too Large", "connection: close"))
        reply.close()

    answer = await bench.told(play, bench.request(bench.body(text="x" * 100_000)))
    same((answer.status, answer.body), (413, bench.wire.error), "the answer")


async def _speaks_no_http(_seen: Seen, reply: Reply) -> None:
    await reply.send(b"nonsense\r\n\r\n")
    reply.close()


async def _cut(bench: Bench, sent: bytes) -> Answer:
    async def play(_seen: Seen, reply: Reply) -> None:
        await reply.send(stream_head() + (chunk(sent) if sent else b""))
        reply.close()

    return await bench.told(play, bench.request(bench.body(stream=True)))


async def _broken(bench: Bench, sent: bytes) -> None:
    answer = await _cut(bench, sent)
    events = read_events(answer.body)
    told = bool(events) and bench.wire.tells_error(events[-1])
    holds(told or answer.status in _BAD_GATEWAY, "an error event at the end, or 5xx", _ending(answer))


def _ending(answer: Answer) -> str:
    cut = "" if answer.whole else ", then a cut connection"
    return f"{answer.status} ending in {answer.body[-80:]!r}{cut}"


def _told(bench: Bench, answer: Answer) -> None:
    holds(answer.status in _BAD_GATEWAY, "5xx", described(answer))
    holds(bench.is_error(answer), f"an error as '{bench.wire.name}' tells it", described(answer))


CASES: Final[tuple[Case, ...]] = (
    a_stream_that_breaks_off_ends_with_an_error_event,
    an_event_that_breaks_off_does_not_swallow_the_error,
    a_stream_that_breaks_off_before_its_first_event_ends_with_an_error_event,
    a_break_behind_the_last_event_is_no_error,
    a_plain_answer_that_breaks_off_does_not_look_whole,
    a_provider_that_closes_without_an_answer_is_told,
    a_provider_that_speaks_no_http_is_told,
    the_gateways_own_errors_hold_no_key,
    a_client_that_hangs_up_ends_the_stream,
    a_client_that_hangs_up_before_the_answer_ends_the_call,
    a_client_that_hangs_up_amid_its_request_calls_nobody,
    a_connection_that_the_provider_closed_costs_no_call,
    a_provider_that_refuses_while_the_body_is_sent_is_heard,
)
