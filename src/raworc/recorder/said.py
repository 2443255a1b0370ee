"""What a recorded call says, for conversations: the digests of its messages and whose session it names."""

import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec

from raworc.domain.conversations import HELD, SessionKey
from raworc.domain.digests import TASK_TOOLS, Fingerprint, fingerprint, system_digest
from raworc.domain.text import storable, storable_text
from raworc.domain.wires import endpoint_of
from raworc.errors import BadRequest
from raworc.store.recordings import LinkRow
from raworc.wire.anthropic import Json
from raworc.wire.endpoints import SPOKEN

_MAX_OPENING: Final = 20_000
_MAX_KEY: Final = 255
_SESSION_IN_USER_ID: Final = re.compile(r"_session_([0-9a-zA-Z-]+)$")


@dataclass(frozen=True)
class About:
    """What is known of a call beside what it says. Headers have lower-case names."""

    path: str
    caller: str
    session_id: uuid.UUID | None
    headers: Mapping[str, str]


def link_row(about: About, body: bytes, request: Json, answer: Json, *, ok: bool) -> LinkRow | None:
    """The digests of a call, computed from what is stored of it; None for a call that is in no conversation.

    ``body`` are the request's bytes and ``request`` the JSON in them, ``answer`` the message that was answered.
    """
    endpoint = endpoint_of("POST", about.path)
    if endpoint == "other":
        return None
    spoken = SPOKEN[endpoint]
    asked, told = spoken.asked(request), spoken.told(answer)
    named = _named(request, answer) if endpoint == "responses" else {}
    said = fingerprint(asked.get("messages"), told.get("content"), **named)
    if said.whole is None:
        return None
    key = session_key(about, request)
    return LinkRow(
        session=key.session if key else "",
        agent=(key.agent or "") if key else "",
        parent_agent=(key.parent or "") if key else "",
        **_digests(said),
        body_digest=hashlib.sha256(body).digest(),
        system_digest=system_digest(asked.get("system")),
        ok=ok,
        side=key is not None and not asked.get("tools"),
    )


def session_key(about: About, request: Json) -> SessionKey | None:
    """The session that a client names: by headers, in the request, or, for our own turns, the agent's."""
    if endpoint_of("POST", about.path) == "messages":
        session = _header(about, "x-claude-code-session-id") or _user_session(request)
        agent, parent = (_header(about, f"x-claude-code-{name}-id") for name in ("agent", "parent-agent"))
    else:  # Codex, of which older versions write an underscore; or OpenAI's own conversations
        held = _conversation(request)
        session = _header(about, "session-id") or _header(about, "session_id") or (held and f"{HELD}{held}")
        agent, parent = _header(about, "thread-id") if _header(about, "x-codex-parent-thread-id") else "", ""
    if session:
        return SessionKey(session, agent or None, parent or None)
    return SessionKey(f"raworc:{about.session_id}") if about.caller == "turn" and about.session_id else None


def task_uses(answer: Json) -> list[Json] | None:
    """The uses of tools that start subtasks, as the documented column has them."""
    content = answer.get("content")
    uses: list[Json] = []
    for entry in cast("list[Any]", content) if isinstance(content, list) else []:
        block = cast("Json", entry) if isinstance(entry, dict) else {}
        if block.get("type") == "tool_use" and block.get("name") in TASK_TOOLS:
            uses.append({"id": block.get("id"), "name": block.get("name"), "input": block.get("input")})
    try:
        return cast("list[Json]", storable(uses)) if uses else None
    except BadRequest:
        return None


def _digests(said: Fingerprint) -> dict[str, Any]:
    return {
        "first": said.prefixes[0],
        "whole": said.prefixes[-1],
        "prefixes": b"".join(said.prefixes),
        "answered": said.answered,
        "response": said.response,
        "prompt": said.prompt,
        "opening": storable_text(said.opening[:_MAX_OPENING]),
        "tasks": [[storable_text(use.tool_use_id)[:_MAX_KEY], use.prompt.hex()] for use in said.tasks] or None,
        "summary": storable_text(said.summary) if said.summary else None,
    }


def _user_session(request: Json) -> str:
    """Claude Code's ``user_<hash>_account_<uuid>_session_<uuid>``, or a JSON object with ``session_id``."""
    metadata = request.get("metadata")
    told = cast("Json", metadata).get("user_id") if isinstance(metadata, dict) else None
    if not isinstance(told, str):
        return ""
    found = _SESSION_IN_USER_ID.search(told)
    if found:
        return found[1][:_MAX_KEY]
    try:
        named = msgspec.json.decode(told, type=dict[str, Any]).get("session_id")
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeEncodeError, RecursionError):
        return ""
    return storable_text(named)[:_MAX_KEY] if isinstance(named, str) else ""


def _conversation(request: Json) -> str:
    """The conversation that a response belongs to, by its id or as an object with one."""
    given: object = request.get("conversation")
    named = cast("Json", given).get("id") if isinstance(given, dict) else given
    return storable_text(named)[:_MAX_KEY] if isinstance(named, str) else ""


def _named(request: Json, answer: Json) -> dict[str, str | None]:
    """Which response a request goes on from, and which one later requests may go on from."""
    after, own = request.get("previous_response_id"), answer.get("id")
    return {
        "after": after if isinstance(after, str) else None,
        "answer_id": own if isinstance(own, str) else None,
    }


def _header(about: About, name: str) -> str:
    return about.headers.get(name, "").strip()[:_MAX_KEY]
