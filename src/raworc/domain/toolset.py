"""Which tools an agent has, read from its list ``tools``.

A bare string and ``{"type": "builtin", "name"}`` name a built-in tool; once one is named, only the named ones are
there, so a misspelt name takes tools away and never gives one.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, cast
from urllib.parse import urlsplit

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
MAX_HEADERS: Final = 32
_SHOWN_CHARACTERS: Final = 80
_NAME_CHARACTERS: Final = 64
_SERVER_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", re.ASCII)
_HEADER_VALUE: Final = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]{0,8190}[\x21-\x7e])?)?", re.ASCII)
_SET_BY_HTTP: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "last-event-id",
        "mcp-protocol-version",
        "mcp-session-id",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_URL_CHARACTERS: Final = 2000
_STRANGE: Final = re.compile(r"[^A-Za-z0-9_-]", re.ASCII)


@dataclass(frozen=True)
class McpServer:
    """A server of tools inside the sandbox.

    ``command`` starts it and it speaks on its standard streams; or it listens at ``url``, and is sent ``headers``.
    """

    name: str
    command: str = ""
    url: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


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
    name = entry.get("name")
    if not isinstance(name, str) or not _SERVER_NAME.fullmatch(name):
        return "the 'name' of a server is 1 to 32 letters, digits, '-' or '_'"
    if name in known:
        return f"there is a server '{name}' already"
    if len(known) >= MAX_SERVERS:
        return f"there may be {MAX_SERVERS} servers at most"
    return _reached(name, entry)


def _reached(name: str, entry: Mapping[str, Any]) -> McpServer | str:
    command, url = entry.get("command"), entry.get("url")
    if isinstance(command, str) and command.strip() and "\0" not in command and url is None:
        return McpServer(name, command)
    if command is not None or not isinstance(url, str):
        return "a server needs either the 'command' that starts it or the 'url' where it listens"
    if not _is_inside(url):
        return "the 'url' of a server is one that is reached from inside the sandbox, as 'http://127.0.0.1:9000/mcp'"
    headers = _headers(entry.get("headers"))
    if headers is None:
        return "the 'headers' of a server are an object of names and texts, and name nothing that HTTP itself sets"
    return McpServer(name, url=url, headers=headers)


def _is_inside(url: str) -> bool:
    if len(url) > _URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme == "http" and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        return False


def _headers(given: object) -> tuple[tuple[str, str], ...] | None:
    """Names and values in their order; None when they cannot be sent."""
    if given is None:
        return ()
    if not isinstance(given, dict) or len(cast("dict[Any, Any]", given)) > MAX_HEADERS:
        return None
    found = tuple(cast("dict[str, Any]", given).items())
    sane = all(
        _HEADER_NAME.fullmatch(name)
        and name.lower() not in _SET_BY_HTTP
        and isinstance(value, str)
        and _HEADER_VALUE.fullmatch(value)
        for name, value in found
    )
    return found if sane else None


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
