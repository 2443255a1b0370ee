"""Many calls: one after another, ahead of one another, at the same time."""

import asyncio
import re
from typing import Final

from raworc.conformance.bench import Bench, Case, described, holds, same
from raworc.conformance.caller import Answer
from raworc.conformance.standin import Reply, Script, Seen, chunk, json_answer, stream_head

_AT_ONCE: Final = 20
_MARK: Final = re.compile(rb"call-(\d+)-")
_STREAM: Final = re.compile(rb'"stream" ?: ?true')


async def a_connection_serves_many_calls(bench: Bench) -> None:
    async with bench.staged(_marked(bench)), bench.line() as line:
        for number in range(3):
            await line.send(_call(bench, number))
            answer = await bench.soon(line.answer(), f"answer {number + 1} on the same connection")
            _answers(answer, number)
            holds(answer.keeps, "a connection that stays open", answer.headers)


async def a_stream_leaves_the_connection_usable(bench: Bench) -> None:
    async with bench.staged(_marked(bench)), bench.line() as line:
        for number in range(2):
            await line.send(_call(bench, number, stream=True))
            _answers(await bench.soon(line.answer(), f"stream {number + 1} on the same connection"), number)


async def requests_sent_ahead_are_answered_in_order(bench: Bench) -> None:
    async with bench.staged(_marked(bench)), bench.line() as line:
        await line.send(b"".join(_call(bench, number) for number in range(4)))
        for number in range(4):
            _answers(await bench.soon(line.answer(), f"answer {number + 1} of 4"), number)


async def a_client_that_wants_the_connection_closed_is_obeyed(bench: Bench) -> None:
    async with bench.staged(), bench.line() as line:
        await line.send(bench.request(extra=[("connection", "close")]))
        same((await line.answer()).body, bench.wire.answer, "the body")
        same(await bench.soon(line.raw(), "the end of the connection"), b"", "what comes behind the answer")


async def calls_at_the_same_time_are_not_mixed_up(bench: Bench) -> None:
    async with bench.staged(_marked(bench)):
        answers = await asyncio.gather(*(bench.call(_call(bench, number)) for number in range(_AT_ONCE)))
    for number, answer in enumerate(answers):
        _answers(answer, number)


async def streams_at_the_same_time_are_not_mixed_up(bench: Bench) -> None:
    """All are open before any goes on: a gateway that serves them one by one never gets there."""
    opened = asyncio.Barrier(_AT_ONCE)

    async def play(seen: Seen, reply: Reply) -> None:
        first, *rest = _events(bench, seen)
        await reply.send(stream_head() + chunk(first))
        await opened.wait()
        await reply.send(*map(chunk, rest), chunk(b""))

    async with bench.staged(play):
        calls = asyncio.gather(*(bench.call(_call(bench, number, stream=True)) for number in range(_AT_ONCE)))
        answers = await bench.soon(calls, f"{_AT_ONCE} streams at the same time")
    for number, answer in enumerate(answers):
        _answers(answer, number)


async def a_call_that_waits_holds_up_no_other(bench: Bench) -> None:
    here, go = asyncio.Event(), asyncio.Event()

    async def play(seen: Seen, reply: Reply) -> None:
        if _mark(0) in seen.body:
            here.set()
            await go.wait()
        await _marked(bench)(seen, reply)

    async with bench.staged(play):
        waiting = asyncio.ensure_future(bench.call(_call(bench, 0)))
        try:
            await bench.soon(here.wait(), "the first call at the provider")
            _answers(await bench.soon(bench.call(_call(bench, 1)), "the second answer while the first call waits"), 1)
            go.set()
            _answers(await bench.soon(waiting, "the first answer"), 0)
        finally:
            waiting.cancel()


