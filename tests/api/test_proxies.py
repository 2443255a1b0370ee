"""What the edge says about where a request comes from."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from raworc.api.edge import EdgeOptions
from raworc.domain.forwarding import Proxies
from raworc.wire.peer import SCOPE_KEY
from served import reply, serve

pytestmark = pytest.mark.anyio


async def told(scope: Scope, _receive: Receive, send: Send) -> None:
    facts = {"client": scope["client"][0], "scheme": scope["scheme"], "local": scope[SCOPE_KEY].is_local}
    await reply(send, json.dumps(facts).encode())


LOCAL = {"client": "127.0.0.1", "scheme": "http", "local": True}
UNSURE = {**LOCAL, "local": False}
TOLD = {"client": "203.0.113.9", "scheme": "https", "local": False}
CASES = {
    "this machine": ("", b"", LOCAL),
    "somebody's claim": ("", b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n", UNSURE),
    "a proxy nobody told us of": ("", b"Forwarded: for=203.0.113.9\r\n", UNSURE),
    "a proxy that says little": ("", b"Via: 1.1 squid\r\n", UNSURE),
    "an untrusted proxy": ("10.0.0.1", b"X-Forwarded-For: 203.0.113.9\r\n", UNSURE),
    "a trusted proxy": ("127.0.0.1", b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n", TOLD),
    "a client that says loopback": (
        "127.0.0.0/8",
        b"X-Forwarded-For: 127.0.0.1, 203.0.113.9\r\nX-Forwarded-Proto: https\r\n",
        TOLD,
    ),
    "a trusted proxy that says loopback": ("127.0.0.1", b"X-Forwarded-For: 127.0.0.1\r\n", UNSURE),
    "a trusted proxy that says nothing": ("127.0.0.1", b"", UNSURE),
}


@pytest.mark.parametrize(("trusted", "headers", "expected"), CASES.values(), ids=CASES)
async def test_a_forwarded_address_counts_from_trusted_proxies_only(
    home: Path, trusted: str, headers: bytes, expected: dict[str, object]
):
    options = EdgeOptions(str(home / "gateway.sock"), str(home / "model.sock"), b"k" * 32)
    async with serve(told, replace(options, proxies=Proxies.parse(trusted))) as served, served.wire() as wire:
        await wire.send(b"GET / HTTP/1.1\r\nhost: a\r\n" + headers + b"\r\n")
        assert json.loads((await wire.answer()).body) == expected
        await wire.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")  # the next request of the connection is judged anew
        assert json.loads((await wire.answer()).body)["local"] is (trusted in {"", "10.0.0.1"})
