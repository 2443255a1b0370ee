"""Servers of tools that speak the Model Context Protocol and run inside a sandbox, for as long as that lives.

Whatever they say is hostile: a line, a list, a schema and the whole of it are bounded, everything has a time limit,
and what breaks a rule ends that server only. A call is made once; what became of one that got no answer is unknown.
"""

import asyncio
import json
import shlex
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

import anyio
import mcp_types as types
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from raworc.domain.output import Captured
from raworc.domain.text import storable
from raworc.domain.toolset import McpServer, tool_name
from raworc.domain.turns import Block, ToolUse
from raworc.errors import BadRequest
from raworc.operator.relays import LIFE_S, MAX_LIFE_BYTES, Misbehaved, relayed
from raworc.operator.tools import ToolOutput, refused
from raworc.sandbox.driver import Command, Dialogue, Sandbox

START_S: Final = 30.0
CALL_S: Final = 300.0
MAX_LINE_BYTES: Final = 4_194_304
MAX_MESSAGES: Final = 100_000
MAX_TOOLS: Final = 64
_MAX_PAGES: Final = 10
_MAX_SCHEMA_CHARACTERS: Final = 16_384
_MAX_DESCRIPTION_CHARACTERS: Final = 2_000
_MAX_REASON_CHARACTERS: Final = 500
_TOO_MUCH: Final = "it said more than a server may say"
_SESSION_GONE: Final = "Session terminated"  # the library's word for a server that has forgotten us
_ANYTHING: Final[dict[str, Any]] = {"type": "object"}

log = structlog.get_logger()


