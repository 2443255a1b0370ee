"""The agents contract's objects: what requests carry and what is answered, field by field."""

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from raworc.api.bodies import Body
from raworc.api.schemas import Answer, Json
from raworc.domain.agents import LIMITS, LISTS, MAX_ANSWER_TOKENS, MAX_ENTRIES
from raworc.domain.lifecycle import MAX_TIMEOUT_S
from raworc.domain.names import AGENT_PATTERN, MAX_TAG_CHARACTERS, TAG_PATTERN, VARIABLE_PATTERN
from raworc.services.secrets import MAX_VALUE_BYTES

AgentState = Literal["init", "idle", "busy", "slept"]
ResponseStatus = Literal["pending", "processing", "completed", "failed", "cancelled"]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]


def _whole_number(value: object) -> object:
    """Whole floats count as integers: some JSON writers know floats only."""
    is_whole = isinstance(value, float) and math.isfinite(value) and value.is_integer()
    return int(value) if isinstance(value, float) and is_whole else value


def _described(**schema: Any) -> WithJsonSchema:  # noqa: ANN401  JSON Schema
    """What the document says of a field whose rule the domain keeps."""
    return WithJsonSchema(schema)


Whole = Annotated[int, BeforeValidator(_whole_number)]
Timeout = Annotated[Whole, _described(type="integer", minimum=1, maximum=MAX_TIMEOUT_S)]
Delay = Annotated[Whole, _described(type="integer", maximum=MAX_TIMEOUT_S)]
Tokens = Annotated[Whole, _described(type="integer", minimum=1, maximum=MAX_ANSWER_TOKENS)]
AgentName = Annotated[str, _described(type="string", pattern=AGENT_PATTERN)]
Tag = Annotated[str, _described(type="string", pattern=TAG_PATTERN, maxLength=MAX_TAG_CHARACTERS)]
SecretKey = Annotated[str, _described(type="string", pattern=VARIABLE_PATTERN)]
SecretValue = Annotated[str, _described(type="string", maxLength=MAX_VALUE_BYTES)]
Prompt = Annotated[str, _described(type="string", pattern=r"\S")]
Network = Annotated[str, _described(type="string", enum=["none"])]


_TEXT_ITEM = {
    "type": "object",
    "required": ["type", "content"],
    "properties": {"type": {"const": "text"}, "content": {"type": "string", "pattern": r"\S"}},
}
_CONTENT = {"type": "array", "minItems": 1, "items": _TEXT_ITEM}
Input = Annotated[
    Json,
    _described(
        anyOf=[
            {"type": "object", "required": ["content"], "properties": {"content": _CONTENT}},
            {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "pattern": r"\S"}}},
        ]
    ),
]


def _list(name: str) -> WithJsonSchema:
    return _described(type="array", maxItems=MAX_ENTRIES, description=f"At most {LISTS[name]} characters as JSON")


Tools = Annotated[list[Any], _list("tools")]
Guardrails = Annotated[list[Any], _list("guardrails")]
KnowledgeBases = Annotated[list[Any], _list("knowledge_bases")]


def _limit(name: str, kind: Literal["integer", "number"]) -> WithJsonSchema:
    least, most, default = LIMITS[name]
    return _described(type=kind, minimum=least, maximum=most, default=default)


# ── who ──────────────────────────────────────────────────────────────────────────────────────────────
class Credentials(Body):
    """A login by name and password."""

    user: str
    password: str = Field(alias="pass")
    ttl_hours: float | None = None


class OperatorCredentials(Body):
    """A login of the operator that the path names."""

    password: str = Field(alias="pass")
    ttl_hours: float | None = None


class Token(Answer):
    """What a login answers in every contract."""

    token: str
    token_type: Literal["Bearer"]
    expires_at: Time
    user: str
    role: Literal["admin", "user"]


class Profile(Answer):
    """Whom a token speaks for."""

    user: str
    type: Literal["Admin", "User"]


# ── agents ───────────────────────────────────────────────────────────────────────────────────────────
class LimitsBody(Body):
    """What one sandbox may use."""

    memory_mb: Annotated[Whole, _limit("memory_mb", "integer")] | None = None
    cpus: Annotated[float, _limit("cpus", "number")] | None = None
    pids: Annotated[Whole, _limit("pids", "integer")] | None = None
    disk_mb: Annotated[Whole, _limit("disk_mb", "integer")] | None = None


class NewAgentBody(Body):
    """A new agent; ``prompt`` is its first input, ``setup`` a script run at creation and at every wake."""

    name: AgentName
    description: str | None = None
    metadata: Json = Field(default_factory=dict[str, Any])
    tags: list[Tag] = Field(default_factory=list[str])
    secrets: dict[SecretKey, SecretValue] = Field(default_factory=dict[str, str])
    instructions: str | None = None
    setup: str | None = None
    prompt: Prompt | None = None
    idle_timeout_seconds: Timeout | None = None
    busy_timeout_seconds: Timeout | None = None
    space: str | None = None
    model: str | None = None
    max_tokens: Tokens | None = None
    network: Network | None = None
    limits: LimitsBody | None = None
    tools: Tools | None = None
    guardrails: Guardrails | None = None
    knowledge_bases: KnowledgeBases | None = None


