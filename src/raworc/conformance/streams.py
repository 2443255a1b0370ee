"""What the client gets of a stream: the same bytes, each as soon as it is there."""

import asyncio
from typing import Final

from raworc.conformance.bench import Bench, Case, holds, same
from raworc.conformance.caller import Line
from raworc.conformance.standin import Reply, Script, Seen, chunk, plays, stream_head, streams

_MANY: Final = 2000
_MEGABYTE: Final = 1024 * 1024


async def events_come_back_as_they_are(bench: Bench) -> None:
    await _verbatim(bench, *bench.wire.events)


async def characters_may_be_cut_anywhere(bench: Bench) -> None:
    """The rest of the character is sent only once the client has what stands before it."""
    whole = b"".join(bench.wire.events)
    at = whole.index("\U0001f600".encode())
    go = asyncio.Event()

    async def play(_seen: Seen, reply: Reply) -> None:
        await reply.send(stream_head() + chunk(whole[: at + 1]))
        await go.wait()
        await reply.send(chunk(whole[at + 1 :]), chunk(b""))

    async with bench.staged(play), bench.line() as line:
        await line.send(_streaming(bench))
        await bench.soon(line.head(), "the head of the stream")
        came = await bench.soon(line.take(at), "what stands before the character")
        go.set()
        came += (await bench.soon(line.answer(), "the end of the stream")).body
    same(came, whole, "the stream")


async def single_bytes_come_back(bench: Bench) -> None:
    event = bench.wire.events[0]
    await _verbatim(bench, *(event[at : at + 1] for at in range(len(event))), *bench.wire.events[1:])


async def other_line_ends_stay(bench: Bench) -> None:
    await _verbatim(bench, *(event.replace(b"\n", b"\r\n") for event in bench.wire.events))


async def unknown_events_and_fields_stay(bench: Bench) -> None:
    odd = b'id: 7\nretry: 10\nevent: odd.new\nodd: field\ndata: {"type":"odd.new" , "x":1.0}\ndata: second line\n\n'
    await _verbatim(bench, bench.wire.events[0], odd, *bench.wire.events[1:])


async def comments_stay(bench: Bench) -> None:
    await _verbatim(bench, b": hello\n\n", bench.wire.events[0], b":\n\n", *bench.wire.events[1:])


async def bytes_that_are_no_text_stay(bench: Bench) -> None:
    await _verbatim(bench, b"data: \xff\xfe\x00\xc3\n\n", *bench.wire.events)


async def a_byte_order_mark_and_empty_lines_stay(bench: Bench) -> None:
    await _verbatim(bench, b"\xef\xbb\xbf\n\n\n", *bench.wire.events, b"\n")


async def a_last_event_without_its_empty_line_stays(bench: Bench) -> None:
    *before, last = bench.wire.events
    await _verbatim(bench, *before, last.rstrip(b"\n"))


async def a_very_long_event_comes_back(bench: Bench) -> None:
    await _verbatim(bench, b"data: " + b"x" * (2 * _MEGABYTE) + b"\n\n", *bench.wire.events)


async def very_many_events_come_back_in_order(bench: Bench) -> None:
    many = [b'event: odd\ndata: {"n":%d}\n\n' % number for number in range(_MANY)]
    await _verbatim(bench, bench.wire.events[0], *many, *bench.wire.events[1:])


async def the_streams_headers_come_back(bench: Bench) -> None:
    head = stream_head("cache-control: no-cache", "x-accel-buffering: no", "request-id: req_theirs")
    answer = await bench.told(streams(*bench.wire.events, head=head), _streaming(bench))
    same(answer.values("content-type"), ["text/event-stream; charset=utf-8"], "the header 'content-type'")
    same(answer.values("cache-control"), ["no-cache"], "the header 'cache-control'")
    same(answer.values("request-id"), ["req_theirs"], "the header 'request-id'")
    same(answer.values("content-length"), [], "the header 'content-length'")


async def the_head_comes_before_the_first_event(bench: Bench) -> None:
    go = asyncio.Event()

    async def play(_seen: Seen, reply: Reply) -> None:
        await reply.send(stream_head())
        await go.wait()
        await reply.send(chunk(b"data: 1\n\n"), chunk(b""))

    async with bench.staged(play), bench.line() as line:
        await line.send(_streaming(bench))
        answer = await bench.soon(line.head(), "the head before the first event")
        go.set()
        same((answer.status, await line.take(9)), (200, b"data: 1\n\n"), "what comes then")


async def each_event_comes_at_once(bench: Bench) -> None:
    await _step_by_step(bench, bench.wire.events)


