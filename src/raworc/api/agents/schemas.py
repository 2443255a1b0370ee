"""The agents contract's objects: what requests carry and what is answered, field by field."""

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from raworc.api.bodies import Body
from raworc.api.schemas import Answer, Json, Time
from raworc.domain.agents import LIMITS, LISTS, MAX_ANSWER_TOKENS, MAX_ENTRIES
from raworc.domain.lifecycle import MAX_TIMEOUT_S
from raworc.domain.names import AGENT_PATTERN, MAX_TAG_CHARACTERS, TAG_PATTERN, VARIABLE_PATTERN
from raworc.services.secrets import MAX_VALUE_BYTES

AgentState = Literal["init", "idle", "busy", "slept"]
ResponseStatus = Literal["pending", "processing", "completed", "failed", "cancelled"]


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
class OperatorCredentials(Body):
    """A login of the operator that the path names."""

    password: str = Field(alias="pass", description="The password")
    ttl_hours: float | None = Field(default=None, description="Life of the token, in hours; 24 where absent")


class Profile(Answer):
    """Whom a token speaks for."""

    user: str = Field(description="The account's name")
    type: Literal["Admin", "User"] = Field(description="`Admin` for administrators")


# ── agents ───────────────────────────────────────────────────────────────────────────────────────────
class LimitsBody(Body):
    """What one sandbox may use."""

    memory_mb: Annotated[Whole, _limit("memory_mb", "integer")] | None = Field(
        default=None, description="Memory, in MiB"
    )
    cpus: Annotated[float, _limit("cpus", "number")] | None = Field(
        default=None, description="Processors, in parts of one"
    )
    pids: Annotated[Whole, _limit("pids", "integer")] | None = Field(default=None, description="Processes and threads")
    disk_mb: Annotated[Whole, _limit("disk_mb", "integer")] | None = Field(
        default=None, description="Workspace, in MiB"
    )


class AgentSettingsBody(Body):
    """What is given to a new agent and changed of one that is there; of a change, null stays as it is."""

    description: str | None = Field(default=None, description="For people")
    instructions: str | None = Field(default=None, description="What the model is told before every conversation")
    setup: str | None = Field(default=None, description="Script run at creation and at every wake")
    idle_timeout_seconds: Timeout | None = Field(default=None, description="Seconds without work after which it sleeps")
    busy_timeout_seconds: Timeout | None = Field(
        default=None, description="Seconds after which work or a hold is ended"
    )
    model: str | None = Field(default=None, description="Model's name; the server's own where null")
    max_tokens: Tokens | None = Field(
        default=None, description="Tokens of one model answer; null: as the server sets it"
    )
    network: Network | None = Field(default=None, description="What the sandbox reaches: `none`")
    limits: LimitsBody | None = Field(default=None, description="What its sandbox may use")
    tools: Tools | None = Field(
        default=None, description="Tools it is offered and MCP servers; empty: all built-in ones"
    )
    guardrails: Guardrails | None = Field(default=None, description="Rules on input, output, commands and tokens")
    knowledge_bases: KnowledgeBases | None = Field(default=None, description="Texts and folders that it may search")


class NewAgentBody(AgentSettingsBody):
    """A new agent; ``prompt`` is its first input, ``setup`` a script run at creation and at every wake."""

    verbatim: ClassVar = ("secrets",)

    name: AgentName = Field(description="Unique, ignoring case")
    metadata: Json = Field(default_factory=dict[str, Any], description="Any JSON object of yours")
    tags: list[Tag] = Field(default_factory=list[str], description="Letters and digits each, stored in lower case")
    secrets: dict[SecretKey, SecretValue] = Field(
        default_factory=dict[str, str], description="Environment of its commands; values are never answered"
    )
    prompt: Prompt | None = Field(default=None, description="Its first input")
    space: str | None = Field(default=None, description="The space it belongs to")


class AgentChangeBody(AgentSettingsBody):
    """Changes of an agent; what is absent or null stays."""

    metadata: Json | None = Field(default=None, description="Any JSON object of yours")
    tags: list[Tag] | None = Field(default=None, description="Letters and digits each, stored in lower case")


