"""The Chat Completions wire: what the recorder, linking and the scripted model read of it. No I/O.

Shapes: https://platform.openai.com/docs/api-reference/chat. Requests and answers are told in the shapes of the
Messages API, so that all that reads them knows one; what has no meaning is left out, and nothing is ever raised.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, cast

import msgspec

from raworc.wire.anthropic import Delta, Json, error_of, parse_message
from raworc.wire.sse import SSEEvent

_TEXTS: Final = frozenset({"text", "input_text", "output_text"})
_IMAGES: Final = frozenset({"image_url", "input_image"})
_DONE: Final = "[DONE]"
_PASSING: Final = frozenset({"choices", "obfuscation"})
_DEEPEST: Final = 4
_HEARD: Final = {"content": "text", "refusal": "text", "reasoning_content": "thinking", "reasoning": "thinking"}
_SET_ONCE: Final = frozenset({"id", "type", "role", "name", "index"})


def asked(request: Json) -> Json:
    """``messages``, ``system`` and ``tools`` of a request."""
    system: list[Json] = []
    messages: list[Json] = []
    for entry in objects(request.get("messages")):
        match entry.get("role"):
            case "system" | "developer":
                system += as_blocks(entry.get("content"))
            case "assistant":
                messages.append({"role": "assistant", "content": _assistant(entry)})
            case "tool" | "function":
                messages.append(tool_result(entry.get("tool_call_id"), entry.get("content")))
            case "user":
                messages.append({"role": "user", "content": as_content(entry.get("content"))})
            case _:
                pass
    return {"messages": messages, "system": system, "tools": request.get("tools") or request.get("functions")}


def told(answer: Json) -> Json:
    """``content``, ``stop_reason``, ``usage`` and ``model`` of an answer: of its first choice where it has several."""
    choices = objects(answer.get("choices"))
    choice = choices[0] if choices else {}
    message = mapping(choice.get("message"))
    return {
        "content": _assistant(message) if message else [],
        "stop_reason": choice.get("finish_reason"),
        "usage": answer.get("usage"),
        "model": answer.get("model"),
    }


class ChatAssembler:
    """Puts a completion together from its stream's chunks: every choice, with whatever its deltas carry.

    ``done`` is set by the stream's last line; ``error`` holds the type and message of an error that came instead.
    """

    def __init__(self) -> None:
        self.done = False
        self.error: tuple[str, str] | None = None
        self._completion: Json = {}
        self._choices: dict[int, _Choice] = {}

    @property
    def message(self) -> Json:
        """The completion as far as it has come, ``{}`` before its first chunk."""
        if not self._completion:
            return {}
        choices = [_whole(index, self._choices[index]) for index in sorted(self._choices)]
        return {**self._completion, "object": "chat.completion", "choices": choices}

    def feed(self, event: SSEEvent) -> list[Delta]:
        """Take one chunk, and tell what its first choice said; what cannot be read is left out."""
        if event.data.startswith(_DONE):
            self.done = True
            return []
        try:
            chunk = parse_message(event.data.encode("utf-8", "replace"))
        except ValueError:
            return []
        if chunk.get("error"):
            self.error = error_of(chunk)
            return []
        heard: list[Delta] = []
        for given in objects(chunk.get("choices")):
            index = _index(given)
            self._choices.setdefault(index, _Choice()).take(given)
            if index == 0:
                heard += _heard(mapping(given.get("delta")))
        self._completion.update(
            (key, value) for key, value in chunk.items() if key not in _PASSING and value is not None
        )
        return heard


@dataclass
class _Growing:
    """An object that comes in pieces: texts grow, objects and lists of indexed objects grow within, the rest is set."""

    texts: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    inner: dict[str, "_Growing"] = field(default_factory=dict[str, "_Growing"])
    lists: dict[str, dict[int, "_Growing"]] = field(default_factory=dict[str, dict[int, "_Growing"]])
    rest: Json = field(default_factory=dict[str, Any])

    def take(self, delta: Json, depth: int = 0) -> None:
        for key, value in delta.items():
            if isinstance(value, str) and key not in _SET_ONCE:
                self.texts.setdefault(key, []).append(value)
            elif isinstance(value, dict) and depth < _DEEPEST:
                self.inner.setdefault(key, _Growing()).take(cast("Json", value), depth + 1)
            elif isinstance(value, list) and depth < _DEEPEST:
                for position, entry in enumerate(objects(cast("list[object]", value))):
                    at = entry.get("index", position)
                    number = at if isinstance(at, int) else position
                    self.lists.setdefault(key, {}).setdefault(number, _Growing()).take(entry, depth + 1)
            elif value is not None and (key not in _SET_ONCE or key not in self.rest):
                self.rest[key] = value

    def whole(self) -> Json:
        whole = dict(self.rest)
        whole.update((key, "".join(pieces)) for key, pieces in self.texts.items())
        whole.update((key, inner.whole()) for key, inner in self.inner.items())
        for key, entries in self.lists.items():
            whole[key] = [entries[number].whole() for number in sorted(entries)]
        return whole


@dataclass
class _Choice:
    message: _Growing = field(default_factory=_Growing)
    logprobs: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    other: Json = field(default_factory=dict[str, Any])

    def take(self, given: Json) -> None:
        self.message.take(mapping(given.get("delta")))
        for name, tokens in mapping(given.get("logprobs")).items():
            if isinstance(tokens, list):
                self.logprobs.setdefault(name, []).extend(cast("list[Any]", tokens))
        known = {"delta", "logprobs", "index"}
        self.other.update((key, value) for key, value in given.items() if key not in known and value is not None)


def _heard(delta: Json) -> Iterable[Delta]:
    for name, kind in _HEARD.items():
        text = delta.get(name)
        if isinstance(text, str) and text:
            yield Delta(kind, 0, text)


def _whole(index: int, choice: _Choice) -> Json:
    message = choice.message.whole()
    for use in objects(message.get("tool_calls")):
        use.pop("index", None)
    return {
        "index": index,
        "message": {"role": "assistant", "content": None, **message},
        "logprobs": choice.logprobs or None,
        "finish_reason": None,
        **choice.other,
    }


# ── what both of OpenAI's wires share ───────────────────────────────────────────────────────────────────
def as_content(content: object) -> str | list[Json]:
    """A message's content: its text, or its parts as blocks."""
    return content if isinstance(content, str) else as_blocks(content)