async def a_part_of_an_event_comes_at_once(bench: Bench) -> None:
    event = bench.wire.events[0]
    await _step_by_step(bench, (event[:5], event[5:9], event[9:], *bench.wire.events[1:]))


async def a_comment_comes_at_once(bench: Bench) -> None:
    await _step_by_step(bench, (b": still here\n\n", bench.wire.events[0], b": still here\n\n", *bench.wire.events[1:]))


async def a_part_of_a_plain_answer_comes_at_once(bench: Bench) -> None:
    body = bench.wire.answer
    await _step_by_step(bench, (body[:9], body[9:20], body[20:]), stream_head(kind="application/json"))


async def an_error_event_comes_back(bench: Bench) -> None:
    told = b"event: error\ndata: " + bench.wire.error + b"\n\n"
    answer = await bench.told(streams(bench.wire.events[0], told), _streaming(bench))
    same(answer.body, bench.wire.events[0] + told, "the stream")
    holds(answer.whole, "a stream with an end", "one that is cut off")


async def an_error_before_the_stream_comes_back(bench: Bench) -> None:
    head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    answer = await bench.told(plays(head % len(bench.wire.error) + bench.wire.error), _streaming(bench))
    same((answer.status, answer.body), (400, bench.wire.error), "the answer")


async def a_client_that_reads_late_gets_everything(bench: Bench) -> None:
    many = [b"data: " + b"%06d" % number * 2000 + b"\n\n" for number in range(400)]
    done = asyncio.Event()

    async def play(_seen: Seen, reply: Reply) -> None:
        await reply.send(stream_head(), *map(chunk, many), chunk(b""))
        done.set()

    async with bench.staged(play), bench.line() as line:
        await line.send(_streaming(bench))
        await bench.soon(line.head(), "the head of the stream")
        for _ in range(50):
            await asyncio.sleep(0)
        answer = await line.answer()
    same(answer.body, b"".join(many), "the stream")


async def _verbatim(bench: Bench, *pieces: bytes) -> None:
    answer = await bench.told(streams(*pieces), _streaming(bench))
    same(answer.status, 200, "the status")
    same(answer.body, b"".join(pieces), "the stream")
    holds(answer.whole, "a stream with an end", "one that is cut off")


async def _step_by_step(bench: Bench, pieces: tuple[bytes, ...], head: bytes | None = None) -> None:
    """Each piece is sent only once the client has the one before: whoever waits for more waits in vain."""
    steps: asyncio.Queue[None] = asyncio.Queue()
    async with bench.staged(_stepping(pieces, steps, head or stream_head())), bench.line() as line:
        await line.send(_streaming(bench))
        for number, piece in enumerate(pieces, 1):
            steps.put_nowait(None)
            await bench.soon(line.head(), "the head of the stream")
            what = f"piece {number} of {len(pieces)} before the next one is sent"
            same(await bench.soon(line.take(len(piece)), what), piece, f"piece {number}")
        steps.put_nowait(None)
        await _ends(bench, line)


def _stepping(pieces: tuple[bytes, ...], steps: "asyncio.Queue[None]", head: bytes) -> Script:
    async def play(_seen: Seen, reply: Reply) -> None:
        await reply.send(head)
        for piece in (*pieces, b""):
            await steps.get()
            await reply.send(chunk(piece))

    return play


async def _ends(bench: Bench, line: Line) -> None:
    rest = await bench.soon(line.answer(), "the end of the stream")
    same(rest.body, b"", "what comes behind the last piece")
    holds(rest.whole, "a stream with an end", "one that is cut off")


def _streaming(bench: Bench) -> bytes:
    return bench.request(bench.body(stream=True))


CASES: Final[tuple[Case, ...]] = (
    events_come_back_as_they_are,
    characters_may_be_cut_anywhere,
    single_bytes_come_back,
    other_line_ends_stay,
    unknown_events_and_fields_stay,
    comments_stay,
    bytes_that_are_no_text_stay,
    a_byte_order_mark_and_empty_lines_stay,
    a_last_event_without_its_empty_line_stays,
    a_very_long_event_comes_back,
    very_many_events_come_back_in_order,
    the_streams_headers_come_back,
    the_head_comes_before_the_first_event,
    each_event_comes_at_once,
    a_part_of_an_event_comes_at_once,
    a_comment_comes_at_once,
    a_part_of_a_plain_answer_comes_at_once,
    an_error_event_comes_back,
    an_error_before_the_stream_comes_back,
    a_client_that_reads_late_gets_everything,
)
