"""What answers about recorded calls and conversations look like; fields the document does not name are additions."""

from typing import Any, Literal

from pydantic import Field

from raworc.api.agents.request_schemas import Pagination
from raworc.api.agents.schemas import Time
from raworc.api.schemas import Answer


class TrainCall(Answer):
    """One recorded model call without its bodies."""

    id: str = Field(description="UUID, as in `X-Raworc-Request-Id`")
    trainId: str = Field(description="Label of the work that it is booked under")  # noqa: N815  the document's own spelling
    account_id: str = Field(description="The upstream account; empty where none was reached")
    method: str = Field(description="HTTP method")
    path: str = Field(description="Path that was asked")
    status_code: int = Field(description="What the caller was answered; 0 where nothing")
    error_type: str | None = Field(description="Stable code; null for success")
    error_message: str | None = Field(description="For people")
    model: str | None = Field(description="Model that was asked")
    request_type: Literal["inference", "query_evaluation", "quota"] = Field(description="What kind of call")
    input_tokens: int = Field(description="As the provider counted")
    output_tokens: int = Field(description="As the provider counted")
    total_tokens: int = Field(description="Both together")
    response_time_ms: int = Field(description="Milliseconds until the answer ended")
    created_at: Time = Field(description="When it was made")
    updated_at: Time = Field(description="When it was stored, or last changed")
    conversation_id: str | None = Field(description="Conversation it belongs to; null where none, or not known yet")
    branch_id: str | None = Field(description="Branch of the conversation")
    current_message_hash: str | None = Field(
        description="SHA-256 of all its messages, in hex; null where there are none"
    )
    parent_message_hash: str | None = Field(description="SHA-256 of the part that its parent says, too, in hex")
    is_subtask: bool = Field(description="Whether it belongs to a subtask")
    parent_task_request_id: str | None = Field(description="The call whose answer started that subtask")
    parent_request_id: str | None = Field(description="The call that it goes on from; null for a conversation's first")
    retry_of: str | None = Field(description="The call whose body it sent once more")
    link_source: Literal["header", "prefix", "compact", "task", "none"] | None = Field(
        description="What placed it: its client's own word, its messages, the summary it goes on from, the task it was"
        " given, or nothing (a new conversation); null while it is not placed"
    )
    space: str | None = Field(description="Space that it is booked under; null where it was refused before")
    session_id: str | None = Field(description="Session of the agent that made it")
    turn_id: str | None = Field(description="The response that it was made for")
    stop_reason: str | None = Field(description="Why the model stopped, in the provider's word")
    note: str | None = Field(description="What its record does not tell, for people; null where nothing is missing")
    first_byte_ms: int | None = Field(description="Milliseconds until the answer began")
    cache_creation_input_tokens: int = Field(description="Tokens written into the provider's cache")
    cache_read_input_tokens: int = Field(description="Tokens read from the provider's cache")
    cost_usd: float | None = Field(description="US dollars; null where no price is known")
    price_version: str | None = Field(description="The table that the price is from")


class StreamingChunk(Answer):
    """One piece of a streamed answer."""

    chunk_index: int = Field(description="From 0")
    content: str = Field(description="As it came")
    created_at: Time = Field(description="When it came")


class TrainCallDetails(TrainCall):
    """One recorded model call with all that was said. Known secrets are struck out."""

    request_headers: dict[str, str] | None = Field(description="Without credentials")
    request_body: Any = Field(description="What was sent: JSON where it is some, else text; null where it was not kept")
    response_headers: dict[str, str] | None = Field(description="What the provider answered with")
    response_body: Any = Field(description="What was answered; of a stream the message put together")
    streaming_chunks: list[StreamingChunk] = Field(description="The stream as it came; empty where there was none")


class TrainCalls(Answer):
    """One page of recorded model calls."""

    requests: list[TrainCall] = Field(description="Newest first")
    pagination: Pagination = Field(description="Where the page stands")


class Branch(Answer):
    """One branch of a conversation."""

    branch_id: str = Field(description="`main`, `branch_...`, `compact_...` or `subtask_...`")
    parent_hash: str = Field(description="SHA-256 of what it shares with the branch it left, in hex; empty: nothing")
    created_at: Time = Field(description="When its first call was made")
    message_count: int = Field(description="Messages of its longest call")


class RequestSummary(Answer):
    """A conversation's newest call."""

    id: str = Field(description="UUID")
    status_code: int = Field(description="What the caller was answered; 0 where nothing")
    model: str = Field(description="Model that was asked; empty where none was named")
    created_at: Time = Field(description="When it was made")


class Conversation(Answer):
    """Calls that go on from each other. Train and account are those of the newest one."""

    conversation_id: str = Field(description="UUID")
    account_id: str = Field(description="The upstream account; empty where none was reached")
    trainId: str = Field(description="Label of the work that it is booked under")  # noqa: N815  the document's own spelling
    first_message_at: Time = Field(description="When its first call was made")
    last_message_at: Time = Field(description="When its newest call was made")
    message_count: int = Field(description="Messages of its longest call")
    total_tokens: int = Field(description="Input and output tokens of all its calls")
    branches: list[Branch] = Field(description="Oldest first")
    latest_request: RequestSummary = Field(description="The newest call")
    has_subtasks: bool = Field(description="Whether it started subtasks")
    subtask_count: int = Field(description="How many")
    space: str = Field(description="Space that it is booked under")
    request_count: int = Field(description="How many calls it has")
    cost_usd: float = Field(description="US dollars, of the calls whose price is known")
    unpriced_requests: int = Field(description="Calls with tokens whose price is not known")


class Conversations(Answer):
    """One page of conversations."""

    conversations: list[Conversation] = Field(description="Last used first")
    pagination: Pagination = Field(description="Where the page stands")


class ConversationDetails(Conversation):
    """A conversation with a page of its calls."""

    requests: list[TrainCall] = Field(description="Oldest first")
    pagination: Pagination = Field(description="Where the page of calls stands")
