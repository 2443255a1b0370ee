"""The tools that a model may use: what it is told of them, and what each one does.

Whatever a model sends is answered: an unknown name, wrong arguments or a missing file are results that say so.
Only the sandbox's own end (``SandboxDied``) goes up.
"""

import asyncio
import functools
import shlex
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta, Struct

from raworc.domain.output import MODEL_CHARACTERS, Captured
from raworc.domain.turns import ToolUse
from raworc.operator.library import Library
from raworc.sandbox.driver import Command, Exit, FileEntry, FileError, Files, Output, Sandbox, SandboxDied

BASH_TIMEOUT_S: Final = 120.0
MAX_BASH_TIMEOUT_S: Final = 3600.0
_SEARCH_TIMEOUT_S: Final = 60.0
_GRACE_S: Final = 30.0
_LINES: Final = 2000
_READ_CHARACTERS: Final = 40_000
_ENTRIES: Final = 1000
_ITEMS: Final = 100
_NO_MATCH: Final = 1
_SNIFFED_BYTES: Final = 8192

Path = Annotated[str, Meta(description="Relative to /agent, or absolute below it.")]


class Bash(Struct):
    """Run a command by bash in /agent and get its output, stdout and stderr interleaved. Standard input is empty.

    Processes that it leaves in the background live on until the sandbox closes.
    """

    command: str
    timeout_s: Annotated[float, Meta(gt=0, le=MAX_BASH_TIMEOUT_S, description="Seconds until it is stopped.")] = (
        BASH_TIMEOUT_S
    )


class ReadFile(Struct):
    """Read a text file of the workspace, from line `offset` on."""

    path: Path
    offset: Annotated[int, Meta(ge=1, description="The first line, counted from 1.")] = 1
    limit: Annotated[int, Meta(ge=1, description="The largest number of lines.")] = _LINES


class WriteFile(Struct):
    """Create or replace a file of the workspace, folders included."""

    path: Path
    content: str


class EditFile(Struct):
    """Replace text in a file of the workspace. `old` must stand there exactly once, unless `replace_all`."""

    path: Path
    old: Annotated[str, Meta(min_length=1)]
    new: str
    replace_all: bool = False


class ListFiles(Struct):
    """List one folder of the workspace."""

    path: Path = ""


class SearchFiles(Struct):
    """Search the files below a path for an extended regular expression; answers are `file:line:text`."""

    pattern: Annotated[str, Meta(min_length=1)]
    path: Path = "."


class SearchKnowledge(Struct):
    """Search the agent's knowledge bases for words; the passages that fit best are answered."""

    query: Annotated[str, Meta(min_length=1, max_length=1000)]


class Item(Struct):
    """One part of a result. `json` may hold any JSON, `url` an http or https address, the others text."""

    type: Literal["markdown", "json", "url", "text"]
    content: Any
    title: str | None = None


class Deliver(Struct):
    """Deliver the result of the work as titled items; they are what the user gets as the answer to this request.

    Calling it again replaces what was delivered before.
    """

    items: Annotated[list[Item], Meta(min_length=1, max_length=_ITEMS)]


@dataclass(frozen=True)
class ToolOutput:
    """What a tool answered. ``model_characters`` is how much of it the model gets.

    ``content`` is what people are shown in place of the text.
    """

    text: Captured
    is_error: bool = False
    model_characters: int = MODEL_CHARACTERS
    content: dict[str, Any] | None = None


@dataclass(frozen=True)
class Surroundings:
    """Where a tool works."""

    sandbox: Sandbox
    files: Files
    library: Library | None = None


async def run(use: ToolUse, around: Surroundings, offered: Sequence[str], *, also: Iterable[str] = ()) -> ToolOutput:
    """Run one call of a tool that is ``offered``; ``also`` there are tools that run elsewhere.

    Cancelling it stops the command's process group. A thread that works on a file is not waited for.

    Raises:
        SandboxDied: under the command.
    """
    if use.name not in offered:
        return refused(f"Unknown tool '{use.name}'. The tools are: {', '.join([*offered, *also]) or 'none'}")
    kind, work = _TOOLS[use.name]
    try:
        args = msgspec.convert(use.args, kind, strict=False)
    except msgspec.ValidationError as error:
        return refused(f"Bad arguments for '{use.name}': {error}")
    try:
        return await work(args, around)
    except FileError as error:
        return refused(str(error))
    except OSError as error:
        return refused(f"The file system refused: {error.strerror}")


