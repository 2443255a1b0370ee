"""What the dashboard's routes answer, as far as it is needed here: figures, calls, conversations."""

from datetime import datetime
from typing import Any, TypedDict

from msgspec import Struct, field

Json = dict[str, Any]


class Chosen(TypedDict, total=False):
    """Which calls are meant; None is left out. ``start`` and ``end`` are RFC 3339 or dates."""

    space: str | None
    train_id: str | None
    account_id: str | None
    model: str | None
    request_type: str | None
    status: str | None
    start: str | None
    end: str | None


class Period(Struct, frozen=True):
    """From when on and until when."""

    start: datetime
    end: datetime


class Stats(Struct, frozen=True):
    """The figures of a period."""

    total_requests: int
    total_tokens: int
    active_trains: int
    total_subtasks: int
    success_rate: float
    average_latency: float
    period: Period
    cost_usd: float = 0.0
    unpriced_requests: int = 0


class Used(Struct, frozen=True):
    """What calls used together; ``date`` is empty of all days together."""

    requests: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    date: str = ""
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    estimated_cost: float = 0.0
    unpriced_requests: int = 0


class Daily(Struct, frozen=True):
    """Days without a gap, the oldest first."""

    account_id: str
    days: tuple[Used, ...]
    totals: Used


class RecordedCall(Struct, frozen=True):
    """One recorded model call, without bodies."""

    id: str
    trainId: str  # noqa: N815  the document's own spelling
    account_id: str
    method: str
    path: str
    status_code: int
    request_type: str
    input_tokens: int
    output_tokens: int
    response_time_ms: int
    created_at: datetime
    model: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    conversation_id: str | None = None
    branch_id: str | None = None
    turn_id: str | None = None
    space: str | None = None
    cost_usd: float | None = None


class RecordedCalls(Struct, frozen=True):
    """One page of calls, newest first."""

    requests: tuple[RecordedCall, ...]
    pagination: Json


class Conversation(Struct, frozen=True):
    """Calls that go on from each other."""

    conversation_id: str
    trainId: str  # noqa: N815  the document's own spelling
    account_id: str
    first_message_at: datetime
    last_message_at: datetime
    message_count: int
    total_tokens: int
    subtask_count: int
    branches: tuple[Json, ...] = ()
    space: str = ""
    request_count: int = 0
    cost_usd: float = 0.0
    requests: tuple[RecordedCall, ...] = ()


class Conversations(Struct, frozen=True):
    """One page of conversations, last used first."""

    conversations: tuple[Conversation, ...]
    pagination: Json = field(default_factory=dict[str, Any])
