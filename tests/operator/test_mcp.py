"""Servers of tools inside the sandbox: good ones, and ones that flood, hang, lie or die."""

import asyncio
import sys

import pytest

from operating import World, answer, only
from prompts import bash, tool
from raworc.operator import mcp
from raworc.services.agents import AgentChange

pytestmark = pytest.mark.anyio

SERVER = """
import json, os, sys
print("hello, this is no JSON", flush=True)
print("a line for the log", file=sys.stderr, flush=True)
ANY = {"type": "object"}
TOOLS = [
    {"name": "add", "description": "Add numbers", "inputSchema": {"type": "object", "properties": {"a": {}, "b": {}}},
     "outputSchema": {"type": "object", "$ref": "http://127.0.0.1:9/never-fetched"}},
    {"name": "a d.d", "inputSchema": {"type": "object", "properties": {}}},
    {"name": "a d_d", "inputSchema": {"type": "object", "x": "y" * 20000}},
    {"name": "die", "inputSchema": ANY}, {"name": "nonsense", "inputSchema": ANY}, {"name": "env", "inputSchema": ANY},
]
def text(said, **more):
    return {"content": [{"type": "text", "text": said}], **more}
def called(name, args):
    if name == "add":
        return text(str(args["a"] + args["b"]), structuredContent={"sum": 0})
    if name == "die":
        os._exit(1)
    if name == "nonsense":
        return {"content": "no list"}
    if name == "env":
        return text(os.getcwd() + " " + os.environ["RAWORC_AGENT"])
    return text("you called " + name, isError=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    method, params = asked["method"], asked.get("params", {})
    result = {"tools/list": lambda: {"tools": TOOLS, "nextCursor": None},
              "tools/call": lambda: called(params["name"], params.get("arguments")),
              "initialize": lambda: {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                                     "serverInfo": {"name": "test", "version": "1"}}}[method]()
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""
SETUP = f"cat > server.py <<'END'\n{SERVER}\nEND\n"
GOOD = {"type": "mcp", "name": "good", "command": "echo started >> starts; exec python3 server.py"}


async def test_a_server_s_tools_are_called_like_others(place: World):
    async with place.operator():
        session_id = await place.create(setup=SETUP, tools=[GOOD, "bash"])
        calls = [tool("good__add", a=2, b=40), tool("good__a_d_d"), tool("good__a_d_d_2"), tool("good__env")]
        turn = await place.ask("\n".join([*calls, tool("good__none")]))
        results = [(s["output"], s["is_error"]) for s in turn.segments if s["type"] == "tool_result"]
        assert results[:4] == [
            ("42", False),
            ("you called a d.d", True),
            ("you called a d_d", True),
            ("/agent demo", False),
        ]
        assert results[4][0].startswith("Unknown tool 'good__none'. The tools are: bash, good__add, good__a_d_d, ")
        await place.ask(bash("cat /tmp/mcp-good.log; exit 1"))
        assert place.file(session_id, "starts") == b"started\n"

        await place.agents.update(
            place.admin, "demo", AgentChange(guardrails=[{"type": "deny_tools", "tools": ["good__*"]}])
        )
        denied = only(await place.ask(tool("good__add", a=1, b=1)), "tool_result")
        assert denied["output"] == "not run: a guardrail of the agent denies the tool 'good__add'"


async def test_a_server_that_dies_is_started_again_with_the_next_turn(place: World):
    async with place.operator():
        session_id = await place.create(setup=SETUP, tools=[GOOD])
        turn = await place.ask("\n".join([tool("good__die"), tool("good__add", a=1, b=1), tool("good__nonsense")]))
        results = [s["output"] for s in turn.segments if s["type"] == "tool_result"]
        assert results[0].startswith("The MCP server 'good' answered with an error: ")
        assert results[1] == "not run: the MCP server 'good' has ended; it is started again with the next turn"
        again = await place.ask("\n".join([tool("good__add", a=1, b=1), tool("good__nonsense")]))
        assert answer(again) == "2\nThe MCP server 'good' answered with something that is no result"
        assert place.file(session_id, "starts") == b"started\nstarted\n"


BAD = {
    "absent": ("/no/such/program", "Connection closed"),
    "silent": ("sleep 60", "it did not answer within 3 s"),
    "flood": ("head -c 9000000 /dev/zero | tr '\\0' x", "it said more than a server may say"),
    "chatter": ('yes \'{"jsonrpc":"2.0","method":"x"}\'', "it said more than a server may say"),
    "liar": (
        'read l; echo \'{"jsonrpc":"2.0","id":1,"result":{"tools":5}}\'; sleep 60',
        "it does not speak the protocol",
    ),
}


async def test_servers_that_misbehave_are_noted_once_and_the_rest_works(place: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mcp, "START_S", 3.0)
    monkeypatch.setattr(mcp, "MAX_MESSAGES", 2_000)
    servers = [{"type": "mcp", "name": name, "command": command} for name, (command, _) in BAD.items()]
    async with place.operator():
        await place.create(tools=servers)
        turn = await place.ask("\n".join([bash("echo fine"), bash("echo still")]))
        assert answer(turn) == "fine\nstill"
        notes = {segment["text"] for segment in turn.segments if segment["type"] == "note"}
        assert len(notes) == len(BAD) == sum(segment["type"] == "note" for segment in turn.segments)
        for name, (_, reason) in BAD.items():
            assert any(f"'{name}' does not run" in text and reason in text for text in notes), (name, notes)
        assert answer(await place.ask(bash("pgrep -c 'sleep|yes|head'"))).startswith("0")


async def test_an_operator_loads_the_protocol_s_library_only_for_who_uses_it():
    code = "import sys, raworc.supervisor.operator; print([n for n in ('mcp', 'pydantic') if n in sys.modules])"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert said == b"[]\n"
