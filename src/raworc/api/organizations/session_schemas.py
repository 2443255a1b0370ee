"""The sessions of the contract organizations and their messages: what requests carry and what is answered."""

from typing import Annotated

from pydantic import Field, WithJsonSchema

from raworc.api.bodies import Body
from raworc.api.schemas import Answer, Json, Time
from raworc.domain.agents import DEFAULT_SPACE
from raworc.domain.sessions import (
    MAX_AGENTS,
    MAX_CONTENT,
    MAX_METADATA_BYTES,
    MAX_NAME,
    MAX_PROMPT,
    MAX_REASON,
    MAX_WAITING_S,
    WAITING_S,
    OrganizationsState,
    Role,
)

_OWN: str = f"Your own; at most {MAX_METADATA_BYTES} bytes as JSON"
SessionName = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_NAME})]
Prompt = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_PROMPT})]
Content = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_CONTENT})]
Reason = Annotated[str, WithJsonSchema({"type": "string", "maxLength": MAX_REASON})]
Waiting = Annotated[int, WithJsonSchema({"type": "integer", "minimum": 0, "maximum": MAX_WAITING_S})]
AgentIds = Annotated[list[str], WithJsonSchema({"type": "array", "items": {"type": "string"}, "maxItems": MAX_AGENTS})]


class NewWorkSessionBody(Body):
    """A new session."""

    name: SessionName = Field(description="For people")
    starting_prompt: Prompt = Field(description="Its first message")
    agent_ids: AgentIds | None = Field(
        default=None, description="Who answers; without any, the namespace's code agents, else its default model"
    )
    waiting_timeout_seconds: Waiting | None = Field(
        default=None, description=f"From READY to IDLE; 0: never, absent: {WAITING_S}"
    )
    metadata: Json | None = Field(default=None, description=_OWN)
    namespace: str = Field(default=DEFAULT_SPACE, description="The space that it belongs to")


class WorkSessionChangeBody(Body):
    """What to change; null and what is absent stays."""

    name: SessionName | None = Field(default=None, description="For people")
    waiting_timeout_seconds: Waiting | None = Field(default=None, description="From READY to IDLE; 0: never")
    metadata: Json | None = Field(default=None, description=f"In place of the former one. {_OWN}")


class WorkSessionStateBody(Body):
    """Where to bring a session. Names of its container and volume are ignored: this server knows them itself."""

    state: OrganizationsState = Field(description="The state that it is to have")
    container_id: str | None = Field(default=None, description="Ignored")
    persistent_volume_id: str | None = Field(default=None, description="Ignored")
    termination_reason: Reason | None = Field(default=None, description="Why, for ERROR")


class WorkSessionRemixBody(Body):
    """A new session from another one and its files. What is absent or null is as it was there."""

    name: SessionName = Field(description="For people")
    starting_prompt: Prompt | None = Field(default=None, description="Its first message")
    agent_ids: AgentIds | None = Field(default=None, description="Who answers; an empty list: none of the other's")
    waiting_timeout_seconds: Waiting | None = Field(default=None, description="From READY to IDLE; 0: never")
    metadata: Json | None = Field(default=None, description=_OWN)


class WorkSessionAgent(Answer):
    """An agent of a session."""

    id: str = Field(description="UUID")
    name: str = Field(description="Its name")
    model: str = Field(description="The model that answers")


class WorkSession(Answer):
    """A session."""

    id: str = Field(description="UUID")
    name: str = Field(description="Its name; its id, where it was made without one")
    namespace: str = Field(description="The space that it belongs to")
    starting_prompt: str = Field(description="Its first message; empty where it was made without one")
    state: OrganizationsState = Field(description="READY waits for messages, IDLE has to be woken")
    waiting_timeout_seconds: int = Field(description="From READY to IDLE; 0: never")
    container_id: str | None = Field(description="Its sandbox, while it has one")
    persistent_volume_id: str | None = Field(description="Its workspace, once it has one")
    created_by: str = Field(description="The account that made it")
    parent_session_id: str | None = Field(description="The session that it was made from")
    agents: list[WorkSessionAgent] = Field(description="Those that it was made with, in their order")
    created_at: Time = Field(description="When it was made")
    started_at: Time | None = Field(description="When it first had a sandbox")
    last_activity_at: Time | None = Field(description="When something last happened in it")
    terminated_at: Time | None = Field(description="When it ended")
    termination_reason: str | None = Field(description="Why it ended")
    metadata: Json = Field(description="Your own")


class WorkSessionPage(Answer):
    """One page of sessions: where `page` or `limit` is given."""

    items: list[WorkSession] = Field(description="The newest first")
    total: int = Field(description="On all pages")
    page: int = Field(description="Number of this page, from 1")
    per_page: int = Field(description="Items of one page")
    has_more: bool = Field(description="Whether there is a page behind this one")


class NewSessionMessageBody(Body):
    """A new message. Only one of a USER is answered."""

    role: Role = Field(default="USER", description="Who says it")
    content: Content = Field(description="What is said")
    agent_id: str | None = Field(default=None, description="Whose words they are; required for AGENT")
    metadata: Json | None = Field(default=None, description=_OWN)


class SessionMessage(Answer):
    """A message."""

    id: str = Field(description="UUID")
    session_id: str = Field(description="UUID")
    role: Role = Field(description="Who says it")
    content: str = Field(description="What is said")
    agent_id: str | None = Field(description="The agent that says it, where that is one")
    agent_name: str | None = Field(description="Its name")
    metadata: Json = Field(description="Your own")
    created_at: Time = Field(description="When it was said")


class SessionMessageCount(Answer):
    """How many messages a session has."""

    count: int = Field(description="All of them")
    session_id: str = Field(description="UUID")
