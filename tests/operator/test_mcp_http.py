"""Servers of tools that listen inside the sandbox: the real library's, hostile ones, and what is not inside at all."""

import asyncio
import re
import shutil
from importlib import metadata
from pathlib import Path

import pytest

from operating import World, answer
from prompts import bash, tool
from raworc.operator import mcp as servers
from raworc.operator import relays
from raworc.services.agents import AgentChange
from raworc.services.turns import TurnView

pytestmark = pytest.mark.anyio

REAL = """
import os, sys
sys.path.insert(0, "lib")
from mcp.server.mcpserver import Context, MCPServer
server = MCPServer("real")
@server.tool()
def add(a: int, b: int) -> int:
    "Add numbers"
    return a + b
@server.tool()
def fail() -> str:
    raise ValueError("as it must")
@server.tool()
def seen(context: Context) -> str:
    return context.request_context.request.headers["x-told"]
@server.tool()
def die() -> str:
    os._exit(1)
server.run("streamable-http", host="127.0.0.1", port=9000)
"""
START = """
nohup python3 real.py > real.log 2>&1 &
for n in $(seq 100); do (: < /dev/tcp/127.0.0.1/9000) 2>&- && exit; sleep 0.1; done; cat real.log; exit 1
"""
LISTENS = {"type": "mcp", "name": "real", "url": "http://127.0.0.1:9000/mcp", "headers": {"X-Told": "a word"}}


async def test_a_server_of_the_library_itself(place: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(relays, "PATIENCE_S", 0.0)
    setup = f"cat > real.py <<'END'\n{REAL}\nEND\n[ ! -d lib ] || {{ {START} }}"
    async with place.operator():
        session_id = await place.create(setup=setup)
        await place.until_state(session_id, "idle")
    await asyncio.to_thread(install, "mcp", place.settings.sessions_dir / str(session_id) / "lib")
    await place.agents.update(place.admin, "demo", servers_are(LISTENS))
    async with place.operator():
        calls = [tool("real__add", a=2, b=40), tool("real__fail"), tool("real__seen")]
        results = outputs(await place.ask("\n".join(calls)))
        assert results == [("42", False), ("Error executing tool fail", True), ("a word", False)]

        results = outputs(await place.ask("\n".join([tool("real__die"), tool("real__add", a=1, b=1)])))
        assert [is_error for _, is_error in results] == [True, True]
        after = await place.ask(bash("true"))
        assert any(
            "'127.0.0.1:9000' is not reached from inside the sandbox" in s.get("text", "") for s in after.segments
        )


def install(name: str, folder: Path) -> None:
    """Copy an installed package and what it needs, as they stand here, to where the system's Python finds them."""
    wanted, seen = [name], set[str]()
    while wanted:
        try:
            found = metadata.distribution(wanted.pop())
        except metadata.PackageNotFoundError:  # for other systems
            continue
        if found.name in seen:
            continue
        seen.add(found.name)
        wanted += [re.split(r"[^\w.-]", said)[0] for said in found.requires or () if "extra ==" not in said]
        for file in found.files or ():
            if file.parts[0] != "..":
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found.locate_file(file), folder / file)


def servers_are(*entries: object) -> AgentChange:
    return AgentChange(tools=list(entries))


def outputs(turn: TurnView) -> list[tuple[str, bool]]:
    return [(s["output"], s["is_error"]) for s in turn.segments if s["type"] == "tool_result"]


HOSTILE = """
import json, socket, threading, time
def answers(path, link):
    head = b"HTTP/1.1 200 OK\\r\\nContent-Type: "
    if path == "/bomb":
        link.sendall(head + b"application/json\\r\\nContent-Encoding: gzip\\r\\nContent-Length: 9\\r\\n\\r\\nxxxxxxxxx")
    elif path == "/huge":
        link.sendall(head + b"application/json\\r\\n\\r\\n")
        while True:
            link.sendall(b" " * 65536)
    elif path == "/chatter":
        link.sendall(head + b"text/event-stream\\r\\n\\r\\n")
        while True:
            link.sendall(b'event: message\\ndata: {"jsonrpc":"2.0","method":"x"}\\n\\n' * 100)
    elif path == "/line":
        link.sendall(head + b"text/event-stream\\r\\n\\r\\ndata: ")
        while True:
            link.sendall(b"x" * 65536)
    elif path == "/liar":
        said = b'{"jsonrpc":"2.0","id":1,"result":{"tools":5}}'
        link.sendall(head + b"application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(said) + said)
    elif path == "/away":
        link.sendall(b"HTTP/1.1 307 Go\\r\\nLocation: http://127.0.0.1:HOST/x\\r\\nContent-Length: 0\\r\\n\\r\\n")
    elif path == "/noise":
        link.sendall(b"220 mail.example ESMTP\\r\\n")
    elif path == "/silent":
        time.sleep(60)
def serve(link):
    with link:
        try:
            answers(link.recv(65536).split(b" ")[1].decode(), link)
        except OSError:
            pass
listener = socket.create_server(("127.0.0.1", 9001))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
INSIDE = {
    "bomb": "it answers compressed",
    "huge": "it said more than a server may say",
    "chatter": "it said more than a server may say",
    "line": "SSE stream failed",
    "liar": "it does not speak the protocol",
    "noise": "Server disconnected",
    "silent": "it did not answer within 3 s",
}
OUTSIDE = {
    "host": "http://127.0.0.1:{port}/mcp",
    "metadata": "http://169.254.169.254/latest/meta-data",
    "name": "http://example.com/mcp",
}


async def test_hostile_servers_end_alone_and_nothing_outside_is_reached(place: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(servers, "START_S", 3.0)
    monkeypatch.setattr(servers, "MAX_MESSAGES", 2_000)
    monkeypatch.setattr(relays, "PATIENCE_S", 0.5)
    came: list[bytes] = []
    listener = await asyncio.start_server(lambda *_: came.append(b"somebody"), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    program = HOSTILE.replace("HOST", str(port))
    async with listener, place.operator():
        await place.create(setup=f"cat > h.py <<'END'\n{program}\nEND\nnohup python3 h.py >/dev/null 2>&1 &")
        for urls in (
            {name: f"http://localhost:9001/{name}" for name in INSIDE},
            {"away": "http://127.0.0.1:9001/away"} | {name: url.format(port=port) for name, url in OUTSIDE.items()},
        ):
            wanted = [{"type": "mcp", "name": name, "url": url} for name, url in urls.items()]
            await place.agents.update(place.admin, "demo", servers_are(*wanted))
            turn = await place.ask("\n".join([bash("echo fine"), bash("echo still")]))
            assert answer(turn) == "fine\nstill"
            notes = [segment["text"] for segment in turn.segments if segment["type"] == "note"]
            assert len(notes) == len(urls), notes
            for name in urls:
                (told,) = [text for text in notes if f"'{name}' does not run: " in text]
                assert INSIDE.get(name, "not ") in told
        await place.agents.update(place.admin, "demo", servers_are())
        assert answer(await place.ask(bash("pgrep -fc create_connection"))).startswith("0")
    assert came == []
