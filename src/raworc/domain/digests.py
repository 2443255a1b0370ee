"""What a model call says, as digests: one for every prefix of its messages, whatever a client does to their form.

Two requests share a prefix exactly when they share its digest. Nothing else of a conversation needs to be kept to
link what comes later. Messages have the shape of the Messages API; other wires are translated before.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import msgspec

Digest = bytes
"""SHA-256, 32 bytes."""

_ROLES: Final = frozenset({"user", "assistant"})
_REMINDER: Final = re.compile(r"<(/?)system-reminder>", re.IGNORECASE)
TASK_TOOLS: Final = frozenset({"Task", "Agent"})
_UNSAID: Final = frozenset({"thinking", "redacted_thinking"})
_DECORATION: Final = frozenset({"cache_control", "citations", "is_error"})
_SUMMARY_START: Final = "<summary>"
_SUMMARY_END: Final = "</summary>"
_ASKS_FOR_SUMMARY: Final = "summar"
_TAG: Final = re.compile(r"</?(?:analysis|summary)>")
_PROBE: Final = 2_000
_SHORTEST_SUMMARY: Final = 100
_BILLING: Final = re.compile(r"^[ \t]*x-anthropic-billing-header:.*$\n?", re.MULTILINE | re.IGNORECASE)
_IN_BILLING: Final = "-header:"  # a part that is the same for whoever ignores case, whatever he takes for a letter
_ENCODER = msgspec.json.Encoder(order="sorted")

Block = Mapping[str, Any]
_Said = list[list[Any]]


@dataclass(frozen=True)
class TaskUse:
    """A subtask that an answer starts: the tool use's id and its prompt's digest."""

    tool_use_id: str
    prompt: Digest


@dataclass(frozen=True)
class Fingerprint:
    """A request and its answer.

    ``prefixes[i]`` is the digest of the first ``i + 1`` messages that say something, the last one that of all;
    ``answered`` goes on with the answer. ``prompt`` is the digest of the only user message, where it is the only
    message; ``opening`` the text of the first user message with white space folded; ``summary`` what the answer
    says of a conversation, likewise, None where it cannot be one. ``response`` stands for the answer's id, where a
    request may name that in place of all that was said before; such a request has it as its first prefix.
    """

    prefixes: tuple[Digest, ...] = ()
    answered: Digest | None = None
    prompt: Digest | None = None
    opening: str = ""
    tasks: tuple[TaskUse, ...] = ()
    summary: str | None = None
    response: Digest | None = None

    @property
    def whole(self) -> Digest | None:
        """The digest of all messages; None when there are none."""
        return self.prefixes[-1] if self.prefixes else None


@dataclass
class _Seen:
    uses: set[str] = field(default_factory=set[str])
    results: set[str] = field(default_factory=set[str])


def fingerprint(
    messages: object, answer: object, *, after: str | None = None, answer_id: str | None = None
) -> Fingerprint:
    """Read a request's ``messages`` and its answer's ``content``. Never raises: what has no meaning says nothing.

    ``after`` is the id of the answer that the request goes on from without repeating it, ``answer_id`` the id by
    which a later one may do so.
    """
    seen = _Seen()
    said = [(role, blocks) for role, content in _turns(messages) if (blocks := _said(content, seen))]
    if after:
        known = _response_digest(after)
        prefixes = (known, *_chain(known, said or [("user", [])]))
    else:
        prefixes = tuple(_chain(b"", said))
    reply = _said(answer, seen)
    answered = next(_chain(prefixes[-1], [("assistant", reply)])) if prefixes and reply else None
    first = next((content for role, content in _turns(messages) if role == "user"), None)
    alone = len(said) == 1 and said[0][0] == "user" and not after
    return Fingerprint(
        prefixes=prefixes,
        answered=answered,
        prompt=text_digest(_text(first)) if alone else None,
        opening=folded(_text(first)),
        tasks=tuple(_tasks(answer)),
        summary=_summary(messages, answer),
        response=_response_digest(answer_id) if answer_id else None,
    )


def text_digest(text: str) -> Digest:
    """The digest by which a subtask's prompt is found again."""
    return hashlib.sha256(_plain(text).encode("utf-8", "surrogatepass")).digest()


def system_digest(system: object) -> Digest | None:
    """The digest of a request's system prompt, without what differs from call to call; None when it has none."""
    text = "\n".join(_texts(system)) if not isinstance(system, str) else system
    plain = _plain(_BILLING.sub("", text) if _IN_BILLING in text.lower() else text)
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).digest() if plain else None


def continues(opening: str, summary: str) -> bool:
    """Whether a conversation that opens like this goes on from that summary; both with white space folded."""
    return summary[:_PROBE] in opening


def folded(text: str) -> str:
    """``text`` with white space folded and the tags around a summary taken away."""
    return " ".join(_TAG.sub(" ", text).split())


