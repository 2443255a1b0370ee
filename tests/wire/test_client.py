import asyncio
from pathlib import Path

import pytest

from certificates import Authority, serving
from raworc.wire.client import (
    Client,
    ConnectFailed,
    Target,
    Timeouts,
    UpstreamBroken,
    UpstreamClosed,
    UpstreamTimeout,
    trusting,
)
from standin import Script, answers, chunk, json_answer, standin, stream_head
from waiting import until

pytestmark = pytest.mark.anyio


async def call(client: Client, path: str = "/v1/messages") -> bytes:
    response = await client.open("POST", path, [(b"x-a", b"1")], b"body")
    try:
        return await response.read()
    finally:
        await response.close()


async def test_the_request_is_sent_as_given_and_the_answer_is_handed_on_as_it_came() -> None:
    async with standin(answers(json_answer(b'{"a":1}', "529 Odd", b"X-Two: 1", b"x-two: 2"))) as upstream:
        client = Client(Target.parse(upstream.url + "/base/"))
        response = await client.open("POST", "/v1/x?beta=true&q=%2F", [(b"x-a", b"1"), (b"x-a", b"2")], b"\x00\xff")
        assert await response.read() == b'{"a":1}'
        assert response.status == 529
        assert response.headers[2:] == [(b"x-two", b"1"), (b"x-two", b"2")]
        await response.close()
        await client.close()
    (seen,) = upstream.seen
    assert seen.line == b"POST /base/v1/x?beta=true&q=%2F HTTP/1.1"
    assert seen.header(b"x-a") == [b"1", b"2"]
    assert seen.header(b"host") == [upstream.url.removeprefix("http://").encode()]
    assert seen.body == b"\x00\xff"


async def test_connections_are_used_again() -> None:
    async with standin(answers(json_answer(b"{}"))) as upstream:
        client = Client(Target.parse(upstream.url))
        for _ in range(3):
            assert await call(client) == b"{}"
        assert len(client._pool.idle) == 1
        await client.close()


async def test_chunks_come_as_they_are_written() -> None:
    pieces = [b"event: a\n", "data: é".encode()[:-1], "é".encode()[1:] + b"\n\n"]
    play = answers(stream_head(), *map(chunk, pieces), chunk(b""), delay_s=0.01)
    async with standin(play) as upstream:
        client = Client(Target.parse(upstream.url))
        response = await client.open("POST", "/", [], b"")
        assert [piece async for piece in response.chunks()] == pieces
        assert response.whole
        await response.close()
        await client.close()


async def test_a_body_without_length_ends_with_its_connection() -> None:
    async with standin(answers(b"HTTP/1.1 200 OK\r\n\r\nhello", close=True)) as upstream:
        client = Client(Target.parse(upstream.url))
        assert await call(client) == b"hello"
        assert client._pool.idle == []


async def test_interim_answers_and_trailers_are_passed_over() -> None:
    play = answers(
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + stream_head(),
        chunk(b"data"),
        b"0\r\nx-trailer: 1\r\n\r\n",
    )
    async with standin(play) as upstream:
        client = Client(Target.parse(upstream.url))
        response = await client.open("POST", "/", [], b"")
        assert await response.read() == b"data"
        assert (b"x-trailer", b"1") not in response.headers
        assert (b"link", b"</a>") not in response.headers
        await response.close()


