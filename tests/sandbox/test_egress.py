"""The proxy of a sandbox that may reach some hosts: what gets through, and what does not."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from raworc.domain.egress import Place, Reach
from raworc.ids import SessionId, new_id
from raworc.sandbox.bubblewrap import BubblewrapDriver
from raworc.sandbox.conformance.bench import run
from raworc.sandbox.driver import SandboxSpec, Workspace

pytestmark = pytest.mark.anyio

ASK = """
import json, socket
answers = []
for request in json.load(open("asked.json")):
    try:
        with socket.create_connection(("127.0.0.1", 8788), timeout=15) as connection:
            connection.sendall(request.encode())
            if request.startswith("CONNECT"):
                head = connection.recv(4096)
                if b" 200 " in head:
                    connection.sendall(b"GET /tunnelled HTTP/1.0\\r\\n\\r\\n")
                    head = b""
            else:
                head = b""
            said = head
            while piece := connection.recv(4096):
                said += piece
        answers.append(said.decode())
    except OSError as error:
        answers.append(type(error).__name__)
print(json.dumps(answers))
"""


@asynccontextmanager
async def server() -> AsyncIterator[int]:
    """Says what it was asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + head)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


def tunnel(place: str) -> str:
    return f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n"


async def test_what_is_named_is_reached_and_nothing_else(driver: BubblewrapDriver):
    async with server() as port:
        named = frozenset({Place("localhost", port), Place("localhost", 1)})
        reach = Reach(named, frozenset({Place("127.0.0.1", port)}))
        spec = SandboxSpec(Workspace(SessionId(new_id()), 1), epoch=1, reach=reach)
        sandbox = await driver.open(spec)
        headers = "Host: localhost\r\nProxy-Authorization: x\r\nA: b"
        proxied = f"GET http://localhost:{port}/p?q=1 HTTP/1.1\r\n{headers}\r\n\r\n"
        requests = {
            tunnel(f"LOCALHOST.:{port}"): "GET /tunnelled",
            proxied: "GET /p?q=1 HTTP/1.1\r\nHost: localhost\r\nA: b\r\nConnection: close",
            tunnel(f"127.0.0.1:{port}"): "403 Forbidden",  # a stranger named it
            tunnel(f"[::ffff:127.0.0.1]:{port}"): "403 Forbidden",
            tunnel(f"2130706433:{port}"): "403 Forbidden",
            tunnel("169.254.169.254:80"): "403 Forbidden",
            tunnel("localhost:22"): "403 Forbidden",
            tunnel("localhost:1"): "502 Bad Gateway",
            f"GET http://127.0.0.1:{port}/ HTTP/1.1\r\n\r\n": "403 Forbidden",
            "GET / HTTP/1.1\r\n\r\n": "400 Bad Request",
            f"GET https://localhost:{port}/ HTTP/1.1\r\n\r\n": "400 Bad Request",
            f"GET http://u:p@localhost:{port}/ HTTP/1.1\r\n\r\n": "400 Bad Request",
            "nonsense\r\n\r\n": "400 Bad Request",
            "CONNECT localhost:99999 HTTP/1.1\r\n\r\n": "400 Bad Request",
            "x" * 200_000 + "\r\n\r\n": None,
        }
        try:
            driver.files(spec.workspace).write("ask.py", ASK.encode())
            driver.files(spec.workspace).write("asked.json", json.dumps(list(requests)).encode())
            done = await run(sandbox, "python3 ask.py")
            answers = dict(zip(requests, json.loads(done.text), strict=True))
        finally:
            await sandbox.close()
    for request, expected in requests.items():
        if expected is not None:
            assert expected in answers[request], (request[:80], answers[request])
    assert "x" not in answers[proxied].partition("Host")[0]
    assert "Proxy-Authorization" not in answers[proxied]
    assert any(told.startswith(f"127.0.0.1:{port}: its address is private") for told in sandbox.refused_hosts)
    assert any(told.startswith("169.254.169.254:80: it is not among those") for told in sandbox.refused_hosts)


async def test_without_a_reach_there_is_no_proxy(driver: BubblewrapDriver):
    sandbox = await driver.open(SandboxSpec(Workspace(SessionId(new_id()), 1), epoch=1))
    try:
        connect = "import socket; socket.create_connection(('127.0.0.1', 8788))"
        done = await run(sandbox, f'python3 -c "{connect}"')
    finally:
        await sandbox.close()
    assert "Connection refused" in done.text