def _response_digest(answer_id: str) -> Digest:
    return hashlib.sha256(b"response\0" + answer_id.encode("utf-8", "surrogatepass")).digest()


def _chain(start: Digest, said: Iterable[tuple[str, _Said]]) -> Iterator[Digest]:
    digest = start
    for role, blocks in said:
        digest = hashlib.sha256(digest + _encode([role, blocks])).digest()
        yield digest


def _encode(value: object) -> bytes:
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:  # half of a pair of surrogates, which JSON may hold and UTF-8 may not
        return json.dumps(value, sort_keys=True).encode()


def _turns(messages: object) -> Iterator[tuple[str, object]]:
    for message in cast("list[object]", messages) if isinstance(messages, list) else ():
        entry = _mapping(message)
        role = entry.get("role")
        if isinstance(role, str) and role in _ROLES:
            yield role, entry.get("content")


def _said(content: object, seen: _Seen) -> _Said:
    """What a message's blocks say, each as a list that begins with its kind."""
    if isinstance(content, str):
        text = _plain(content)
        return [["text", text]] if text else []
    found: _Said = []
    for block in _blocks(content):
        said = _block(block, seen)
        if said is not None:
            found.append(said)
    return found


def _block(block: Block, seen: _Seen) -> list[Any] | None:
    kind = str(block.get("type"))
    if kind in _UNSAID:
        return None
    if kind == "text":
        text = _plain(_string(block.get("text")))
        return [kind, text] if text else None
    if kind == "image":
        return [kind, _hashed(block.get("source"))]
    if kind == "tool_use":
        use = [kind, _string(block.get("name")), _string(block.get("id")), _hashed(block.get("input"))]
        return _once(use, block.get("id"), seen.uses)
    if kind == "tool_result":
        result = [kind, _string(block.get("tool_use_id")), _result(block.get("content"))]
        return _once(result, block.get("tool_use_id"), seen.results)
    return _other(block)


def _result(content: object) -> _Said:
    """What a tool's result says; a client may send a text alone as a block or as it is."""
    if isinstance(content, str):
        return [["text", _plain(content)]]
    return [
        ["text", _plain(_string(block.get("text")))] if block.get("type") == "text" else _other(block)
        for block in _blocks(content)
    ]


def _other(block: Block) -> list[Any]:
    return [
        _string(block.get("type")),
        _hashed({name: value for name, value in block.items() if name not in _DECORATION}),
    ]


def _once(said: list[Any], identity: object, seen: set[str]) -> list[Any] | None:
    """None for a tool block that was there before: some clients repeat them."""
    if isinstance(identity, str):
        if identity in seen:
            return None
        seen.add(identity)
    return said


def _tasks(answer: object) -> Iterator[TaskUse]:
    for block in _blocks(answer):
        prompt = _mapping(block.get("input")).get("prompt")
        if block.get("type") == "tool_use" and block.get("name") in TASK_TOOLS and isinstance(prompt, str):
            yield TaskUse(_string(block.get("id")), text_digest(prompt))


def _summary(messages: object, answer: object) -> str | None:
    text = _text(answer)
    start = text.rfind(_SUMMARY_START)
    if start >= 0:
        text = text[start:].partition(_SUMMARY_END)[0]
    elif _ASKS_FOR_SUMMARY not in _last_asked(messages).lower():
        return None
    plain = folded(text)
    return plain[:_PROBE] if len(plain) >= _SHORTEST_SUMMARY else None


def _last_asked(messages: object) -> str:
    asked = [content for role, content in _turns(messages) if role == "user"]
    return _text(asked[-1]) if asked else ""


def _text(content: object) -> str:
    return content if isinstance(content, str) else "\n".join(_texts(content))


def _texts(content: object) -> list[str]:
    texts = [_string(block.get("text")) for block in _blocks(content) if block.get("type") == "text"]
    return [text for text in texts if _plain(text)]


def _plain(text: str) -> str:
    """``text`` without system reminders and the white space before them, its own ends trimmed, line ends folded."""
    kept: list[str] = []
    at = 0
    while (opened := _tag(text, at, closing=False)) and (closed := _tag(text, opened.end(), closing=True)):
        kept.append(text[at : opened.start()].rstrip())
        at = closed.end()
    return "".join([*kept, text[at:]]).replace("\r\n", "\n").strip()


def _tag(text: str, at: int, *, closing: bool) -> re.Match[str] | None:
    return next((tag for tag in _REMINDER.finditer(text, at) if bool(tag[1]) == closing), None)


def _hashed(value: object) -> str:
    try:
        return hashlib.sha256(_encode(value)).hexdigest()
    except RecursionError:
        return "deep"


def _blocks(content: object) -> Sequence[Block]:
    entries = cast("list[object]", content) if isinstance(content, list) else []
    return [cast("Block", entry) for entry in entries if isinstance(entry, dict)]


def _mapping(value: object) -> Block:
    return cast("Block", value) if isinstance(value, dict) else {}


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