class Servers:
    """The servers of one sandbox. ``definitions`` are the tools of all that run, as the Messages API wants them."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._running: dict[McpServer, _Running] = {}
        self._calls: dict[str, tuple[_Running, str]] = {}
        self.definitions: list[Block] = []

    async def equip(self, wanted: Sequence[McpServer]) -> list[str]:
        """Run exactly these; those that run already go on. The answer says which do not, and why."""
        gone = [server for server, running in self._running.items() if server not in wanted or running.task.done()]
        await _ended([self._running.pop(server) for server in gone])
        fresh = {server: _Running(self._sandbox, server) for server in wanted if server not in self._running}
        try:
            said = await asyncio.gather(*(running.ready() for running in fresh.values()))
        except BaseException:
            await _ended(fresh.values())
            raise
        remarks = [reason for reason in said if reason is not None]
        await _ended([running for running, reason in zip(fresh.values(), said, strict=True) if reason is not None])
        self._running |= {s: r for (s, r), reason in zip(fresh.items(), said, strict=True) if reason is None}
        self._name_tools([self._running[server] for server in wanted if server in self._running])
        return remarks

    async def call(self, use: ToolUse) -> ToolOutput:
        """Run one of the tools in ``definitions``. Cancelling it tells the server so."""
        running, tool = self._calls[use.name]
        given: object = use.args
        args = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
        return await running.call(tool, args)

    async def close(self) -> None:
        """End them all; quickest when the sandbox is closed already."""
        await _ended(self._running.values())
        self._running, self._calls, self.definitions = {}, {}, []

    def _name_tools(self, running: Sequence["_Running"]) -> None:
        self._calls, self.definitions = {}, []
        for server in running:
            for tool in server.tools:
                name = tool_name(server.name, tool.name, self._calls)
                self._calls[name] = (server, tool.name)
                self.definitions.append({"name": name, "description": tool.told, "input_schema": tool.schema})


@dataclass(frozen=True)
class _Tool:
    name: str
    told: str
    schema: dict[str, Any] = field(default_factory=lambda: dict(_ANYTHING))


class _Running:
    """One server. A task of its own holds the conversation, because it must be left where it was entered."""

    def __init__(self, sandbox: Sandbox, server: McpServer) -> None:
        self.name = server.name
        self._log = "" if server.url else f". What it logs is in '{_log_of(server.name)}'"
        self.tools: list[_Tool] = []
        self._session: ClientSession | None = None
        self._is_ready = asyncio.Event()
        self._ended = asyncio.Event()
        self.task = asyncio.create_task(self._live(sandbox, server), name=f"mcp {server.name}")

    async def ready(self) -> str | None:
        """Once its tools are known: None; else why it has none."""
        waiting = asyncio.ensure_future(self._is_ready.wait())
        try:
            await asyncio.wait({waiting, self.task}, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._is_ready.is_set():
            return None
        reason = _reason(self.task) if self.task.done() else f"it did not answer within {START_S:g} s"
        log.info("mcp server does not run", server=self.name, reason=reason)
        return f"The MCP server '{self.name}' does not run: {reason}{self._log}"

    async def call(self, tool: str, args: dict[str, Any]) -> ToolOutput:
        if self._session is None or self.task.done():
            return refused(f"not run: the MCP server '{self.name}' has ended; it is started again with the next turn")
        request = types.CallToolRequest(params=types.CallToolRequestParams(name=tool, arguments=args))
        try:  # not the session's own call_tool: that would fetch what the server's schema refers to
            result = await self._session.send_request(request, types.CallToolResult, CALL_S)
        except MCPError as error:
            if error.message == _SESSION_GONE:
                self._ended.set()
            return refused(f"The MCP server '{self.name}' answered with an error: {error.message}")
        except (ValidationError, RecursionError):
            return refused(f"The MCP server '{self.name}' answered with something that is no result")
        return ToolOutput(Captured(_text(result)), is_error=bool(result.is_error))

    async def _live(self, sandbox: Sandbox, server: McpServer) -> None:
        spoken = _on_streams(sandbox, server) if server.url is None else _over_http(sandbox, server, server.url)
        async with spoken as streams, _session(streams, self._ended) as session:
            await session.initialize()
            self.tools = await _listed(session)
            self._session = session
            self._is_ready.set()
            await self._ended.wait()


@dataclass(frozen=True)
class _Streams:
    """What a server says, and a session that says things to it and hears what is passed on."""

    heard: AsyncIterator[SessionMessage | Exception]
    session: Callable[[MemoryObjectReceiveStream[SessionMessage | Exception]], ClientSession]


@asynccontextmanager
async def _on_streams(sandbox: Sandbox, server: McpServer) -> AsyncGenerator[_Streams]:
    script = f"exec 2>{shlex.quote(_log_of(server.name))}\n{server.command}"
    command = Command(script, timeout_s=LIFE_S, max_output_bytes=MAX_LIFE_BYTES)
    say, said = anyio.create_memory_object_stream[SessionMessage](0)
    async with sandbox.talk(command) as dialogue, anyio.create_task_group() as tasks, say, said:
        tasks.start_soon(_say, dialogue, said)
        yield _Streams(_lines(dialogue), lambda hear: ClientSession(hear, say, read_timeout_seconds=START_S))
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def _over_http(sandbox: Sandbox, server: McpServer, url: str) -> AsyncGenerator[_Streams]:
    async with (
        relayed(sandbox, dict(server.headers)) as client,
        streamable_http_client(url, http_client=client, terminate_on_close=False) as (heard, say),
    ):
        yield _Streams(heard, lambda hear: ClientSession(hear, say, read_timeout_seconds=START_S))


@asynccontextmanager
async def _session(streams: _Streams, ended: asyncio.Event) -> AsyncGenerator[ClientSession]:
    heard, hear = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    async with anyio.create_task_group() as tasks, heard, hear:
        tasks.start_soon(_pass_on, streams.heard, heard, ended)
        async with streams.session(hear) as session:
            yield session
        tasks.cancel_scope.cancel()


async def _pass_on(
    said: AsyncIterator[SessionMessage | Exception],
    heard: MemoryObjectSendStream[SessionMessage | Exception],
    ended: asyncio.Event,
) -> None:
    messages = 0
    async with heard:
        async for one in said:
            messages += 1
            if messages > MAX_MESSAGES:
                raise Misbehaved(_TOO_MUCH)
            if isinstance(one, SessionMessage):
                await heard.send(one)
    ended.set()


async def _lines(dialogue: Dialogue) -> AsyncGenerator[SessionMessage | Exception]:
    """Each line as a message; as an error where it is none, because servers print what they should log."""
    rest = bytearray()
    while data := await dialogue.receive():
        *whole, piece = data.split(b"\n")
        lines = [bytes(rest) + whole[0], *whole[1:]] if whole else []
        rest = bytearray(piece) if whole else rest
        rest += b"" if whole else piece
        if max(map(len, [*lines, rest])) > MAX_LINE_BYTES:
            raise Misbehaved(_TOO_MUCH)
        for line in lines:
            try:
                yield SessionMessage(types.jsonrpc_message_adapter.validate_json(bytes(line), by_name=False))
            except ValidationError as error:
                yield error


async def _say(dialogue: Dialogue, said: MemoryObjectReceiveStream[SessionMessage]) -> None:
    async for one in said:
        line = one.message.model_dump_json(by_alias=True, exclude_unset=True)
        await dialogue.send(line.encode("utf-8", "replace") + b"\n")


async def _listed(session: ClientSession) -> list[_Tool]:
    found: list[_Tool] = []
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        params = types.PaginatedRequestParams(cursor=cursor)
        page = await session.send_request(types.ListToolsRequest(params=params), types.ListToolsResult)
        found += [tool for listed in page.tools if (tool := _tool(listed)) is not None]
        cursor = page.next_cursor
        if cursor is None or len(found) >= MAX_TOOLS:
            break
    return found[:MAX_TOOLS]


def _tool(listed: types.Tool) -> _Tool | None:
    if not listed.name:
        return None
    told = str(storable(listed.description or listed.title or listed.name))[:_MAX_DESCRIPTION_CHARACTERS]
    return _Tool(listed.name, told, _schema(listed.input_schema))


def _schema(given: dict[str, Any]) -> dict[str, Any]:
    """The schema, if a provider can be shown it; else one that allows anything."""
    try:
        schema: dict[str, Any] = {**storable(given), "type": "object"}
        fits = len(json.dumps(schema)) <= _MAX_SCHEMA_CHARACTERS
    except (BadRequest, ValueError, RecursionError):
        return dict(_ANYTHING)
    required = schema.get("required", [])
    sane = isinstance(schema.get("properties", {}), dict) and isinstance(required, list)
    return schema if fits and sane else dict(_ANYTHING)


def _text(result: types.CallToolResult) -> str:
    parts = [_part(block) for block in result.content]
    if not parts and result.structured_content is not None:
        parts = [json.dumps(result.structured_content, ensure_ascii=False)]
    return "\n".join(parts)


def _part(block: types.ContentBlock) -> str:
    if isinstance(block, types.TextContent):
        return block.text
    if isinstance(block, types.EmbeddedResource) and isinstance(block.resource, types.TextResourceContents):
        return block.resource.text
    if isinstance(block, types.ResourceLink):
        return f"[{block.name}: {block.uri}]"
    return f"[{block.type}, which cannot be shown]"


def _reason(task: asyncio.Task[None]) -> str:
    error: BaseException | None = None if task.cancelled() else task.exception()
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    if error is None:
        return "it ended at once"
    if isinstance(error, ValidationError):
        return "it does not speak the protocol"
    return str(storable(str(error) or type(error).__name__))[:_MAX_REASON_CHARACTERS]


def _log_of(name: str) -> str:
    return f"/tmp/mcp-{name}.log"  # noqa: S108  the sandbox's own


async def _ended(running: Iterable[_Running]) -> None:
    tasks = [one.task for one in running]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
