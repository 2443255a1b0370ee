"""What the server answers, as frozen structs with the documents' own field names. Unknown fields are ignored."""

from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict

from msgspec import UNSET, Struct, UnsetType, field

AgentState = Literal["init", "idle", "busy", "slept"]
ResponseStatus = Literal["pending", "processing", "completed", "failed", "cancelled"]
Json = dict[str, Any]

TERMINAL: frozenset[ResponseStatus] = frozenset({"completed", "failed", "cancelled"})
"""Statuses that a response never leaves."""


class Version(Struct, frozen=True):
    """The server's version and API namespace."""

    version: str
    api: str


class Health(Struct, frozen=True):
    """Whether the server serves. ``storage`` is ``low`` while new work is refused for want of disk."""

    status: str
    version: str
    database: str | None
    storage: str = "ok"


class Login(Struct, frozen=True):
    """A token and whose it is."""

    token: str
    expires_at: datetime
    user: str
    role: str


class AgentToken(Struct, frozen=True):
    """An agent's own token."""

    token: str
    expires_at: datetime
    agent_name: str


class Profile(Struct, frozen=True):
    """Whom the token speaks for; ``type`` is ``Admin`` or ``User``."""

    user: str
    type: str


class Operator(Struct, frozen=True):
    """An account. ``role`` is ``admin`` or ``user``."""

    user: str
    active: bool
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    last_login_at: datetime | None = None
    role: str = "user"


class OperatorFields(TypedDict):
    """What may be said about a new account, besides name and password."""

    description: NotRequired[str | None]
    active: NotRequired[bool | None]
    role: NotRequired[Literal["admin", "user"] | None]


class OperatorChanges(OperatorFields):
    """What may be changed; what is absent stays."""


class BlockedPrincipal(Struct, frozen=True):
    """An account that is kept out, and since when."""

    principal: str
    principal_type: str
    created_at: datetime


class Agent(Struct, frozen=True):
    """One agent. Fields of newer servers that are missing in older ones have defaults."""

    name: str
    created_by: str
    state: AgentState
    created_at: datetime
    description: str | None = None
    parent_agent_name: str | None = None
    last_activity_at: datetime | None = None
    metadata: Json = field(default_factory=dict[str, Any])
    tags: tuple[str, ...] = ()
    is_published: bool = False
    published_at: datetime | None = None
    published_by: str | None = None
    publish_permissions: Json = field(default_factory=dict[str, Any])
    idle_timeout_seconds: int = 300
    busy_timeout_seconds: int = 3600
    idle_from: datetime | None = None
    busy_from: datetime | None = None
    context_cutoff_at: datetime | None = None
    space: str | None = None
    model: str | None = None
    max_tokens: int | None = None
    network: str | None = None
    limits: Json | None = None
    instructions: str | None = None
    setup: str | None = None
    tools: list[Any] | None = None
    guardrails: list[Any] | None = None
    knowledge_bases: list[Any] | None = None


class AgentPage(Struct, frozen=True):
    """One page of agents, newest first; ``total`` counts all that match."""

    items: tuple[Agent, ...]
    total: int
    limit: int
    offset: int
    page: int
    pages: int


class AgentFields(TypedDict):
    """What may be said about a new agent, besides its name."""

    description: NotRequired[str | None]
    metadata: NotRequired[Json]
    tags: NotRequired[list[str]]
    secrets: NotRequired[dict[str, str]]
    instructions: NotRequired[str | None]
    setup: NotRequired[str | None]
    prompt: NotRequired[str | None]
    idle_timeout_seconds: NotRequired[int | None]
    busy_timeout_seconds: NotRequired[int | None]
    model: NotRequired[str | None]
    max_tokens: NotRequired[int | None]
    network: NotRequired[str]
    limits: NotRequired[Json]
    tools: NotRequired[list[Any]]
    guardrails: NotRequired[list[Any]]
    knowledge_bases: NotRequired[list[Any]]


class AgentChanges(TypedDict):
    """What may be changed; what is absent stays."""

    description: NotRequired[str | None]
    metadata: NotRequired[Json | None]
    tags: NotRequired[list[str] | None]
    instructions: NotRequired[str | None]
    setup: NotRequired[str | None]
    idle_timeout_seconds: NotRequired[int | None]
    busy_timeout_seconds: NotRequired[int | None]
    model: NotRequired[str | None]
    max_tokens: NotRequired[int | None]
    limits: NotRequired[Json]
    tools: NotRequired[list[Any]]
    guardrails: NotRequired[list[Any]]
    knowledge_bases: NotRequired[list[Any]]


class SecretName(Struct, frozen=True):
    """That an agent has a secret; its value is never answered."""

    key: str
    created_at: datetime
    updated_at: datetime