class StateBody(Body):
    """The state to be in."""

    state: AgentState = Field(description="`idle` wakes or ends a hold, `busy` holds, `slept` puts to sleep")


class SleepBody(Body):
    """When to sleep, and what to say about it."""

    delay_seconds: Delay | None = Field(default=None, description="Seconds until then; below 5 counts as 5")
    note: str | None = Field(default=None, description="Shown in the log")


class WakeBody(Body):
    """Work to start with."""

    prompt: Prompt | None = Field(default=None, description="An input to begin with")


class PublishPermissions(Answer):
    """What a remix of a published agent may take."""

    code: bool = Field(description="Its code, instructions and setup")
    secrets: bool = Field(description="Its secrets")
    content: bool = Field(description="Its other files")


class Limits(Answer):
    """What one sandbox may use."""

    memory_mb: int = Field(description="Memory, in MiB")
    cpus: float = Field(description="Processors, in parts of one")
    pids: int = Field(description="Processes and threads")
    disk_mb: int = Field(description="Workspace, in MiB")


class Agent(Answer):
    """One agent."""

    name: str = Field(description="Unique, ignoring case")
    created_by: str = Field(description="The account that made it")
    state: AgentState = Field(description="What it does now")
    description: str | None = Field(description="For people")
    parent_agent_name: str | None = Field(description="The agent that it is a remix of")
    created_at: Time = Field(description="When it was made")
    last_activity_at: Time | None = Field(description="When it last worked")
    metadata: Json = Field(description="Any JSON object of yours")
    tags: list[str] = Field(description="Letters and digits each, stored in lower case")
    is_published: bool = Field(description="Whether everybody may see it")
    published_at: Time | None = Field(description="Since when")
    published_by: str | None = Field(description="The account that published it")
    publish_permissions: PublishPermissions = Field(description="What a remix by another account may take")
    idle_timeout_seconds: int = Field(description="Seconds without work after which it sleeps")
    busy_timeout_seconds: int = Field(description="Seconds after which work or a hold is ended")
    idle_from: Time | None = Field(description="Since when it is idle; null in other states")
    busy_from: Time | None = Field(description="Since when it is busy; null in other states")
    context_cutoff_at: Time | None = Field(description="What was said before is not sent to the model; null: all is")
    space: str = Field(description="The space it belongs to")
    model: str | None = Field(description="Model's name; the server's own where null")
    max_tokens: int | None = Field(description="Tokens of one model answer; null: as the server sets it")
    network: str = Field(description="What the sandbox reaches: `none`")
    limits: Limits = Field(description="What its sandbox may use")
    instructions: str | None = Field(description="What the model is told first; null where you may not read it")
    setup: str | None = Field(description="Script of every wake; null where you may not read it")
    tools: list[Any] | None = Field(description="Tools and MCP servers; null where you may not read them")
    guardrails: list[Any] | None = Field(description="Rules it is held to; null where you may not read them")
    knowledge_bases: list[Any] | None = Field(description="What it may search; null where you may not read it")


class ListAgentsResult(Answer):
    """One page of agents, newest first."""

    items: list[Agent] = Field(description="The agents of this page")
    total: int = Field(description="Agents that match, on all pages")
    limit: int = Field(description="Entries asked for at most")
    offset: int = Field(description="Entries skipped")
    page: int = Field(description="Number of this page, from 1")
    pages: int = Field(description="How many pages there are")


class StateChanged(Answer):
    """The state after a change."""

    success: Literal[True] = Field(description="Always true")
    state: AgentState = Field(description="The state now")


class HoldChanged(Answer):
    """The state after a hold began or ended, and what became of its timer."""

    success: Literal[True] = Field(description="Always true")
    state: AgentState = Field(description="The state now")
    timeout_status: Literal["paused", "active"] = Field(description="`paused` while it is held busy")


class Cancelled(Answer):
    """What a cancel did."""

    status: Literal["ok"] = Field(description="Always `ok`")
    agent: str = Field(description="Which agent it is about")
    cancelled: bool = Field(description="False where nothing was to be cancelled")


