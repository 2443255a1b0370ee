"""The Responses wire: what the recorder, linking and the scripted model read of it. No I/O.

Shapes: https://platform.openai.com/docs/api-reference/responses. Told in the shapes of the Messages API, as in
``wire/chat.py``: the items that a model gave in a row are one message of its own.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Final, cast

from raworc.wire.anthropic import Json, error_of, parse_message
from raworc.wire.chat import as_blocks, as_content, mapping, objects, tool_result, tool_use
from raworc.wire.sse import SSEEvent

_ENDS: Final = frozenset(f"response.{end}" for end in ("completed", "failed", "incomplete", "cancelled"))
_SYSTEM: Final = frozenset({"system", "developer"})
_UNSAID: Final = frozenset({"reasoning", "item_reference", "compaction"})
_PASSING: Final = frozenset({"id", "status", "encrypted_content"})
_DELTAS: Final = {
    "response.output_text.delta": ("content", "content_index", "text"),
    "response.refusal.delta": ("content", "content_index", "refusal"),
    "response.reasoning_text.delta": ("content", "content_index", "text"),
    "response.reasoning_summary_text.delta": ("summary", "summary_index", "text"),
}
_OWN_DELTAS: Final = {
    "response.function_call_arguments.delta": "arguments",
    "response.mcp_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
    "response.code_interpreter_call_code.delta": "code",
}
_PART_KINDS: Final = {"text": "output_text", "refusal": "refusal"}


def asked(request: Json) -> Json:
    """``messages``, ``system`` and ``tools`` of a request."""
    given = request.get("input")
    items: list[Json] = [{"role": "user", "content": given}] if isinstance(given, str) else objects(given)
    instructions = request.get("instructions")
    system = as_blocks(instructions) if isinstance(instructions, str) else []
    messages: list[Json] = []
    for item in items:
        if item.get("role") in _SYSTEM:
            system += as_blocks(item.get("content"))
        else:
            _add(messages, item)
    return {"messages": messages, "system": system, "tools": request.get("tools")}


def told(answer: Json) -> Json:
    """``content``, ``stop_reason``, ``usage`` and ``model`` of an answer. What cut it short is why it stopped."""
    messages: list[Json] = []
    for item in objects(answer.get("output")):
        _add(messages, item)
    cut_by = mapping(answer.get("incomplete_details")).get("reason")
    return {
        "content": [block for message in messages for block in message["content"]],
        "stop_reason": cut_by or answer.get("status"),
        "usage": answer.get("usage"),
        "model": answer.get("model"),
    }


def failure(answer: Json) -> tuple[str, str] | None:
    """Code and message of a response that failed although it was answered with 200."""
    error = mapping(answer.get("error"))
    if answer.get("status") != "failed":
        return None
    return str(error.get("code") or "api_error"), str(error.get("message") or "The response failed")


class ResponseAssembler:
    """The response of a stream: what its last event says, or, of one that was cut, what had come until then.

    ``done`` is set by the wire's last event; ``error`` holds the code and message of a failure, as ``failed`` finds
    it in the response.
    """

    def __init__(self, failed: Callable[[Json], tuple[str, str] | None] = failure) -> None:
        self._failed = failed
        self.done = False
        self.error: tuple[str, str] | None = None
        self._response: Json = {}
        self._items: dict[int, Json] = {}
        self._pieces: dict[int, dict[tuple[str, int, str], list[str]]] = defaultdict(dict)

    @property
    def message(self) -> Json:
        """The response as far as it has come, ``{}`` before it began."""
        if self.done or not self._response:
            return self._response
        output = [_grown(self._items.get(at, {}), self._pieces.get(at, {})) for at in self._places()]
        return {**self._response, "output": output}

    def feed(self, event: SSEEvent) -> None:
        """Take one event; what cannot be read is left out."""
        try:
            body = parse_message(event.data.encode("utf-8", "replace"))
        except ValueError:
            return
        kind = str(body.get("type", event.event))
        if kind == "error" or (body.get("error") and "response" not in body):
            self.error = _told(body)
        elif isinstance(body.get("response"), dict):
            self._response = mapping(body["response"])
            self.done = kind in _ENDS
            self.error = self._failed(self._response) if self.done else self.error
        elif kind in {"response.output_item.added", "response.output_item.done"}:
            at = _number(body, "output_index")
            self._items[at] = mapping(body.get("item"))
            if kind.endswith("done"):
                self._pieces.pop(at, None)
        else:
            self._delta(kind, body)

    def _delta(self, kind: str, body: Json) -> None:
        piece = body.get("delta")
        if not isinstance(piece, str):
            return
        if kind in _DELTAS:
            group, index, name = _DELTAS[kind]
            place = (group, _number(body, index), name)
        elif kind in _OWN_DELTAS:
            place = ("", 0, _OWN_DELTAS[kind])
        else:
            return
        self._pieces[_number(body, "output_index")].setdefault(place, []).append(piece)

    def _places(self) -> list[int]:
        return sorted(self._items.keys() | self._pieces.keys())


def _grown(item: Json, pieces: dict[tuple[str, int, str], list[str]]) -> Json:
    """An item that was not finished, with the pieces of it that had come."""
    grown: Json = dict(item) if item else {"type": "message", "role": "assistant", "content": []}
    for (group, _, name), texts in sorted(pieces.items()):
        text = "".join(texts)
        if not group:
            grown[name] = text
            continue
        kind = "summary_text" if group == "summary" else _PART_KINDS[name]
        reasoning = grown.get("type") == "reasoning" and group == "content"
        part = {"type": "reasoning_text" if reasoning else kind, name: text}
        grown[group] = [*objects(grown.get(group)), part]
    return grown


def _add(messages: list[Json], item: Json) -> None:
    """Put an item after the messages before it: the model's own in a row are one message."""
    kind = str(item.get("type") or "message")
    if kind in _UNSAID:
        return
    if kind == "message" and item.get("role") != "assistant":
        messages.append({"role": "user", "content": as_content(item.get("content"))})
    elif kind.endswith("_output"):
        messages.append(tool_result(item.get("call_id"), _output(item.get("output"))))
    else:
        if not messages or messages[-1]["role"] != "assistant":
            messages.append({"role": "assistant", "content": []})
        messages[-1]["content"] += _said(kind, item)


def _said(kind: str, item: Json) -> list[Json]:
    match kind:
        case "message":
            return as_blocks(item.get("content"))
        case "function_call":
            return [tool_use(item.get("call_id"), item.get("name"), item.get("arguments"))]
        case "custom_tool_call":
            return [
                {"type": "tool_use", "id": item.get("call_id"), "name": item.get("name"), "input": item.get("input")}
            ]
        case _:  # what the provider's own tools did, and calls of those that have no name
            return [{key: value for key, value in item.items() if key not in _PASSING}]


def _output(output: object) -> object:
    return cast("object", output) if isinstance(output, str | list) else [output]


def _told(body: Json) -> tuple[str, str]:
    """The two forms of an error in a stream."""
    if body.get("error"):
        return error_of(body) or ("api_error", "")
    return str(body.get("code") or "api_error"), str(body.get("message") or "")


def _number(body: Json, name: str) -> int:
    value = body.get(name)
    return value if isinstance(value, int) else 0