class AgentChangeBody(Body):
    """Changes of an agent; what is absent or null stays."""

    description: str | None = None
    metadata: Json | None = None
    tags: list[Tag] | None = None
    instructions: str | None = None
    setup: str | None = None
    idle_timeout_seconds: Timeout | None = None
    busy_timeout_seconds: Timeout | None = None
    model: str | None = None
    max_tokens: Tokens | None = None
    network: Network | None = None
    limits: LimitsBody | None = None
    tools: Tools | None = None
    guardrails: Guardrails | None = None
    knowledge_bases: KnowledgeBases | None = None


class StateBody(Body):
    """The state to be in."""

    state: AgentState


class SleepBody(Body):
    """When to sleep, and what to say about it."""

    delay_seconds: Delay | None = None
    note: str | None = None


class WakeBody(Body):
    """Work to start with."""

    prompt: Prompt | None = None


class PublishPermissions(Answer):
    """What a remix of a published agent may take."""

    code: bool
    secrets: bool
    content: bool


class Limits(Answer):
    """What one sandbox may use."""

    memory_mb: int
    cpus: float
    pids: int
    disk_mb: int


class Agent(Answer):
    """One agent."""

    name: str
    created_by: str
    state: AgentState
    description: str | None
    parent_agent_name: str | None
    created_at: Time
    last_activity_at: Time | None
    metadata: Json
    tags: list[str]
    is_published: bool
    published_at: Time | None
    published_by: str | None
    publish_permissions: PublishPermissions
    idle_timeout_seconds: int
    busy_timeout_seconds: int
    idle_from: Time | None
    busy_from: Time | None
    context_cutoff_at: Time | None
    space: str
    model: str | None
    max_tokens: int | None
    network: str
    limits: Limits
    instructions: str | None
    setup: str | None
    tools: list[Any] | None
    guardrails: list[Any] | None
    knowledge_bases: list[Any] | None


class ListAgentsResult(Answer):
    """One page of agents, newest first."""

    items: list[Agent]
    total: int
    limit: int
    offset: int
    page: int
    pages: int


class StateChanged(Answer):
    """The state after a change."""

    success: Literal[True]
    state: AgentState


class HoldChanged(Answer):
    """The state after a hold began or ended, and what became of its timer."""

    success: Literal[True]
    state: AgentState
    timeout_status: Literal["paused", "active"]


class Cancelled(Answer):
    """What a cancel did."""

    status: Literal["ok"]
    agent: str
    cancelled: bool


class AgentContextUsage(Answer):
    """How full an agent's context is since its cutoff; ``basis`` says where the number comes from."""

    agent: str
    soft_limit_tokens: int
    used_tokens_estimated: int
    used_percent: float
    basis: Literal["estimated_from_history_chars", "estimated_from_provider_usage"]
    cutoff_at: Time | None
    measured_at: Time
    total_messages_considered: int


class Runtime(Answer):
    """How long an agent has been awake, in seconds."""

    agent_name: str
    total_runtime_seconds: int
    current_session_seconds: int


# ── responses ────────────────────────────────────────────────────────────────────────────────────────
class NewResponseBody(Body):
    """An input: ``{content: [{type: 'text', content}]}``, or the older ``{text}``."""

    input: Input
    background: bool = True
    when_busy: Literal["queue", "reject", "interrupt"] = "queue"


class ResponseChangeBody(Body):
    """A response changed from outside: ``output.items`` append, ``output.text`` replaces."""

    status: Literal["pending", "processing", "completed", "failed", "cancelled"] | None = None
    input: Input | None = None
    output: Json | None = None


class ResponseObject(Answer):
    """One input and all that follows from it."""

    id: str
    agent_name: str
    status: ResponseStatus
    input_content: list[Any]
    output_content: list[Any]
    segments: list[Json]
    created_at: Time
    updated_at: Time


class ResponseCount(Answer):
    """How many responses an agent has."""

    count: int
    agent_name: str


# ── files ────────────────────────────────────────────────────────────────────────────────────────────
FileKind = Literal["file", "dir", "symlink", "other"]


class FileEntry(Answer):
    """One entry of a directory; ``link_target`` is there for symlinks only."""

    name: str
    kind: FileKind
    size: int
    mode: str
    mtime: Time
    link_target: str | None = None


class FileMetadata(Answer):
    """One file, directory or link; ``link_target`` is there for symlinks only."""

    kind: FileKind
    size: int
    mode: str
    mtime: Time
    link_target: str | None = None


class FileList(Answer):
    """One page of a directory; ``next_offset`` is null on the last one."""

    entries: list[FileEntry]
    offset: int
    limit: int
    next_offset: int | None
    total: int


class FileDeleted(Answer):
    """It is gone."""

    deleted: Literal[True]
