"""Model calls on the real HTTP edge: what the gateway is told and what its answers become, without ASGI in between."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from raworc.api.dispatch import Dispatcher
from raworc.api.edge import EdgeOptions
from raworc.wire.peer import Left, Line, TooLarge
from served import Served, reply, serve

pytestmark = pytest.mark.anyio

LIMIT_BYTES = 100_000


async def api(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["more_body"]:
        pass
    await reply(send, b"api " + scope["path"].encode())


class Gateway:
    """Answers as the path says; ``told`` is what became of calls."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[str] = asyncio.Queue()

    async def serve(self, line: Line) -> None:
        try:
            body = await line.body(LIMIT_BYTES)
        except Left:
            self.told.put_nowait(f"left: {line.refusal}")
            return
        except TooLarge:
            line.start(413, [(b"content-length", b"0")])
            line.piece(b"", last=True)
            return
        match line.path:
            case "/v1/defect":
                raise ValueError(line.path)
            case "/v1/nothing":
                return
            case "/v1/half":
                line.start(200, [(b"content-length", b"10")])
                line.piece(b"half", last=False)
            case "/v1/stream":
                await self._stream(line)
            case _:
                said = f"{line.method} {line.target} {len(body)}".encode() + line.named.get(b"x-said", b"")
                said += b"".join(value for name, value in line.headers if name == b"x-said")
                line.start(200, [(b"content-length", b"%d" % len(said))])
                line.piece(said, last=True)

    async def _stream(self, line: Line) -> None:
        gone = asyncio.Event()
        line.on_left = gone.set
        line.start(200, [])
        line.piece(b"first", last=False)
        assert line.may_stream
        line.stream(b"second")
        await gone.wait()
        self.told.put_nowait(f"gone: {line.may_stream}")


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
async def edge(home: Path, gateway: Gateway) -> AsyncIterator[Served]:
    options = EdgeOptions(str(home / "door.sock"), str(home / "model.sock"), b"k" * 32, body_idle_timeout_s=0.3)
    async with serve(Dispatcher(api, gateway), options, keep_alive_s=0.3) as served:
        yield served


def asking(path: str, body: bytes = b"", *headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: a", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/v1/messages?beta=true&x=%20", b"POST /v1/messages?beta=true&x=%20 2"),
        ("/%76%31/messages", b"POST /%76%31/messages 2"),
        ("http://elsewhere/v1/messages#part", b"POST /v1/messages 2"),
        ("/v1", b"api /v1"),
    ],
)
async def test_what_is_below_v1_is_the_gateways_and_its_target_stays_as_it_came(edge: Served, target: str, said: bytes):
    assert (await edge.ask(asking(target, b"{}"))).body == said


async def test_calls_and_other_requests_of_one_connection_are_answered_in_their_order(edge: Served):
    async with edge.wire() as wire:
        await wire.send(asking("/v1/a", b"1") + asking("/b") + asking("/v1/c", b"333") + asking("/d"))
        said = [(await wire.answer()).body for _ in range(4)]

    assert said == [b"POST /v1/a 1", b"api /b", b"POST /v1/c 3", b"api /d"]


async def test_a_client_that_asks_first_is_told_to_send_its_body(edge: Served):
    async with edge.wire() as wire:
        await wire.send(
            asking("/v1/a", b"", "expect: 100-continue").replace(b"content-length: 0", b"content-length: 4")
        )
        assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.send(b"body")
        assert (await wire.answer()).body == b"POST /v1/a 4"


async def test_a_body_is_whole_however_it_comes_and_ends_at_the_limit(edge: Served):
    async with edge.wire() as wire:
        await wire.send(asking("/v1/a", b"x" * LIMIT_BYTES))
        assert (await wire.answer()).body == b"POST /v1/a %d" % LIMIT_BYTES
        await wire.send(b"POST /v1/a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n")
        await wire.send(b"3\r\ncde\r\n0\r\n\r\n")
        assert (await wire.answer()).body == b"POST /v1/a 5"
        await wire.send(asking("/v1/a", b"x" * (LIMIT_BYTES + 1)))
        assert (await wire.answer()).status == 413


async def test_a_trailer_is_no_header_of_the_call(edge: Served):
    body = b"2\r\nab\r\n0\r\nx-said: late\r\n\r\n"
    answer = await edge.ask(b"POST /v1/a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + body)
    assert answer.body == b"POST /v1/a 2"


async def test_a_call_learns_that_its_client_left_and_why_the_edge_ended_it(edge: Served, gateway: Gateway):
    async with edge.wire() as wire:
        await wire.send(asking("/v1/a", b"half").replace(b"content-length: 4", b"content-length: 8"))
    assert await gateway.told.get() == "left: None"

    answer = await edge.ask(asking("/v1/a", b"half").replace(b"content-length: 4", b"content-length: 8"))
    assert answer.status == 408
    assert await gateway.told.get() == "left: No part of the body came for 0.3 s"


async def test_a_stream_learns_that_its_client_left(edge: Served, gateway: Gateway):
    async with edge.wire() as wire:
        await wire.send(asking("/v1/stream"))
        assert (await wire.reader.readuntil(b"second\r\n")).endswith(b"5\r\nfirst\r\n6\r\nsecond\r\n")
    assert await gateway.told.get() == "gone: False"


@pytest.mark.parametrize("path", ["/v1/defect", "/v1/nothing"])
async def test_a_defect_is_answered_and_ends_the_connection(edge: Served, path: str):
    async with edge.wire() as wire:
        await wire.send(asking(path))
        answer = await wire.answer()
        assert (answer.status, answer.closed, await wire.rest()) == (500, True, b"")


async def test_an_answer_that_is_not_whole_ends_with_the_connection(edge: Served):
    async with edge.wire() as wire:
        await wire.send(asking("/v1/half"))
        assert (await wire.rest()).endswith(b"\r\n\r\nhalf")


async def test_an_answer_to_head_has_no_body(edge: Served):
    async with edge.wire() as wire:
        await wire.send(asking("/v1/a", method="HEAD") + asking("/v1/b"))
        said = await wire.rest()
    assert b"content-length: 12\r\n\r\nHTTP/1.1 200 OK" in said
    assert said.endswith(b"POST /v1/b 0")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_connection_is_kept_while_its_client_wants_it_and_not_for_ever(edge: Served, version: str):
    async with edge.wire() as wire:
        await wire.send(asking("/v1/a").replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
        assert (await wire.answer()).closed is (version == "1.0")
        if version == "1.1":
            await wire.send(asking("/v1/a"))
            assert not (await wire.answer()).closed
        assert await wire.rest() == b""
