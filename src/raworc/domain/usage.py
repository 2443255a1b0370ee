"""What a recorded call used and what kind of call it is, read from the provider's own words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from raworc.domain.wires import Wire

RequestType = Literal["inference", "query_evaluation", "quota"]

COUNTS: Final = ("input_tokens", "output_tokens", "prompt_tokens", "completion_tokens")
"""One of them stands in every ``usage`` object that counts tokens."""

_MOST: Final = 1_000_000_000  # a provider's figure above this is an error, and no sum of two overflows a column


@dataclass(frozen=True)
class Usage:
    """Token counts of one call; ``input_tokens`` does not include what came from or went into the cache."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_creation_5m_input_tokens: int = 0
    cache_creation_1h_input_tokens: int = 0
    cache_read_input_tokens: int = 0

    @property
    def total(self) -> int:
        """All kinds added up."""
        written_and_read = self.cache_creation_input_tokens + self.cache_read_input_tokens
        return self.input_tokens + self.output_tokens + written_and_read


def read_usage(raw: object, wire: Wire = "anthropic") -> Usage:
    """The counts in a ``usage`` object of this wire; zero for what is missing or no count."""
    usage = _mapping(raw)
    if wire == "openai":
        return _openai_usage(usage)
    lived = _mapping(usage.get("cache_creation"))
    return Usage(
        input_tokens=_count(usage.get("input_tokens")),
        output_tokens=_count(usage.get("output_tokens")),
        cache_creation_input_tokens=_count(usage.get("cache_creation_input_tokens")),
        cache_creation_5m_input_tokens=_count(lived.get("ephemeral_5m_input_tokens")),
        cache_creation_1h_input_tokens=_count(lived.get("ephemeral_1h_input_tokens")),
        cache_read_input_tokens=_count(usage.get("cache_read_input_tokens")),
    )


def is_counted(raw: object) -> bool:
    """Whether a ``usage`` object counts tokens: some count seconds, or nothing."""
    return any(isinstance(_mapping(raw).get(name), int) for name in COUNTS)


def _openai_usage(usage: Mapping[str, Any]) -> Usage:
    """What OpenAI counts as input holds what was read from the cache, and what was written into it."""
    given = _count(usage.get("prompt_tokens", usage.get("input_tokens")))
    details = _mapping(usage.get("prompt_tokens_details", usage.get("input_tokens_details")))
    read = min(_count(details.get("cached_tokens")), given)
    written = min(_count(details.get("cache_write_tokens")), given - read)
    return Usage(
        input_tokens=given - read - written,
        output_tokens=_count(usage.get("completion_tokens", usage.get("output_tokens"))),
        cache_creation_input_tokens=written,
        cache_read_input_tokens=read,
    )


def request_type(request: object) -> RequestType:
    """``quota``: the last user text is that word. ``query_evaluation``: at most one system block and no tools."""
    body = _mapping(request)
    if _last_user_text(body.get("messages")).strip().lower() == "quota":
        return "quota"
    system = body.get("system")
    blocks = len(cast("list[Any]", system)) if isinstance(system, list) else int(bool(system))
    return "query_evaluation" if blocks <= 1 and not body.get("tools") else "inference"


def _last_user_text(messages: object) -> str:
    for message in reversed(cast("list[Any]", messages) if isinstance(messages, list) else []):
        if _mapping(message).get("role") == "user":
            content = _mapping(message).get("content")
            if isinstance(content, str):
                return content
            blocks = cast("list[Any]", content) if isinstance(content, list) else []
            texts = [_mapping(block).get("text") for block in blocks if _mapping(block).get("type") == "text"]
            return str(texts[-1]) if texts else ""
    return ""


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(min(max(value, 0), _MOST))


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}
