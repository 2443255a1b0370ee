"""Which tools an agent has, read from its list ``tools``.

A bare string and ``{"type": "builtin", "name"}`` name a built-in tool; once one is named, only the named ones are
there, so a misspelt name takes tools away and never gives one.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

SEARCH_KNOWLEDGE: Final = "search_knowledge"
BUILTINS: Final = (
    "bash",
    "read_file",
    "write_file",
    "edit_file",
    "list_files",
    "search_files",
    SEARCH_KNOWLEDGE,
    "output",
)
MAX_SERVERS: Final = 8
_SHOWN_CHARACTERS: Final = 80
_NAME_CHARACTERS: Final = 64
_SERVER_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
_STRANGE: Final = re.compile(r"[^A-Za-z0-9_-]", re.ASCII)


@dataclass(frozen=True)
class McpServer:
    """A server of tools that ``command`` starts inside the sandbox; it speaks on its standard streams."""

    name: str
    command: str


@dataclass(frozen=True)
class Toolset:
    """The built-in tools that are offered, servers of others, and what people should know about entries."""

    builtins: tuple[str, ...] = BUILTINS
    remarks: tuple[str, ...] = ()
    servers: tuple[McpServer, ...] = ()


def toolset(entries: Sequence[Any], *, knows: bool = True) -> Toolset:
    """What ``entries`` say of an agent that ``knows`` something, or has nothing to search."""
    named: set[str] = set()
    servers: dict[str, McpServer] = {}
    remarks: list[str] = []
    narrowed = False
    for number, entry in enumerate(entries):
        match entry:
            case str(name) | {"type": "builtin", "name": str(name)}:
                narrowed = True
                named.add(name)
                if name not in BUILTINS:
                    remarks.append(f"'tools.{number}' is ignored: there is no built-in tool '{_short(name)}'")
            case {"type": "builtin"}:
                narrowed = True
                remarks.append(f"'tools.{number}' is ignored: it has no 'name'")
            case {"type": "mcp"}:
                server = _server(entry, servers)
                if isinstance(server, McpServer):
                    servers[server.name] = server
                else:
                    remarks.append(f"'tools.{number}' is ignored: {server}")
            case {"type": str(kind)}:
                remarks.append(f"'tools.{number}' is ignored: its type '{_short(kind)}' is not known")
            case _:
                remarks.append(f"'tools.{number}' is ignored: it is neither a name nor an object with a 'type'")
    there = tuple(name for name in BUILTINS if knows or name != SEARCH_KNOWLEDGE)
    builtins = tuple(name for name in there if name in named) if narrowed else there
    return Toolset(builtins, tuple(remarks), tuple(servers.values()))


def tool_name(server: str, tool: str, taken: Collection[str]) -> str:
    """What a server's tool is called by models: their letters and length only, and not a name that is taken."""
    plain = f"{server}__{_STRANGE.sub('_', tool)}"[:_NAME_CHARACTERS]
    for number in count(2):
        if plain not in taken:
            break
        ending = f"_{number}"
        plain = f"{server}__{_STRANGE.sub('_', tool)}"[: _NAME_CHARACTERS - len(ending)] + ending
    return plain


def _server(entry: Mapping[str, Any], known: Collection[str]) -> McpServer | str:
    """What it names, or why it names nothing."""
    name, command = entry.get("name"), entry.get("command")
    if not isinstance(name, str) or not _SERVER_NAME.fullmatch(name):
        return "the 'name' of a server is 1 to 32 letters, digits, '-' or '_'"
    if not isinstance(command, str) or not command.strip() or "\0" in command:
        return "a server needs the 'command' that starts it; those with a 'url' are not reached"
    if name in known:
        return f"there is a server '{name}' already"
    if len(known) >= MAX_SERVERS:
        return f"there may be {MAX_SERVERS} servers at most"
    return McpServer(name, command)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
