"""A stream whose provider thinks for long is kept on the line."""

import asyncio
from pathlib import Path

import pytest

from gate import gate
from raworc.wire.client import Client, Target
from raworc.wire.frames import Kind
from standin import chunk, standin, stream_head

pytestmark = pytest.mark.anyio

BODY = b'{"model": "m"}'


@pytest.mark.parametrize(
    ("path", "ping"),
    [("/v1/messages", b'event: ping\ndata: {"type": "ping"}\n\n'), ("/v1/chat/completions", b": ping\n\n")],
)
async def test_a_client_is_kept_while_its_provider_thinks(
    home: Path, path: str, ping: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raworc.gateway.keepalive.SILENCE_S", 0.02)
    going_on, first, last = asyncio.Event(), b"event: x\ndata: {}\n\n", b"event: y\ndata: {}\n\n"

    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(stream_head() + chunk(first))
        await going_on.wait()
        writer.write(chunk(last) + chunk(b""))

    async with standin(play) as upstream, gate(home, base_url=upstream.url, api_key="k") as at:
        client = Client(Target.parse(at.url))
        response = await client.open("POST", path, [(b"authorization", b"Bearer " + at.login().encode())], BODY)
        body = b""
        async for piece in response.chunks():
            body += piece
            if ping * 2 in body:
                going_on.set()
        await response.close()
        await client.close()
        assert body.startswith(first + ping + ping)
        assert body.replace(ping, b"") == first + last
        assert b"".join(frame.data for frame in at.frames() if frame.kind is Kind.CHUNK) == first + last
