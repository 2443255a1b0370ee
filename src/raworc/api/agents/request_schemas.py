"""What answers about recorded model calls hold."""

from typing import Literal

from pydantic import Field

from raworc.api.agents.schemas import Time
from raworc.api.schemas import Answer


class RecordedCall(Answer):
    """One recorded model call without its bodies; ``status`` is ``recording`` while its record is on its way."""

    id: str = Field(description="UUID, as in `X-Raworc-Request-Id`")
    trainId: str = Field(description="Label of the work that it is booked under")  # noqa: N815  the document's own spelling
    account_id: str | None = Field(description="The upstream that answered")
    method: str = Field(description="HTTP method")
    path: str = Field(description="Path that was asked; empty until the call is recorded")
    status_code: int | None = Field(description="What the caller was answered; null where nothing")
    error_type: str | None = Field(description="Stable code; null for success")
    error_message: str | None = Field(description="For people")
    model: str | None = Field(description="Model that was asked")
    request_type: Literal["inference", "query_evaluation", "quota"] = Field(description="What kind of call")
    input_tokens: int = Field(description="As the provider counted")
    output_tokens: int = Field(description="As the provider counted")
    total_tokens: int = Field(description="Both together")
    response_time_ms: int | None = Field(description="Milliseconds until the answer ended")
    created_at: Time = Field(description="When it was made")
    updated_at: Time = Field(description="When it was last changed")
    conversation_id: str | None = Field(description="Conversation it belongs to, if known")
    branch_id: str | None = Field(description="Branch of the conversation")
    current_message_hash: str | None = Field(
        description="SHA-256 of all its messages, in hex; null where there are none"
    )
    parent_message_hash: str | None = Field(description="SHA-256 of the part that its parent says, too, in hex")
    is_subtask: bool = Field(description="Whether it belongs to a subtask")
    parent_task_request_id: str | None = Field(description="The call whose answer started that subtask")
    turn_id: str | None = Field(description="The response that it was made for")
    status: Literal["recorded", "recording"] = Field(description="`recording` while its record is on its way")


class Pagination(Answer):
    """Where a page stands."""

    total: int = Field(description="Calls on all pages")
    page: int = Field(description="Number of this page, from 1")
    per_page: int = Field(description="Calls of one page")
    total_pages: int = Field(description="How many pages there are")


class CallTotals(Answer):
    """What all the calls used together, those on other pages included; those on their way are not."""

    requests: int = Field(description="How many are recorded")
    failed_requests: int = Field(description="How many of them were not answered in full")
    input_tokens: int = Field(description="As the provider counted, without what came from or went into a cache")
    output_tokens: int = Field(description="As the provider counted")
    total_tokens: int = Field(description="Both together")
    cache_creation_input_tokens: int = Field(description="Written into the provider's cache")
    cache_read_input_tokens: int = Field(description="Read from the provider's cache")
    response_time_ms: int = Field(description="Milliseconds until the answers ended, added up")
    cost_usd: float = Field(description="US dollars, of the calls whose price is known")
    unpriced_requests: int = Field(description="Calls with tokens whose price is not known")


class RecordedCalls(Answer):
    """One page of recorded model calls."""

    requests: list[RecordedCall] = Field(description="Newest first")
    pagination: Pagination = Field(description="Where the page stands")
    totals: CallTotals = Field(description="What all the calls used together")
