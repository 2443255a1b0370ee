"""The HTTP edge against raw bytes: malformed requests, slow ones, huge ones, and readers that do not read."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from raworc.api.cycle import Calls
from raworc.api.dispatch import Dispatcher
from raworc.api.edge import EdgeOptions
from raworc.wire.peer import Left, Line
from served import Served, reply, serve

pytestmark = pytest.mark.anyio

KEY = b"k" * 32


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers what it was asked: the path, and the body's size."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        more = message["more_body"]
    await reply(send, json.dumps({"path": scope["path"], "size": size}).encode())


class Echo:
    """The same, of model calls."""

    async def serve(self, line: Line) -> None:
        with contextlib.suppress(Left):
            size = len(await line.body(2**30))
            body = json.dumps({"path": line.path, "size": size}).encode()
            line.start(200, [(b"content-length", b"%d" % len(body))])
            line.piece(body, last=True)


class OnlyCalls(Dispatcher):
    """Whatever is asked is a model call."""

    def __init__(self, calls: Calls) -> None:
        super().__init__(echo, calls)
        self._calls = calls

    def calls(self, *_: str) -> Calls:
        return self._calls


@pytest.fixture
def options(home: Path) -> EdgeOptions:
    return EdgeOptions(
        door_socket=str(home / "gateway.sock"),
        model_socket=str(home / "model.sock"),
        door_key=KEY,
        header_timeout_s=0.3,
        body_idle_timeout_s=0.3,
        write_timeout_s=0.3,
    )


@pytest.fixture(params=[echo, OnlyCalls(Echo())], ids=["application", "gateway"])
async def edge(request: pytest.FixtureRequest, options: EdgeOptions) -> AsyncIterator[Served]:
    async with serve(request.param, options) as served:
        yield served


MALFORMED = {
    "nonsense": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "unknown version": b"GET / HTTP/9.9\r\n\r\n",
    "http2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "unknown method": b"BREW /pot HTTP/1.1\r\nhost: a\r\n\r\n",
    "connect": b"CONNECT example.com:443 HTTP/1.1\r\nhost: a\r\n\r\n",
    "space in header name": b"GET / HTTP/1.1\r\nho st: a\r\n\r\n",
    "header without colon": b"GET / HTTP/1.1\r\nnothing\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nhost: a\r\n folded\r\n\r\n",
    "nul in header": b"GET / HTTP/1.1\r\nhost: a\x00b\r\n\r\n",
    "bare cr": b"GET / HTTP/1.1\rhost: a\r\r",
    "raw bytes in path": b"GET /\xff\xfe HTTP/1.1\r\nhost: a\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
    "length and chunked": b"POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative length": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
    "huge length": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999999\r\n\r\n",
    "length of words": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ten\r\n\r\n",
    "bad chunk size": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "chunk without end": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
    "odd transfer encoding": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_not_http_gets_400_in_the_one_error_body_and_a_closed_connection(
    edge: Served, request_bytes: bytes
):
    answer = await edge.ask(request_bytes)

    body = json.loads(answer.body)
    assert answer.status == 400
    assert answer.closed
    assert body["error"]["code"] == "BAD_REQUEST"
    assert body["message"] == body["error"]["message"]
    assert uuid.UUID(body["request_id"])


@pytest.mark.parametrize(
    ("target", "path"),
    {
        b"*": "*",
        b"//double": "//double",
        b"/a/../b": "/a/../b",
        b"http://h/abs": "/abs",
        b"/%2e%2e/%00": "/../\0",
    }.items(),
)
async def test_odd_but_legal_targets_reach_the_application_unchanged(edge: Served, target: bytes, path: str):
    answer = await edge.ask(b"OPTIONS " + target + b" HTTP/1.1\r\nhost: a\r\n\r\n")

    assert json.loads(answer.body)["path"] == path


async def test_an_upgrade_that_is_not_offered_is_served_as_plain_http(edge: Served):
    answer = await edge.ask(
        b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: eA==\r\n\r\n"
    )

    assert answer.status == 200


async def test_headers_above_the_limit_are_refused_in_one_piece(edge: Served):
    answer = await edge.ask(b"GET / HTTP/1.1\r\nhost: a\r\nx-big: " + b"a" * 70_000 + b"\r\n\r\n")

    assert answer.status == 400
    assert "headers" in json.loads(answer.body)["message"]


async def test_a_header_that_never_ends_is_cut_at_the_limit(edge: Served):
    async with edge.wire() as wire:
        await wire.send(b"GET / HTTP/1.1\r\nhost: a\r\nx-big: ")
        for _ in range(400):  # he who does not listen while he speaks learns why all the same
            await wire.send(b"a" * 1000)
        assert b" 400 " in (await wire.rest())[:20]


async def test_too_many_headers_are_refused(edge: Served):
    answer = await edge.ask(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 300 + b"\r\n")

    assert answer.status == 400


async def test_headers_beyond_the_limit_are_not_read_to_their_end(edge: Served):
    """Nothing tells that a request was there: its last line is missing. Trailers are bounded, too."""
    many = b"a: b\r\n" * 300
    unfinished = await edge.ask(b"GET / HTTP/1.1\r\n" + many)
    body = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
    trailed = await edge.ask(body + many)

    for answer in (unfinished, trailed):
        assert answer.status == 400
        assert "more than 256" in json.loads(answer.body)["message"]


async def test_an_address_above_the_limit_is_refused(edge: Served):
    answer = await edge.ask(b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n")

    assert answer.status == 400


@pytest.mark.parametrize(
    "rest", [b"x: " + b"y" * 70_000 + b"\r\n\r\n", b"content-length: ten\r\n\r\n"], ids=["too large", "malformed"]
)
async def test_what_never_became_a_request_is_told_by_rfc_9457_too(edge: Served, rest: bytes):
    answer = await edge.ask(b"POST / HTTP/1.1\r\nhost: a\r\naccept: application/problem+json\r\n" + rest)

    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert json.loads(answer.body)["title"] == "Bad Request"


async def test_slow_headers_get_408(edge: Served):
    async with edge.wire() as wire:
        await wire.send(b"GET / HTTP/1.1\r\nhost:")
        answer = await wire.answer()

    assert answer.status == 408
    assert json.loads(answer.body)["error"]["code"] == "REQUEST_TIMEOUT"


async def test_headers_that_trickle_get_408_although_bytes_keep_coming(edge: Served):
    async with edge.wire() as wire:
        await wire.send(b"GET / HTTP/1.1\r\nx: ")

        async def trickle() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    await wire.send(b"a")
                    await asyncio.sleep(0.02)

        task = asyncio.create_task(trickle())
        answer = await wire.answer()
        task.cancel()

    assert answer.status == 408


async def test_a_connection_that_says_nothing_is_closed_without_a_word(edge: Served):
    async with edge.wire() as wire:
        assert await wire.rest() == b""


async def test_a_connection_in_use_outlives_the_deadline_for_headers(edge: Served):
    ends = asyncio.get_running_loop().time() + 0.8
    async with edge.wire() as wire:
        while asyncio.get_running_loop().time() < ends:
            await wire.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert (await wire.answer()).status == 200


async def test_a_body_that_stops_coming_gets_408(edge: Served):
    async with edge.wire() as wire:
        await wire.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
        answer = await wire.answer()

    assert answer.status == 408
    assert answer.closed


async def test_a_body_that_keeps_coming_is_not_timed_out(edge: Served):
    async with edge.wire() as wire:
        await wire.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0.06)
            await wire.send(b"x")
        answer = await wire.answer()

    assert json.loads(answer.body)["size"] == 10


async def test_pipelined_requests_are_answered_in_order(edge: Served):
    async with edge.wire() as wire:
        await wire.send(b"".join(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % n for n in range(50)))
        paths = [json.loads((await wire.answer()).body)["path"] for _ in range(50)]

    assert paths == [f"/{n}" for n in range(50)]


async def test_a_pipelined_request_that_is_broken_ends_the_connection(edge: Served):
    async with edge.wire() as wire:
        await wire.send(b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nnonsense\r\n\r\n")
        said = await wire.rest()

    assert b"HTTP/1.1 5" not in said


async def test_a_reader_that_stops_reading_is_cut_off(options: EdgeOptions):
    ended = asyncio.Event()

    async def flood(_scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(until_gone(receive))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not gone.done():
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
            await asyncio.sleep(0)
        ended.set()

    async with serve(flood, options) as served, served.wire() as wire:
        wire.writer.transport.pause_reading()
        await wire.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await asyncio.wait_for(ended.wait(), 60)


async def test_pipelined_streams_learn_that_the_caller_is_gone(options: EdgeOptions):
    first_gone = asyncio.Event()
    began = asyncio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello", "more_body": True})
        began.set()
        await until_gone(receive)
        if scope["path"] == "/1":
            first_gone.set()

    async with serve(stream, options) as served:
        async with served.wire() as wire:
            await wire.send(b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n")
            await asyncio.wait_for(began.wait(), 60)
        await asyncio.wait_for(first_gone.wait(), 60)


async def test_a_body_sent_after_its_answer_does_not_hold_the_connection(options: EdgeOptions, monkeypatch):
    monkeypatch.setattr("raworc.api.edge._LINGER_S", 0.2)

    async def refuse(_scope: Scope, _receive: Receive, send: Send) -> None:
        await reply(send, b"no")

    async with serve(refuse, options) as served, served.wire() as wire:
        await wire.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n")
        assert (await wire.answer()).body == b"no"

        async def pour() -> None:
            while True:
                await wire.send(b"x" * 1000)
                await asyncio.sleep(0.01)

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(pour(), 60)


async def until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def test_a_stopping_server_tells_its_streams(options: EdgeOptions):
    told = asyncio.Event()

    async def stream(scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello", "more_body": True})
        await scope["raworc"].closing.wait()
        told.set()
        await send({"type": "http.response.body", "body": b""})

    async with serve(stream, options) as served:
        wire = served.wire()
        opened = await wire.__aenter__()
        await opened.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await opened.reader.readuntil(b"hello")
        served.server.should_exit = True
        await asyncio.wait_for(told.wait(), 60)
        await wire.__aexit__(None, None, None)


async def test_empty_lines_are_no_request_and_do_not_hold_a_connection(edge: Served):
    async with edge.wire() as wire:
        await wire.send(b"\r\n")
        assert await wire.rest(2) == b""


async def test_empty_lines_do_not_hold_a_connection_that_was_answered(edge: Served):
    async with edge.wire() as wire:
        await wire.send(b"GET /one HTTP/1.1\r\nhost: a\r\n\r\n")
        await wire.answer()
        await wire.send(b"\r\n")
        await wire.send(b"\r\n")
        assert await wire.rest(2) == b""


async def test_a_body_that_ends_after_its_answer_does_not_hold_the_connection(options: EdgeOptions):
    async def hasty(_scope: Scope, _receive: Receive, send: Send) -> None:
        await reply(send, b"{}")

    async with serve(hasty, options) as served, served.wire() as wire:
        await wire.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhe")
        await wire.answer()
        await wire.send(b"llo")
        assert await wire.rest(2) == b""


async def test_a_slow_answer_outlasts_the_deadline_that_empty_lines_began(options: EdgeOptions):
    async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
        await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.5)
        await reply(send, b"late")

    async with serve(slow, options) as served, served.wire() as wire:
        await wire.send(b"\r\n")
        await wire.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await wire.answer()).body == b"late"