class RemixFields(TypedDict):
    """What may be said about a remix, besides its name. Both parts are copied where nothing is said."""

    metadata: NotRequired[Json | None]
    code: NotRequired[bool]
    secrets: NotRequired[bool]
    prompt: NotRequired[str | None]


class PublishFields(TypedDict):
    """What remixes by other accounts may take. Secrets are given to them only where ``secrets`` is True here."""

    code: NotRequired[bool]
    secrets: NotRequired[bool | None]
    content: NotRequired[bool]


class AgentFilter(TypedDict):
    """Which agents to list: every condition must hold. ``tags`` must all be there."""

    q: NotRequired[str]
    tags: NotRequired[list[str]]
    state: NotRequired[AgentState]
    limit: NotRequired[int]
    page: NotRequired[int]
    offset: NotRequired[int]


class Cancelled(Struct, frozen=True):
    """What a cancel did: ``cancelled`` is false when there was nothing to cancel."""

    status: str
    agent: str
    cancelled: bool


class Runtime(Struct, frozen=True):
    """How long an agent has been awake, in seconds: in all, and since its last wake (0 while it sleeps)."""

    agent_name: str
    total_runtime_seconds: int
    current_session_seconds: int


class StateAnswer(Struct, frozen=True):
    """The state after a change; ``timeout_status`` is ``paused`` or ``active`` after busy and idle."""

    success: bool
    state: AgentState
    timeout_status: str | None = None


class Response(Struct, frozen=True):
    """One input and all that follows from it. ``segments`` is empty inside ``response`` events."""

    id: str
    agent_name: str
    status: ResponseStatus
    created_at: datetime
    updated_at: datetime
    input_content: tuple[Json, ...] = ()
    output_content: tuple[Json, ...] = ()
    segments: tuple[Json, ...] = ()

    @property
    def is_settled(self) -> bool:
        """True once nothing more will happen to it."""
        return self.status in TERMINAL

    @property
    def text(self) -> str:
        """The answer's text items, joined by newlines."""
        return "\n".join(str(item["content"]) for item in self.output_content if "content" in item)


class ContextUsage(Struct, frozen=True):
    """How full an agent's context is, in tokens since ``cutoff_at``."""

    agent: str
    soft_limit_tokens: int
    used_tokens_estimated: int
    used_percent: float
    basis: str
    measured_at: datetime
    total_messages_considered: int
    cutoff_at: datetime | None = None


class Approval(Struct, frozen=True):
    """A tool call that waits for a decision, or did. ``args`` are shown as the response shows them."""

    id: str
    response_id: str
    tool_call_id: str
    tool: str
    args: Any
    asked_at: datetime
    decision: Literal["approve", "deny"] | None = None
    reason: str | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None


class ResponseCount(Struct, frozen=True):
    """How many responses an agent has."""

    count: int
    agent_name: str


class SegmentEvent(Struct, frozen=True):
    """A step was appended. ``id`` resumes a stream behind it."""

    id: int
    response_id: str
    seq: int
    segment: Json


class ResponseEvent(Struct, frozen=True):
    """A response changed its status."""

    id: int
    response: Response


class StateEvent(Struct, frozen=True):
    """The agent changed its state."""

    id: int
    state: AgentState


class DeltaEvent(Struct, frozen=True):
    """Text of a running model call: may be lost, and is repeated whole by a segment."""

    response_id: str
    channel: str
    text: str


Event = SegmentEvent | ResponseEvent | StateEvent | DeltaEvent


class FileEntry(Struct, frozen=True, omit_defaults=True):
    """One entry of a directory; ``mode`` is four octal digits, ``link_target`` only for symlinks."""

    kind: Literal["file", "dir", "symlink", "other"]
    size: int
    mode: str
    mtime: datetime
    name: str | None = None
    link_target: str | UnsetType = UNSET


class FileList(Struct, frozen=True):
    """One page of a directory; ``next_offset`` is null on the last."""

    entries: tuple[FileEntry, ...]
    offset: int
    limit: int
    next_offset: int | None
    total: int


class ModelCall(Struct, frozen=True):
    """One recorded model call, as accounting shows it: without bodies."""

    id: str
    status_code: int | None = None
    model: str | None = None
    method: str | None = None
    path: str | None = None
    trainId: str | None = None  # noqa: N815  the document's own spelling
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    response_time_ms: float | None = None
    created_at: datetime | None = None
    error_type: str | None = None
    error_message: str | None = None
    turn_id: str | None = None


class ModelCalls(Struct, frozen=True):
    """One page of recorded model calls, newest first."""

    requests: tuple[ModelCall, ...]
    totals: Json = field(default_factory=dict[str, Any])
    pagination: Json = field(default_factory=dict[str, Any])