def as_blocks(content: object) -> list[Json]:
    """A text or a list of parts as blocks; kinds that are not known here stay as they are."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [_block(part) for part in objects(content)]


def tool_result(use_id: object, content: object) -> Json:
    """The message that gives a tool's output."""
    block: Json = {"type": "tool_result", "tool_use_id": use_id, "content": as_content(content)}
    return {"role": "user", "content": [block]}


def tool_use(use_id: object, name: object, arguments: object) -> Json:
    """The block that calls a tool. Arguments are read where they are JSON, so that their form does not matter."""
    given: object = arguments
    if isinstance(arguments, str):
        try:
            given = msgspec.json.decode(arguments) if arguments.strip() else {}
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            given = arguments
    return {"type": "tool_use", "id": use_id, "name": name, "input": given}


def objects(value: object) -> list[Json]:
    """The objects in a list, of anything else none."""
    entries = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("Json", entry) for entry in entries if isinstance(entry, dict)]


def mapping(value: object) -> Json:
    """An object, or an empty one."""
    return cast("Json", value) if isinstance(value, dict) else {}


def _assistant(message: Json) -> list[Json]:
    return [*_spoken(message), *_uses(message)]


def _spoken(message: Json) -> Iterable[Json]:
    yield from as_blocks(message.get("content"))
    if message.get("refusal"):
        yield {"type": "refusal", "refusal": message["refusal"]}
    audio = mapping(message.get("audio"))
    if audio:
        yield {"type": "audio", "id": audio.get("id")}


def _uses(message: Json) -> Iterable[Json]:
    for use in objects(message.get("tool_calls")):
        custom = mapping(use.get("custom"))
        called = custom or mapping(use.get("function"))
        given = custom.get("input") if custom else called.get("arguments")
        yield tool_use(use.get("id"), called.get("name"), given)
    legacy = mapping(message.get("function_call"))
    if legacy:
        yield tool_use(None, legacy.get("name"), legacy.get("arguments"))


def _block(part: Json) -> Json:
    kind = part.get("type")
    if kind in _TEXTS:
        return {"type": "text", "text": part.get("text")}
    if kind in _IMAGES:
        return {"type": "image", "source": {key: value for key, value in part.items() if key not in {"type", "detail"}}}
    if kind == "refusal":
        return {"type": "refusal", "refusal": part.get("refusal")}
    return part


def _index(body: Json) -> int:
    index = body.get("index")
    return index if isinstance(index, int) else 0
