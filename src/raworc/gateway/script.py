"""What the scripted model says: a pure function of the request. No I/O, no key, no chance.

Each fenced block of the newest prompt is a tool call, in order: ``bash``, ``sh`` and ``python`` run a command (by the
tool ``bash``, however the client that offers it spells that: Claude Code's is ``Bash``), ``tool`` holds one call as
JSON, ``tools`` a list of calls to make at once. The tool results after the prompt say which block is next; after the
last, the answer is their outputs, joined by newlines. A ``fault`` block makes the provider misbehave. Asked which agent
answers a message, it names the one that the message names first. Every other prompt is answered ``You said: ...``.
"""

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast

import msgspec
from msgspec import Meta

from raworc.domain.routing import NONE, names_offered
from raworc.domain.summary import SUMMARY_INSTRUCTION, calls_begun, continued
from raworc.wire.anthropic import Json

_FENCE: Final = re.compile(
    r"^(?P<fence>`{3,})(?P<kind>bash|sh|python|tools?|fault)[ \t]*\n(?P<body>.*?)^(?P=fence)`*[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
_CHARACTERS_PER_TOKEN: Final = 4
_NAMED_IN_SUMMARY: Final = 80
_SHELL: Final = "bash"

_ToolCall = tuple[str, Any]
"""A tool's name and its input."""


class BadScript(ValueError):
    """The request is none that a provider would accept; the message says what is wrong."""


_Count = Annotated[int, Meta(ge=0, le=1_000_000)]
_HeaderName = Annotated[
    str, Meta(pattern=r"^(?!(content-(length|type)|transfer-encoding|connection)$)[a-z0-9-]{1,64}$")
]
_HeaderValue = Annotated[str, Meta(pattern=r"^[\x20-\x7e]{0,1024}$")]


class Fault(msgspec.Struct, frozen=True):
    """How to misbehave. Without ``times``, on every request for this prompt; else on the first so many."""

    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    times: _Count | None = None
    delay_ms: _Count = 0
    chunk_delay_ms: _Count = 0
    cut_after_events: _Count | None = None
    retry_after: Annotated[float, Meta(ge=0, le=86_400)] | None = None
    headers: dict[_HeaderName, _HeaderValue] = {}


@dataclass(frozen=True)
class Script:
    """The answer: its content blocks, why it stops, its usage, and the fault to commit.

    ``digest`` names the history it answers, ``prompt_digest`` the prompt alone.
    """

    content: list[Json]
    stop_reason: str
    input_tokens: int
    output_tokens: int
    digest: str
    prompt_digest: str
    fault: Fault | None


def script(request: Json) -> Script:
    """The answer to a Messages request.

    Raises:
        BadScript: no provider would accept it, or one of its blocks cannot be read.
    """
    messages = _messages(request)
    position, prompt = _prompt(messages)
    blocks = [(match["kind"], match["body"]) for match in _FENCE.finditer(prompt)]
    digest = hashlib.sha256(msgspec.json.encode(messages)).hexdigest()
    offered = names_offered(_text(request.get("system")))
    if offered is None:
        shell = _shell(request.get("tools"))
        calls = [_calls(kind, body, shell) for kind, body in blocks if kind != "fault"]
        content = _content(messages, position, prompt, calls, digest)
    else:
        content = [{"type": "text", "text": _named_first(offered, prompt)}]
    return Script(
        content=content,
        stop_reason="tool_use" if any(block["type"] == "tool_use" for block in content) else "end_turn",
        input_tokens=count_tokens(request),
        output_tokens=_tokens(_said(content)),
        digest=digest,
        prompt_digest=hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest(),
        fault=next((_fault(body) for kind, body in blocks if kind == "fault"), None),
    )


def count_tokens(request: Json) -> int:
    """A quarter of the characters of system, messages and tools, rounded up."""
    tools = request.get("tools")
    named = msgspec.json.encode(tools).decode() if tools else ""
    texts = [_text(request.get("system")), *(_said(message.get("content")) for message in _messages(request)), named]
    return _tokens("".join(texts))


def _messages(request: Json) -> list[Json]:
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadScript("messages: at least one message is required")
    for message in cast("list[object]", messages):
        if not isinstance(message, dict) or cast("Json", message).get("role") not in {"user", "assistant", "system"}:
            raise BadScript("messages: each must be an object with the role 'user' or 'assistant'")
        if not isinstance(cast("Json", message).get("content"), str | list):
            raise BadScript("messages: 'content' must be a text or a list of blocks")
    return cast("list[Json]", messages)


def _prompt(messages: Sequence[Json]) -> tuple[int, str]:
    """Position and text of the newest user message that has text; before the first message, and none, without one."""
    for position in range(len(messages) - 1, -1, -1):
        text = _text(messages[position]["content"])
        if messages[position]["role"] == "user" and text.strip():
            return position, text
    return -1, ""


def _content(
    messages: Sequence[Json], position: int, prompt: str, blocks: Sequence[Sequence[_ToolCall]], digest: str
) -> list[Json]:
    if SUMMARY_INSTRUCTION in prompt:
        return [{"type": "text", "text": _summary(messages[:position], prompt)}]
    outputs = [_text(result.get("content")) for result in _results(messages[position + 1 :])]
    if not blocks and (prompt or not outputs):
        return [{"type": "text", "text": f"You said: {_FENCE.sub('', prompt).strip()}"}]
    seen, done = 0, calls_begun(prompt) + len(outputs)
    for calls in blocks:
        if seen == done and calls:
            return [_use(name, given, f"{digest}{number}") for number, (name, given) in enumerate(calls)]
        seen = min(seen + len(calls), done)
    return [{"type": "text", "text": "\n".join(outputs)}]


def _named_first(offered: Sequence[str], prompt: str) -> str:
    """Which of these names stands first in a prompt; of names that begin alike the longest."""
    places = [(match.start(), -len(name), name) for name in offered if (match := _standing(name).search(prompt))]
    return min(places)[2] if places else NONE


def _standing(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")


def _shell(tools: object) -> str:
    """What the tool that runs commands is called among those offered."""
    offered = cast("list[object]", tools) if isinstance(tools, list) else []
    names = [cast("Json", tool).get("name") for tool in offered if isinstance(tool, dict)]
    alike = [name for name in names if isinstance(name, str) and name.lower() == _SHELL]
    return alike[0] if alike and _SHELL not in alike else _SHELL


def _calls(kind: str, body: str, shell: str) -> list[_ToolCall]:
    """The tool calls of one fenced block."""
    source = body.removesuffix("\n")
    match kind:
        case "bash" | "sh":
            return [(shell, {"command": source})]
        case "python":
            return [(shell, {"command": "python3 -c " + shlex.quote(source)})]
        case "tool":
            return [_call(_json(kind, body))]
        case _:
            calls = _json(kind, body)
            if not isinstance(calls, list):
                raise BadScript("The 'tools' block must hold a JSON list of calls")
            return [_call(call) for call in cast("list[object]", calls)]


def _call(call: object) -> _ToolCall:
    given = cast("Json", call) if isinstance(call, dict) else {}
    name = given.get("name")
    if not isinstance(name, str) or not name:
        raise BadScript("A tool call must be an object with 'name' and 'input'")
    return name, given.get("input", {})


def _fault(body: str) -> Fault:
    try:
        return msgspec.json.decode(body, type=Fault)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadScript(f"The 'fault' block cannot be read: {error}") from None


def _json(kind: str, body: str) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadScript(f"The '{kind}' block is not JSON: {error}") from None


def _use(name: str, given: object, seed: str) -> Json:
    identity = hashlib.sha256(seed.encode()).hexdigest()[:24]
    return {"type": "tool_use", "id": f"toolu_{identity}", "name": name, "input": given}


def _summary(earlier: Sequence[Json], prompt: str) -> str:
    texts = [_text(message["content"]).strip() for message in earlier if message["role"] == "user"]
    texts.append(prompt.replace(SUMMARY_INSTRUCTION, "").strip())
    asked = [line for text in filter(None, texts) for line in _named(text)]
    return "\n".join([f"Summary of {len(asked)} user messages:", *(f"{n}. {line}" for n, line in enumerate(asked, 1))])


def _named(text: str) -> list[str]:
    """A user message by its beginning; those that an earlier summary names, by that."""
    summary = continued(text)
    if summary is None:
        return [" ".join(text[:_NAMED_IN_SUMMARY].split())]
    return [line.partition(". ")[2] for line in summary.splitlines()[1:]]


def _results(messages: Sequence[Json]) -> list[Json]:
    return [
        block
        for message in messages
        if isinstance(message["content"], list)
        for block in cast("list[Json]", message["content"])
        if isinstance(block, dict) and block.get("type") == "tool_result"  # pyright: ignore[reportUnnecessaryIsInstance]
    ]


def _text(content: object) -> str:
    """The text of a message's or a tool result's content; other blocks are passed over."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    blocks = [cast("Json", block) for block in cast("list[object]", content) if isinstance(block, dict)]
    return "\n".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")


def _said(content: object) -> str:
    """Every character that counts: texts, and all of the other blocks as JSON."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(_block_text(block) for block in cast("list[object]", content))


def _block_text(block: object) -> str:
    given = cast("Json", block) if isinstance(block, dict) else {}
    match given.get("type"):
        case "text":
            return str(given.get("text", ""))
        case "tool_use":
            return str(given.get("name", "")) + msgspec.json.encode(given.get("input")).decode()
        case "tool_result":
            return _said(given.get("content"))
        case _:
            return ""


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)
