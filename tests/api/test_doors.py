"""Which listener leads where, and who may come in by the doors' socket."""

import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from raworc.api.dispatch import Dispatcher
from raworc.api.edge import EdgeOptions
from raworc.api.preamble import door_preamble, read_preamble
from raworc.wire.peer import Door, Line
from served import Served, reply, serve

pytestmark = pytest.mark.anyio

KEY = b"k" * 32
SESSION = uuid.UUID("6e0a2f5c-8d2f-4a7e-9a55-0d7f6f2f1c11")


async def who(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers whom it takes the caller for."""
    peer = scope["raworc"]
    await reply(send, json.dumps({"listener": peer.listener, "door": str(peer.door)}).encode())


@pytest.fixture
def options(home: Path) -> EdgeOptions:
    return EdgeOptions(
        door_socket=str(home / "gateway.sock"),
        model_socket=str(home / "model.sock"),
        door_key=KEY,
        header_timeout_s=0.3,
    )


@pytest.fixture
async def edge(options: EdgeOptions) -> AsyncIterator[Served]:
    async with serve(who, options, ["gateway.sock", "model.sock", "stray.sock"]) as served:
        yield served


async def test_the_port_is_public_and_the_model_socket_is_known(edge: Served):
    public = await edge.ask(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    async with edge.wire("model.sock") as wire:
        await wire.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        model = await wire.answer()

    assert json.loads(public.body)["listener"] == "public"
    assert json.loads(model.body)["listener"] == "model"


async def test_an_unknown_socket_serves_nothing(edge: Served):
    async with edge.wire("stray.sock") as wire:
        with contextlib.suppress(ConnectionError):
            await wire.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert await wire.rest() == b""


async def test_a_door_is_who_its_preamble_proves(edge: Served):
    async with edge.wire("gateway.sock") as wire:
        await wire.send(door_preamble(KEY, SESSION, 7) + b"GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n")
        answer = json.loads((await wire.answer()).body)

    assert answer["listener"] == "door"
    assert answer["door"] == str(Door(SESSION, 7))


async def test_a_preamble_may_come_byte_by_byte(edge: Served):
    async with edge.wire("gateway.sock") as wire:
        for byte in door_preamble(KEY, SESSION, 7):
            await wire.send(bytes([byte]))
        await wire.send(b"GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await wire.answer()).status == 200


GOOD_LINE = door_preamble(KEY, SESSION, 7)
BAD_PREAMBLES = {
    "none": b"GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n",
    "another key": door_preamble(b"x" * 32, SESSION, 7),
    "another session": GOOD_LINE.replace(b"6e0a", b"7e0a"),
    "another epoch": GOOD_LINE.replace(b" 7 ", b" 8 "),
    "another version": GOOD_LINE.replace(b"DOOR 1", b"DOOR 2"),
    "no mac": b"RAWORC-DOOR 1 " + str(SESSION).encode() + b" 7 \n",
    "not a uuid": door_preamble(KEY, SESSION, 7).replace(str(SESSION).encode(), b"-" * 36),
    "endless": b"RAWORC-DOOR 1 " + b"a" * 500,
}


@pytest.mark.parametrize("preamble", BAD_PREAMBLES.values(), ids=BAD_PREAMBLES)
async def test_a_door_that_proves_nothing_is_closed_without_a_word(edge: Served, preamble: bytes):
    async with edge.wire("gateway.sock") as wire:
        with contextlib.suppress(ConnectionError):
            await wire.send(preamble + b"GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n")
        assert await wire.rest() == b""


async def test_half_a_preamble_is_not_waited_for(edge: Served):
    async with edge.wire("gateway.sock") as wire:
        await wire.send(GOOD_LINE[:20])
        assert await wire.rest() == b""


def test_a_preamble_reads_back_as_its_door():
    assert read_preamble(KEY, GOOD_LINE.rstrip(b"\n")) == Door(SESSION, 7)


ROUTED = [
    ("public", "GET", "/v1/models", "gateway"),
    ("public", "HEAD", "/", "gateway"),
    ("public", "POST", "/api/event_logging/batch", "gateway"),
    ("public", "GET", "/", "api"),
    ("public", "GET", "/api/v0/agents", "api"),
    ("public", "GET", "/v1", "api"),
    ("door", "POST", "/v1/messages", "gateway"),
    ("door", "HEAD", "/", "gateway"),
    ("door", "GET", "/", "404"),
    ("door", "GET", "/api/v0/agents", "404"),
    ("door", "POST", "/api/v0/auth/login", "404"),
    ("door", "POST", "/api/event_logging/batch", "404"),
    ("door", "GET", "/v1/../api/v0/agents", "gateway"),
    ("model", "POST", "/v1/messages", "gateway"),
    ("model", "GET", "/livez", "404"),
]


@pytest.mark.parametrize(("listener", "method", "path", "expected"), ROUTED)
async def test_only_the_port_leads_to_the_api(
    options: EdgeOptions, listener: str, method: str, path: str, expected: str
):
    async def api(_scope: Scope, _receive: Receive, send: Send) -> None:
        await reply(send, b"api")

    class Gateway:
        async def serve(self, line: Line) -> None:
            line.start(200, [(b"content-length", b"7")])
            line.piece(b"gateway", last=True)

    names = {"public": None, "door": "gateway.sock", "model": "model.sock"}
    long_enough = replace(options, header_timeout_s=5)
    async with (
        serve(Dispatcher(api, Gateway()), long_enough, ["gateway.sock", "model.sock"]) as served,
        served.wire(names[listener]) as wire,
    ):
        preamble = GOOD_LINE if listener == "door" else b""
        await wire.send(preamble + f"{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
        said = await wire.rest()

    if expected == "404":
        assert b" 404 " in said[:20]
        assert b"NOT_FOUND" in said
    elif method == "HEAD":
        assert b" 200 " in said[:20]
    else:
        assert said.endswith(expected.encode())