class AgentContextUsage(Answer):
    """How full an agent's context is since its cutoff."""

    agent: str = Field(description="Which agent it is about")
    soft_limit_tokens: int = Field(description="Tokens that count as full")
    used_tokens_estimated: int = Field(description="Tokens since the cutoff")
    used_percent: float = Field(description="Of the limit, one decimal")
    basis: Literal["estimated_from_history_chars"] = Field(
        description="From characters; what a provider counted corrects it"
    )
    cutoff_at: Time | None = Field(description="What was said before does not count")
    measured_at: Time = Field(description="When it was counted")
    total_messages_considered: int = Field(description="Inputs, answers and tool results")


class Runtime(Answer):
    """How long an agent has been awake, in seconds."""

    agent_name: str = Field(description="Which agent it is about")
    total_runtime_seconds: int = Field(description="Seconds awake in all")
    current_session_seconds: int = Field(description="Seconds since it woke; 0 asleep")


# ── responses ────────────────────────────────────────────────────────────────────────────────────────
class NewResponseBody(Body):
    """An input: ``{content: [{type: 'text', content}]}``, or the older ``{text}``."""

    input: Input = Field(description="What is said to the agent")
    background: bool = Field(default=True, description="False: answer when the work is done")
    when_busy: Literal["queue", "reject", "interrupt"] = Field(
        default="queue", description="What to do while the agent works"
    )


class ResponseChangeBody(Body):
    """A response changed from outside: ``output.items`` append, ``output.text`` replaces."""

    status: Literal["pending", "processing", "completed", "failed", "cancelled"] | None = Field(
        default=None, description="Its status from now on"
    )
    input: Input | None = Field(default=None, description="Another input, while it is pending")
    output: Json | None = Field(
        default=None, description="`text` replaces the answer, `items` are appended as segments"
    )


class ResponseObject(Answer):
    """One input and all that follows from it."""

    id: str = Field(description="UUID")
    agent_name: str = Field(description="Which agent it is about")
    status: ResponseStatus = Field(description="How far it is")
    input_content: list[Any] = Field(description="What was said to the agent")
    output_content: list[Any] = Field(description="The answer; empty until there is one")
    segments: list[Json] = Field(
        description="Every step, oldest first; `type` says of which kind, where it is one of ours"
    )
    created_at: Time = Field(description="When it was made")
    updated_at: Time = Field(description="When it was last changed")


class ResponseCount(Answer):
    """How many responses an agent has."""

    count: int = Field(description="How many there are")
    agent_name: str = Field(description="Which agent it is about")


# ── files ────────────────────────────────────────────────────────────────────────────────────────────
FileKind = Literal["file", "dir", "symlink", "other"]


class FileEntry(Answer):
    """One entry of a directory; ``link_target`` is there for symlinks only."""

    name: str = Field(description="Name within its folder; bytes that are no text as U+FFFD")
    kind: FileKind = Field(description="What it is; links are not followed")
    size: int = Field(description="In bytes; 0 for folders")
    mode: str = Field(description="Permissions, octal")
    mtime: Time = Field(description="When it was last written")
    link_target: str | None = Field(default=None, description="Where a symlink points; absent for all else")


class FileMetadata(Answer):
    """One file, directory or link; ``link_target`` is there for symlinks only."""

    kind: FileKind = Field(description="What it is; links are not followed")
    size: int = Field(description="In bytes; 0 for folders")
    mode: str = Field(description="Permissions, octal")
    mtime: Time = Field(description="When it was last written")
    link_target: str | None = Field(default=None, description="Where a symlink points; absent for all else")


class FileList(Answer):
    """One page of a directory; ``next_offset`` is null on the last one."""

    entries: list[FileEntry] = Field(description="By name, ignoring case")
    offset: int = Field(description="Entries skipped")
    limit: int = Field(description="Entries asked for at most")
    next_offset: int | None = Field(description="Offset of the next page; null on the last one")
    total: int = Field(description="Entries of the folder")


class FileDeleted(Answer):
    """It is gone."""

    deleted: Literal[True] = Field(description="Always true")
