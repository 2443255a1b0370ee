"""Which provider's wire a call speaks, and which of its endpoints it asks."""

import re
from collections.abc import Mapping
from typing import Final, Literal

Wire = Literal["anthropic", "openai"]
"""Whose shapes a call and its errors have."""

Endpoint = Literal["messages", "chat", "responses", "other"]
"""What a call's bodies mean: the three that make a model speak, and all the rest."""

_SPEAKING: Final[dict[tuple[str, str], Endpoint]] = {
    ("POST", "/v1/messages"): "messages",
    ("POST", "/v1/chat/completions"): "chat",
    ("POST", "/v1/responses"): "responses",
}
_OWN_PATHS: Final[tuple[tuple[str, Wire], ...]] = (
    ("/v1/messages", "anthropic"),
    ("/v1/chat", "openai"),
    ("/v1/responses", "openai"),
)
_KEPT: Final = frozenset({*_SPEAKING, ("POST", "/v1/messages/count_tokens"), ("GET", "/v1/models")})
_ONE_MODEL: Final = "/v1/models/"
_MODELS_AT_WORK: Final = frozenset(
    f"/v1/{path}"
    for path in (
        *("messages", "messages/count_tokens", "chat/completions", "completions"),
        *("responses", "responses/compact", "responses/input_tokens", "embeddings", "moderations"),
        *("images/generations", "images/edits", "images/variations"),
        *("audio/speech", "audio/transcriptions", "audio/translations"),
    )
)
_ONE_RESPONSE: Final = re.compile(r"/v1/responses/[^/]+")
_ITS_CANCEL: Final = re.compile(r"/v1/responses/[^/]+/cancel")
_ANTHROPIC_HEADERS: Final = (b"anthropic-version", b"x-api-key")


def wire_of(path: str, headers: Mapping[bytes, bytes]) -> Wire:
    """The wire of a call: its path's, where one provider alone has such a path, else as its headers tell."""
    for own, wire in _OWN_PATHS:
        if path == own or path.startswith(own + "/"):
            return wire
    return "anthropic" if any(name in headers for name in _ANTHROPIC_HEADERS) else "openai"


def endpoint_of(method: str, path: str) -> Endpoint:
    """What is asked of the provider."""
    return _SPEAKING.get((method, path), "other")


def keeps_bodies(method: str, path: str) -> bool:
    """Whether the record of such a call holds what was said; of files, batches and the like it does not."""
    return (method, path) in _KEPT or (method == "GET" and path.startswith(_ONE_MODEL))


def looks_at_response(method: str, path: str) -> bool:
    """Whether a response that was made by an earlier call is asked for, or ended."""
    return (_ONE_RESPONSE if method == "GET" else _ITS_CANCEL).fullmatch(path) is not None


def may_tell_usage(method: str, path: str) -> bool:
    """Whether the answer of a call whose record holds no bodies may say what it, or an earlier call, has used."""
    return method == "POST" or looks_at_response(method, path)


def puts_models_to_work(method: str, path: str) -> bool:
    """Whether a call does that, or asks which there are, and reaches nothing that an account keeps at its provider."""
    if method == "POST":
        return path in _MODELS_AT_WORK
    return method in {"GET", "HEAD"} and (path == "/v1/models" or path.startswith(_ONE_MODEL))
