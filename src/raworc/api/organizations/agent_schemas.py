"""The agents of the contract organizations: what requests carry and what is answered."""

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from raworc.api.bodies import Body
from raworc.api.schemas import Answer, Time
from raworc.domain.agents import DEFAULT_SPACE, MAX_ENTRIES
from raworc.domain.definitions import MAX_DESCRIPTION, MAX_INSTRUCTIONS, NAME_PATTERN

AgentName = Annotated[str, WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})]
Description = Annotated[str, WithJsonSchema({"type": "string", "maxLength": MAX_DESCRIPTION})]
Instructions = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_INSTRUCTIONS})]
Entries = Annotated[list[Any], WithJsonSchema({"type": "array", "maxItems": MAX_ENTRIES})]


class _Lists(Body):
    tools: Entries | None = Field(default=None, description="What it may use")
    routes: Entries | None = Field(default=None, description="Which messages it takes")
    guardrails: Entries | None = Field(default=None, description="What it must not do")
    knowledge_bases: Entries | None = Field(default=None, description="What it may look up")


class NewDefinitionBody(_Lists):
    """A new agent."""

    name: AgentName = Field(description="Unique in its namespace, ignoring case")
    description: Description | None = Field(default=None, description="For people")
    instructions: Instructions = Field(description="What the model is told before every conversation")
    model: str = Field(description="A model that is known, as `gpt-4`, a current Claude model, or `scripted`")
    namespace: str = Field(default=DEFAULT_SPACE, description="The space that it belongs to")


class DefinitionChangeBody(_Lists):
    """What to change; null and what is absent stays."""

    name: AgentName | None = Field(default=None, description="Unique in its namespace, ignoring case")
    description: Description | None = Field(default=None, description="For people")
    instructions: Instructions | None = Field(default=None, description="What the model is told")
    model: str | None = Field(default=None, description="A model that is known")
    active: bool | None = Field(default=None, description="False: it takes no part in sessions")


class Definition(Answer):
    """An agent."""

    id: str = Field(description="UUID")
    name: str = Field(description="Its name")
    namespace: str = Field(description="The space that it belongs to")
    description: str | None = Field(description="For people")
    instructions: str = Field(description="What the model is told before every conversation")
    model: str = Field(description="The model that answers")
    tools: list[Any] = Field(description="What it may use")
    routes: list[Any] = Field(description="Which messages it takes")
    guardrails: list[Any] = Field(description="What it must not do")
    knowledge_bases: list[Any] = Field(description="What it may look up")
    active: bool = Field(description="False: it takes no part in sessions")
    created_at: Time = Field(description="When it was made")
    updated_at: Time = Field(description="When it was last changed")


class DefinitionPage(Answer):
    """One page of agents: where `page` or `limit` is given."""

    items: list[Definition] = Field(description="By name")
    total: int = Field(description="On all pages")
    page: int = Field(description="Number of this page, from 1")
    per_page: int = Field(description="Items of one page")
    has_more: bool = Field(description="Whether there is a page behind this one")
