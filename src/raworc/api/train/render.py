"""Recorded calls and conversations as the dashboard's document has them."""

from typing import Any

import msgspec

from raworc.api.render import moment
from raworc.services.conversations import BranchRow, ConversationView
from raworc.services.ledger import CallDetails
from raworc.services.requests import RequestView
from raworc.wire.encoding import decoded

Shown = dict[str, Any]


def call(view: RequestView) -> Shown:
    """A call without its bodies. What the document wants as text or number and is not known is empty, or 0."""
    return {
        "id": str(view.id),
        "trainId": view.train_id,
        "account_id": view.account_id or "",
        "method": view.method,
        "path": view.path,
        "status_code": view.status_code or 0,
        "error_type": view.error_type,
        "error_message": view.error_message,
        "model": view.model,
        "request_type": view.request_type,
        "input_tokens": view.input_tokens,
        "output_tokens": view.output_tokens,
        "total_tokens": view.total_tokens,
        "response_time_ms": view.duration_ms or 0,
        "created_at": moment(view.created_at),
        "updated_at": moment(view.updated_at),
        "conversation_id": _text(view.conversation_id),
        "branch_id": view.branch_id,
        "current_message_hash": view.current_message_hash,
        "parent_message_hash": view.parent_message_hash,
        "is_subtask": view.is_subtask,
        "parent_task_request_id": _text(view.parent_task_request_id),
        "parent_request_id": _text(view.parent_request_id),
        "retry_of": _text(view.retry_of),
        "link_source": view.link_source,
        "space": view.space,
        "session_id": _text(view.session_id),
        "turn_id": _text(view.turn_id),
        "stop_reason": view.stop_reason,
        "note": view.note,
        "first_byte_ms": view.first_byte_ms,
        "cache_creation_input_tokens": view.cache_creation_input_tokens,
        "cache_read_input_tokens": view.cache_read_input_tokens,
        "cost_usd": None if view.cost_usd is None else float(view.cost_usd),
        "price_version": view.price_version,
    }


def details(found: CallDetails) -> Shown:
    """A call with its bodies: JSON as it was sent where it is some, else text."""
    said = found.said
    encoding = (said.request_headers or {}).get("content-encoding", "")
    chunks = [
        {"chunk_index": index, "content": chunk.content, "created_at": moment(chunk.created_at)}
        for index, chunk in enumerate(found.chunks)
    ]
    return {
        **call(found.call),
        "request_headers": said.request_headers,
        "request_body": None if said.request_body is None else _body(decoded(said.request_body, encoding)),
        "response_headers": said.response_headers,
        "response_body": None if said.response_body is None else _body(said.response_body),
        "streaming_chunks": chunks,
    }


def conversation(view: ConversationView) -> Shown:
    """A conversation with its branches."""
    row = view.row
    return {
        "conversation_id": str(row.id),
        "account_id": row.account_id or "",
        "trainId": row.train_id,
        "first_message_at": moment(row.first_at),
        "last_message_at": moment(row.last_at),
        "message_count": row.message_count,
        "total_tokens": row.tokens,
        "branches": [_branch(branch) for branch in view.branches],
        "latest_request": {
            "id": str(row.latest_request_id),
            "status_code": row.latest_status_code or 0,
            "model": row.latest_model or "",
            "created_at": moment(row.last_at),
        },
        "has_subtasks": row.subtasks > 0,
        "subtask_count": row.subtasks,
        "space": row.space,
        "request_count": row.requests,
        "cost_usd": float(row.cost_usd),
        "unpriced_requests": row.unpriced,
    }


def _branch(branch: BranchRow) -> Shown:
    return {
        "branch_id": branch.branch_id,
        "parent_hash": branch.parent_hash or "",
        "created_at": moment(branch.created_at),
        "message_count": branch.message_count,
    }


def _body(body: bytes) -> object:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body.decode("utf-8", "replace")
    return msgspec.Raw(body)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
