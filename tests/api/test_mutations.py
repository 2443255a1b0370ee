"""Requests with a few bytes changed, cut or doubled: no answer is a 5xx, none is missing, the server goes on."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from asking import Api
from raworc.api.edge import EdgeOptions
from raworc.settings import Settings
from raworc.wiring.server import server_parts
from served import Served, serve

pytestmark = pytest.mark.anyio

SEED = 20_261_122
BATCH = 50
ODD = [b"\r\n", b"\x00", b"%00", b"\xff", b'"', b"{" * 80, b"9" * 50, b"../"]
BODY = b'{"name": "mutant", "tags": ["a"], "metadata": {"k": [1, 2.5, null, "\\u00fc"]}}'


@pytest.fixture(scope="module")
async def served(settings: Settings) -> AsyncIterator[Served]:
    """A server that does not wait long for the rest of a request."""
    options = EdgeOptions(
        door_socket=str(settings.gateway_socket),
        model_socket=str(settings.model_socket),
        door_key=b"k" * 32,
        header_timeout_s=1.5,
        body_idle_timeout_s=1.5,
    )
    async with server_parts(settings) as parts, serve(parts.app, options, keep_alive_s=0.2) as running:
        yield running


@pytest.fixture(scope="module")
def rounds(request: pytest.FixtureRequest) -> int:
    return 10_000 if request.config.getoption("--faults") else 400


def requests() -> list[bytes]:
    """One good request of each kind, each asking to close the connection. ``TOKEN`` stands for the token."""
    head = b" HTTP/1.1\r\nhost: localhost\r\nauthorization: TOKEN\r\nconnection: close\r\n"
    state = b'{"state": "slept"}'
    return [
        b"GET /agents/api/v0/agents?limit=5&state=idle&q=x" + head + b"\r\n",
        b"GET /api/v0/agents/mutant/files/read/a%2Fb" + head + b"accept: */*\r\n\r\n",
        b"POST /api/v0/agents" + head + b"content-length: %d\r\n\r\n" % len(BODY) + BODY,
        b"POST /api/v0/agents" + head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
        b"PUT /api/v0/agents/mutant/state" + head + b"content-length: %d\r\n\r\n" % len(state) + state,
    ]


def mutated(chance: random.Random, request: bytes) -> bytes:
    data = bytearray(request)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data))
        match chance.randrange(5):
            case 0:
                data[place] = chance.randrange(256)
            case 1:
                del data[place : place + chance.randint(1, 8)]
            case 2:
                data[place:place] = chance.randbytes(chance.randint(1, 8))
            case 3:
                data[place:place] = data[place : place + chance.randint(1, 200)]
            case _:
                data[place:place] = chance.choice(ODD)
        data = data or bytearray(b"x")
    return bytes(data)


async def said(served: Served, request: bytes) -> bytes:
    """All that the server says to it."""
    async with served.wire() as wire:
        await wire.send(request)
        return await wire.rest(limit_s=20)


async def test_mutated_requests_never_get_a_5xx_and_never_hang(admin: Api, rounds: int):
    chance = random.Random(SEED)  # noqa: S311  the same requests in every run
    good, token = requests(), admin.http.headers["authorization"].encode()
    statuses = Counter[bytes]()
    for _ in range(rounds // BATCH):
        batch = [mutated(chance, chance.choice(good)).replace(b"TOKEN", token) for _ in range(BATCH)]
        for request, answer in zip(batch, await asyncio.gather(*(said(admin.served, r) for r in batch)), strict=True):
            assert b"HTTP/1.1 5" not in answer, (request, answer)
            statuses[answer[:12]] += 1

    assert all(status.startswith(b"HTTP/1.1 ") for status in statuses)
    assert {b"HTTP/1.1 400", b"HTTP/1.1 401", b"HTTP/1.1 404", b"HTTP/1.1 408", b"HTTP/1.1 200"} <= set(statuses)
    assert (await admin.get("/agents")).status_code == 200
    assert (await admin.http.get(admin.served.url + "/livez")).text == "OK"