@functools.cache
def definition(name: str) -> dict[str, Any]:
    """A tool as the Messages API wants it described."""
    kind, _ = _TOOLS[name]
    return {"name": name, "description": _told(kind), "input_schema": _schema(kind)}


def refused(reason: str) -> ToolOutput:
    """A result that is an error."""
    return ToolOutput(Captured(reason), is_error=True)


async def command_output(sandbox: Sandbox, command: Command) -> ToolOutput:
    """Run a command; any end but exit code 0 is an error, and its output says which. Raises as :func:`run`."""
    captured, end = await _result(sandbox, command)
    remark = _remark(end, command.timeout_s)
    return ToolOutput(_with_end(captured, remark), is_error=bool(remark))


async def _bash(args: Bash, around: Surroundings) -> ToolOutput:
    return await command_output(around.sandbox, Command(args.command, timeout_s=args.timeout_s))


async def _search_files(args: SearchFiles, around: Surroundings) -> ToolOutput:
    script = f"grep -rnIE --exclude-dir=.git -e {shlex.quote(args.pattern)} -- {shlex.quote(args.path or '.')}"
    captured, end = await _result(around.sandbox, Command(script, timeout_s=_SEARCH_TIMEOUT_S))
    if end.reason == "exited" and end.code == _NO_MATCH and not captured.head:
        return ToolOutput(Captured("no match"))
    failed = end.reason != "exited" or end.code > _NO_MATCH
    return ToolOutput(_with_end(captured, _remark(end, _SEARCH_TIMEOUT_S)) if failed else captured, is_error=failed)


async def _read_file(args: ReadFile, around: Surroundings) -> ToolOutput:
    return await asyncio.to_thread(_read_lines, args, around.files)


def _read_lines(args: ReadFile, files: Files) -> ToolOutput:
    data = files.read(_inside(args.path))
    if b"\0" in data[:_SNIFFED_BYTES]:
        return refused(f"'{args.path}' is not a text file ({len(data)} bytes)")
    lines = data.decode("utf-8", "replace").splitlines(keepends=True)
    shown = "".join(lines[args.offset - 1 : args.offset - 1 + args.limit])
    last = min(args.offset - 1 + args.limit, len(lines))
    if last < len(lines):
        shown += f"\n[... {len(lines) - last} more lines: read on with offset {last + 1} ...]"
    return ToolOutput(Captured(shown), model_characters=_READ_CHARACTERS)


async def _write_file(args: WriteFile, around: Surroundings) -> ToolOutput:
    data = args.content.encode("utf-8", "replace")
    await asyncio.to_thread(around.files.write, _inside(args.path), data)
    return ToolOutput(Captured(f"wrote {len(data)} bytes to '{args.path}'"))


async def _edit_file(args: EditFile, around: Surroundings) -> ToolOutput:
    return await asyncio.to_thread(_replace, args, around.files)


def _replace(args: EditFile, files: Files) -> ToolOutput:
    path = _inside(args.path)
    data = files.read(path)
    old, new = args.old.encode("utf-8", "replace"), args.new.encode("utf-8", "replace")
    found = data.count(old)
    if found == 0:
        return refused(f"The text to replace is not in '{args.path}'")
    if found > 1 and not args.replace_all:
        return refused(f"The text to replace stands {found} times in '{args.path}': give more of it, or 'replace_all'")
    files.write(path, data.replace(old, new))
    return ToolOutput(Captured(f"replaced {found} in '{args.path}'"))


async def _list_files(args: ListFiles, around: Surroundings) -> ToolOutput:
    listing = await asyncio.to_thread(around.files.list, _inside(args.path), 0, _ENTRIES)
    lines = [_entry_line(entry) for entry in listing.entries]
    if listing.total > len(lines):
        lines.append(f"[... {listing.total - len(lines)} more entries ...]")
    return ToolOutput(Captured("\n".join(lines) or "(empty)"))


