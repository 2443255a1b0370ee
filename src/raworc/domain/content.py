"""What goes into a response and what comes out: content items, from and to their stored forms."""

from collections.abc import Sequence
from typing import Any, Final, cast

from raworc.errors import BadRequest, FieldError

Json = dict[str, Any]
Item = dict[str, Any]

OUTPUT_TOOL: Final = "output"
_EXAMPLE: Final = "{'content': [{'type': 'text', 'content': '...'}]}"


def text_input(text: str) -> Json:
    """The stored form of a plain prompt.

    Raises:
        BadRequest: there is no text in it.
    """
    if not text.strip():
        raise BadRequest("'prompt' must hold some text", details=(FieldError("prompt", "must hold some text"),))
    return {"content": [{"type": "text", "content": text}]}


def check_input(given: object) -> Json:
    """``given`` itself, once it is known to hold text for an agent: content items, or the older ``{text}``.

    Raises:
        BadRequest: not an object, no items, an item that is not text, or no text at all.
    """
    known = _object(given)
    if known is None:
        raise _refused("input", f"must be an object like {_EXAMPLE}")
    items = input_content(known)
    if not items:
        raise _refused("input", f"must hold text, like {_EXAMPLE}")
    for number, item in enumerate(items):
        _check_item(item, f"input.content.{number}")
    if not any(str(item["content"]).strip() for item in items):
        raise _refused("input", "must hold some text")
    return known


def input_content(stored: Json) -> list[Item]:
    """The items of a turn's input; the older ``{text}`` is one text item; a marker has none."""
    content = stored.get("content")
    if isinstance(content, list):
        return cast("list[Item]", content)
    text = stored.get("text")
    return [{"type": "text", "content": text}] if isinstance(text, str) else []


def output_content(output: Json, segments: Sequence[Json]) -> list[Item]:
    """The items that answer a turn: an outside writer's, else the output tool's, else the final text or summary."""
    text = output.get("text")
    if isinstance(text, str):
        return [{"type": "text", "content": text}]
    for segment in reversed(segments):
        items = _output_items(segment)
        if items:
            return items
    for segment in reversed(segments):
        match segment.get("type"):
            case "final":
                return [{"type": "text", "content": segment.get("text", "")}]
            case "context_compacted" if not segment.get("automatic"):
                return [{"type": "text", "content": segment.get("summary", "")}]
            case _:
                pass
    return []


def merged_output(stored: Json, given: Json) -> Json:
    """``stored`` with the keys of ``given`` put over it; ``items`` are segments' business and left out."""
    return {**stored, **{key: value for key, value in given.items() if key != "items"}}


def check_output(given: object) -> tuple[Json, list[Json]]:
    """An outside writer's ``output``: what is to be merged, and the items that become segments.

    Raises:
        BadRequest: not an object, ``text`` not a text, or ``items`` not a list of objects.
    """
    known = _object(given)
    if known is None:
        raise _refused("output", "must be an object")
    if not isinstance(known.get("text", ""), str):
        raise _refused("output.text", "must be a text")
    items = known.get("items", [])
    if not isinstance(items, list):
        raise _refused("output.items", "must be a list")
    return known, [_checked_segment(item, number) for number, item in enumerate(cast("list[object]", items))]


def _checked_segment(item: object, number: int) -> Json:
    known = _object(item)
    if known is None:
        raise _refused(f"output.items.{number}", "must be an object")
    return known


def _check_item(item: object, field: str) -> None:
    known = _object(item)
    if known is None or not isinstance(known.get("type"), str):
        raise _refused(field, "must be an object with a 'type'")
    if known["type"] != "text":
        raise _refused(f"{field}.type", "must be 'text'")
    if not isinstance(known.get("content"), str):
        raise _refused(f"{field}.content", "must be a text")


def _output_items(segment: Json) -> list[Item]:
    if segment.get("type") != "tool_result" or segment.get("tool") != OUTPUT_TOOL or segment.get("is_error"):
        return []
    output = _object(segment.get("output"))
    items = output.get("items") if output else None
    return cast("list[Item]", items) if isinstance(items, list) else []


def _object(value: object) -> Json | None:
    return cast("Json", value) if isinstance(value, dict) else None


def _refused(field: str, reason: str) -> BadRequest:
    return BadRequest(f"'{field}' {reason}", details=(FieldError(field, reason),))
