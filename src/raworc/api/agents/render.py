"""The agents contract's objects as plain values, from the services' views."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import asdict

from raworc.api.agents.schemas import LimitsBody
from raworc.api.render import moment
from raworc.clock import rfc3339
from raworc.sandbox.driver import FileEntry
from raworc.services.agents import AgentView
from raworc.services.context import ContextUsage
from raworc.services.requests import RequestPage, RequestView
from raworc.services.turns import TurnView
from raworc.services.usage import Sums

Json = dict[str, Any]

_MOMENTS: Final = ("created_at", "last_activity_at", "published_at", "idle_from", "busy_from", "context_cutoff_at")


def agent_object(agent: AgentView) -> Json:
    """The document's Agent object and the additions to it."""
    shown = asdict(agent)
    for name in _MOMENTS:
        value = shown[name]
        if value is not None:
            shown[name] = rfc3339(value)
    return shown


def context_usage(usage: ContextUsage) -> Json:
    """The document's AgentContextUsage."""
    return {**vars(usage), "cutoff_at": moment(usage.cutoff_at), "measured_at": moment(usage.measured_at)}


def limits_of(body: LimitsBody | None) -> Mapping[str, float | None] | None:
    """The limits that were given."""
    return None if body is None else body.model_dump()


def response_object(turn: TurnView) -> Json:
    """The document's ResponseObject."""
    return {
        **vars(turn),
        "id": str(turn.id),
        "created_at": moment(turn.created_at),
        "updated_at": moment(turn.updated_at),
    }


def file_entry(entry: FileEntry) -> Json:
    """One entry of a directory."""
    shown: Json = {
        "name": entry.name,
        "kind": entry.kind,
        "size": entry.size_bytes,
        "mode": entry.mode,
        "mtime": moment(entry.mtime),
    }
    return shown if entry.link_target is None else {**shown, "link_target": entry.link_target}


def request_page(page: RequestPage) -> Json:
    """One page of recorded model calls."""
    pagination = {
        "total": page.total,
        "page": page.page,
        "per_page": page.per_page,
        "total_pages": page.total_pages,
    }
    return {
        "requests": [_request(call) for call in page.requests],
        "pagination": pagination,
        "totals": _sums(page.sums),
    }


def _sums(sums: Sums) -> Json:
    return {
        "requests": sums.requests,
        "failed_requests": sums.failed,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "total_tokens": sums.total_tokens,
        "cache_creation_input_tokens": sums.cache_creation_input_tokens,
        "cache_read_input_tokens": sums.cache_read_input_tokens,
        "response_time_ms": sums.duration_ms,
        "cost_usd": float(sums.cost_usd),
        "unpriced_requests": sums.unpriced,
    }


def _request(call: RequestView) -> Json:
    return {
        "id": str(call.id),
        "trainId": call.train_id,
        "account_id": call.account_id,
        "method": call.method,
        "path": call.path,
        "status_code": call.status_code,
        "error_type": call.error_type,
        "error_message": call.error_message,
        "model": call.model,
        "request_type": call.request_type,
        "input_tokens": call.input_tokens,
        "output_tokens": call.output_tokens,
        "total_tokens": call.total_tokens,
        "response_time_ms": call.duration_ms,
        "created_at": moment(call.created_at),
        "updated_at": moment(call.updated_at),
        "conversation_id": _text(call.conversation_id),
        "branch_id": call.branch_id,
        "current_message_hash": call.current_message_hash,
        "parent_message_hash": call.parent_message_hash,
        "is_subtask": call.is_subtask,
        "parent_task_request_id": _text(call.parent_task_request_id),
        "turn_id": _text(call.turn_id),
        "status": call.status,
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)