async def _search_knowledge(args: SearchKnowledge, around: Surroundings) -> ToolOutput:
    if around.library is None:
        return refused("The agent has no knowledge bases")
    return ToolOutput(
        Captured(await around.library.search(args.query, around.files)), model_characters=_READ_CHARACTERS
    )


async def _output(args: Deliver, _: Surroundings) -> ToolOutput:
    for number, item in enumerate(args.items):
        if item.type != "json" and not isinstance(item.content, str):
            return refused(f"The content of item {number} must be a text, as its type is '{item.type}'")
        if item.type == "url" and not str(item.content).startswith(("http://", "https://")):
            return refused(f"The content of item {number} must be an http or https address")
    said = "delivered 1 item" if len(args.items) == 1 else f"delivered {len(args.items)} items"
    return ToolOutput(Captured(said), content={"items": msgspec.to_builtins(args.items)})


async def _result(sandbox: Sandbox, command: Command) -> tuple[Captured, Exit]:
    """Run it. The guest keeps the time limit; one that does not is as good as dead."""
    try:
        async with asyncio.timeout(command.timeout_s + _GRACE_S):
            return await _collected(sandbox, command)
    except TimeoutError:
        await sandbox.close()
        raise SandboxDied("The sandbox did not answer any more") from None


async def _collected(sandbox: Sandbox, command: Command) -> tuple[Captured, Exit]:
    data, end = bytearray(), None
    async for event in sandbox.run(command):
        if isinstance(event, Output):
            data += event.data
        else:
            end = event
    if end is None:
        raise SandboxDied("The sandbox ended the command's output without its exit")
    return _captured(data, end), end


def _captured(data: bytearray, end: Exit) -> Captured:
    if end.left_out_bytes == 0:
        return Captured(data.decode("utf-8", "replace").removesuffix("\n"))
    head, tail = data[: end.head_bytes], data[end.head_bytes :]
    shown = tail.decode("utf-8", "replace").removesuffix("\n")
    return Captured(head.decode("utf-8", "replace"), shown, end.left_out_bytes)


def _remark(end: Exit, timeout_s: float) -> str:
    met = f"\n[{end.met}]" if end.met else ""
    match end.reason:
        case "exited":
            return (f"\n[exit code {end.code}]" if end.code else "") + met
        case "timeout":
            return f"\n[stopped after {timeout_s:g} s]{met}"
        case "memory":
            return met or "\n[out of memory]"
        case "disk":
            return "\n[out of disk space: delete files or cut them short first, in a command of its own]"
        case "cancelled":
            return "\n[cancelled]"


def _with_end(captured: Captured, remark: str) -> Captured:
    if captured.left_out:
        return Captured(captured.head, captured.tail + remark, captured.left_out)
    return Captured(captured.head + remark)


def _inside(path: str) -> str:
    """The path as the workspace knows it; one that leads elsewhere is refused there."""
    if path == "/agent":
        return ""
    inner = path.removeprefix("/agent/")
    parts = [part for part in inner.split("/") if part not in ("", ".")]
    return inner if inner.startswith("/") else "/".join(parts)


def _entry_line(entry: FileEntry) -> str:
    match entry.kind:
        case "dir":
            return f"{entry.name}/"
        case "symlink":
            return f"{entry.name} -> {entry.link_target}"
        case _:
            return f"{entry.name} ({entry.size_bytes} bytes)"


def _told(kind: type[Struct]) -> str:
    return " ".join((kind.__doc__ or "").split())


def _schema(kind: type[Struct]) -> dict[str, Any]:
    _, parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    schema = cast("dict[str, Any]", parts.pop(kind.__name__))
    told = {key: value for key, value in schema.items() if key in ("type", "properties", "required")}
    return {**told, "$defs": parts} if parts else told


_TOOLS: Final[dict[str, tuple[type[Struct], Callable[[Any, Surroundings], Awaitable[ToolOutput]]]]] = {
    "bash": (Bash, _bash),
    "read_file": (ReadFile, _read_file),
    "write_file": (WriteFile, _write_file),
    "edit_file": (EditFile, _edit_file),
    "list_files": (ListFiles, _list_files),
    "search_files": (SearchFiles, _search_files),
    "search_knowledge": (SearchKnowledge, _search_knowledge),
    "output": (Deliver, _output),
}