async def an_abandoned_stream_harms_no_other(bench: Bench) -> None:
    async with bench.staged(_marked(bench)):
        async with bench.line() as line:
            await line.send(_call(bench, 0, stream=True))
            await bench.soon(line.head(), "the head of the stream")
        _answers(await bench.call(_call(bench, 1, stream=True)), 1)


async def a_probe_is_answered(bench: Bench) -> None:
    """Clients ask ``HEAD /`` whether somebody is there; it may be refused, but not fail."""
    async with bench.line() as line:
        await line.send(bench.head([("connection", "close")], target="/", method="HEAD") + b"\r\n\r\n")
        told = await bench.soon(line.raw(), "an answer to 'HEAD /'")
    status = told.split(b" ")[1:2]
    holds(status and status[0] < b"500", "a status below 500", told[:60])
    same(told.partition(b"\r\n\r\n")[2], b"", "the body")


async def models_are_listed(bench: Bench) -> None:
    target = "/v1/models?limit=1000"
    async with bench.staged(_models(), "/v1/models"), bench.line() as line:
        await line.send(bench.head(target=target, method="GET") + b"\r\n\r\n")
        answer = await bench.soon(line.answer(), "the list of models")
    same(answer.status, 200, "the status, which may be no redirect")
    holds(isinstance(bench.object(answer).get("data"), list), "an object with a list 'data'", answer.body[:60])


async def one_model_is_shown(bench: Bench) -> None:
    target = f"/v1/models/{bench.subject.model}"
    async with bench.staged(_models(), target), bench.line() as line:
        await line.send(bench.head(target=target, method="GET") + b"\r\n\r\n")
        answer = await bench.soon(line.answer(), "the model")
    same(answer.status, 200, "the status")
    same(bench.object(answer).get("id"), bench.subject.model, "the model's id")


def _mark(number: int) -> bytes:
    return b"call-%d-" % number


def _call(bench: Bench, number: int, *, stream: bool = False) -> bytes:
    return bench.request(bench.body(stream=stream, text=_mark(number).decode() * 50))


def _answers(answer: Answer, number: int) -> None:
    marks = {int(found) for found in _MARK.findall(answer.body)}
    holds(marks == {number}, f"the answer to call {number}", f"{described(answer)} with marks of {sorted(marks)}")


def _events(bench: Bench, seen: Seen) -> list[bytes]:
    found = _MARK.search(seen.body)
    mark = found[0] if found else b"none"
    return [event.replace(b"h\xc3\xa9llo", mark) for event in bench.wire.events]


def _marked(bench: Bench) -> Script:
    """Answer, as a stream when one is asked for, with the mark that the request has."""

    async def play(seen: Seen, reply: Reply) -> None:
        if _STREAM.search(seen.body):
            await reply.send(stream_head(), *map(chunk, _events(bench, seen)), chunk(b""))
            return
        found = _MARK.search(seen.body)
        await reply.send(json_answer(bench.wire.answer.replace(b"\\u00e9", found[0] if found else b"none")))

    return play


def _models() -> Script:
    async def play(seen: Seen, reply: Reply) -> None:
        name = seen.path.rpartition("/")[2].encode()
        one = b'{"id":"%b","type":"model","object":"model","display_name":"M","created_at":"2026-01-01T00:00:00Z"}'
        if name == b"models":
            await reply.send(json_answer(b'{"object":"list","data":[%b],"has_more":false}' % (one % b"conformance")))
        else:
            await reply.send(json_answer(one % name))

    return play


CASES: Final[tuple[Case, ...]] = (
    a_connection_serves_many_calls,
    a_stream_leaves_the_connection_usable,
    requests_sent_ahead_are_answered_in_order,
    a_client_that_wants_the_connection_closed_is_obeyed,
    calls_at_the_same_time_are_not_mixed_up,
    streams_at_the_same_time_are_not_mixed_up,
    a_call_that_waits_holds_up_no_other,
    an_abandoned_stream_harms_no_other,
    a_probe_is_answered,
    models_are_listed,
    one_model_is_shown,
)
