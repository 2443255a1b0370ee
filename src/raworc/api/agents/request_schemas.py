"""What answers about recorded model calls hold."""

from typing import Literal

from raworc.api.agents.schemas import Time
from raworc.api.schemas import Answer


class RecordedCall(Answer):
    """One recorded model call without its bodies; ``status`` is ``recording`` while its record is on its way."""

    id: str
    trainId: str  # noqa: N815  the document's own spelling
    account_id: str | None
    method: str
    path: str
    status_code: int | None
    error_type: str | None
    error_message: str | None
    model: str | None
    request_type: Literal["inference", "query_evaluation", "quota"]
    input_tokens: int
    output_tokens: int
    total_tokens: int
    response_time_ms: int | None
    created_at: Time
    updated_at: Time
    conversation_id: str | None
    branch_id: str | None
    current_message_hash: str | None
    parent_message_hash: str | None
    is_subtask: bool
    parent_task_request_id: str | None
    turn_id: str | None
    status: Literal["recorded", "recording"]


class Pagination(Answer):
    """Where a page stands."""

    total: int
    page: int
    per_page: int
    total_pages: int


class RecordedCalls(Answer):
    """One page of recorded model calls."""

    requests: list[RecordedCall]
    pagination: Pagination