@pytest.mark.parametrize(
    ("play", "error"),
    [
        (answers(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", close=True), UpstreamClosed),
        (answers(stream_head(), chunk(b"half"), close=True), UpstreamClosed),
        (answers(stream_head(), chunk(b"half"), abort=True), UpstreamClosed),
        (answers(close=True), UpstreamClosed),
        (answers(b"BOO\r\n\r\n"), UpstreamBroken),
        (answers(stream_head(), b"zz\r\n"), UpstreamBroken),
        (answers(delay_s=5), UpstreamTimeout),
        (answers(b"HTTP/1.1 200 OK\r\n", delay_s=5), UpstreamTimeout),
        (answers(stream_head(), chunk(b"half"), b"", delay_s=5), UpstreamTimeout),
    ],
)
async def test_answers_that_go_wrong(play: Script, error: type[Exception]) -> None:
    async with standin(play) as upstream:
        client = Client(Target.parse(upstream.url), timeouts=Timeouts(first_byte_s=0.2, idle_s=0.2))
        with pytest.raises(error):
            await call(client)
        assert client._pool.idle == []


async def test_a_kept_connection_has_deadlines_for_each_call() -> None:
    asked = 0

    async def play(writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        if asked != 3:
            writer.write(json_answer(b"{}"))

    async with standin(play) as upstream:
        client = Client(Target.parse(upstream.url), timeouts=Timeouts(first_byte_s=0.2, idle_s=0.2))
        assert await call(client) == b"{}"
        (connection,) = client._pool.idle
        await until(lambda: connection._timer is None)  # it ran out while nothing was asked
        assert await call(client) == b"{}"
        assert client._pool.idle == [connection]
        with pytest.raises(UpstreamTimeout):
            await call(client)


async def test_a_paused_reader_pauses_the_sender_and_is_no_timeout() -> None:
    size, sent = 64 * 1024, 0

    async def play(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(stream_head())
        for _ in range(600):
            writer.write(chunk(b"x" * size))
            await writer.drain()
            sent += size
        writer.write(chunk(b""))

    async with standin(play) as upstream:
        client = Client(Target.parse(upstream.url), timeouts=Timeouts(idle_s=0.3))
        response = await client.open("POST", "/", [], b"")
        before = -1
        while before != sent:  # until the sender is stuck
            before = sent
            await asyncio.sleep(0.4)
        assert sent < 600 * size
        assert sum([len(piece) async for piece in response.chunks()]) == 600 * size
        await response.close()


async def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    async with standin(answers(json_answer(b"{}"))) as upstream:
        client = Client(Target.parse(upstream.url))
        await call(client)
        kept = client._pool.idle[0]
        kept._transport.abort()  # known here only once the loop turns, as when the other side closes
        assert await call(client) == b"{}"
        await client.close()


async def test_surplus_bytes_end_a_connection() -> None:
    async with standin(answers(json_answer(b"ab") + json_answer(b"cd"))) as upstream:
        client = Client(Target.parse(upstream.url))
        assert await call(client) == b"ab"
        assert client._pool.idle == []


async def test_a_cancelled_call_leaves_no_connection() -> None:
    async with standin(answers(delay_s=60)) as upstream:
        client = Client(Target.parse(upstream.url))
        task = asyncio.create_task(call(client))
        await until(lambda: len(upstream.seen) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(upstream.gone.wait(), 60)


async def test_nobody_listens(home: Path) -> None:
    with pytest.raises(ConnectFailed, match="Cannot connect"):
        await call(Client(Target.parse("http://127.0.0.1:1")))
    with pytest.raises(ConnectFailed, match="absent"):
        await call(Client(Target.parse(f"unix:{home}/absent.sock")))


async def test_certificates_are_checked_and_an_authority_of_ones_own_counts_once_it_is_named(home: Path) -> None:
    ours, another = Authority(home / "ours.pem"), Authority(home / "another.pem")
    async with standin(answers(json_answer(b"{}")), serving(ours)) as upstream:
        for trust in (None, trusting(None), trusting(another.file)):
            client = Client(Target.parse(upstream.url), trust=trust)
            with pytest.raises(ConnectFailed, match=r"127\.0\.0\.1:\d+': its certificate does not count: "):
                await call(client)
            await client.close()
        client = Client(Target.parse(upstream.url), trust=trusting(ours.file))
        assert await call(client) == b"{}"
        await client.close()
        elsewhere = Client(Target.parse(upstream.url.replace("127.0.0.1", "127.0.0.2")), trust=trusting(ours.file))
        with pytest.raises(ConnectFailed):
            await call(elsewhere)
    assert len(upstream.seen) == 1


async def test_over_a_unix_socket(home: Path) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(json_answer(b"{}"))
        writer.close()

    server = await asyncio.start_unix_server(handle, home / "m.sock")
    client = Client(Target.parse(f"unix:{home}/m.sock"))
    assert await call(client) == b"{}"
    await client.close()
    server.close()


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://h", Target("h", 80)),
        ("https://h:8443/base/", Target("h", 8443, tls=True, prefix="/base")),
        ("http://[::1]:9", Target("::1", 9)),
        ("unix:/run/x.sock", Target("localhost", 0, socket="/run/x.sock")),
    ],
)
def test_targets(url: str, target: Target) -> None:
    assert Target.parse(url) == target


@pytest.mark.parametrize("url", ["h:80", "ftp://h", "http://", "unix:rel.sock", "http://u:p@h", "http://h/?q=1"])
def test_bad_targets(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|has no"):
        Target.parse(url)
