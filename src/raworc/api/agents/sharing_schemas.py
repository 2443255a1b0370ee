"""What requests and answers about remixes, publishing and secrets hold."""

from typing import ClassVar, Literal

from pydantic import Field

from raworc.api.agents.schemas import AgentName, Prompt, SecretKey, SecretValue, Time
from raworc.api.bodies import Body
from raworc.api.schemas import Answer, Json


class RemixBody(Body):
    """A new agent made from another one; `prompt` is its first input."""

    name: AgentName = Field(description="The new agent's, unique")
    metadata: Json | None = Field(default=None, description="Instead of the parent's")
    code: bool = Field(default=True, description="Copy `code`, instructions, setup, tools and what goes with them")
    secrets: bool = Field(
        default=True, description="Copy secrets; those of another's agent only if its publisher offered them by name"
    )
    content: bool = Field(default=True, description="Ignored: all other files are always copied")
    prompt: Prompt | None = Field(default=None, description="Its first input")


class PublishBody(Body):
    """What a remix of the agent by another account may take."""

    code: bool = Field(default=True, description="Its code, and with it instructions and setup")
    secrets: bool | None = Field(
        default=None,
        description="Shown as true by default, but only `true` in this request gives them to other accounts",
    )
    content: bool = Field(default=True, description="Its other files; without them nobody else can remix it")


class SecretBody(Body):
    """A secret's value, which no answer repeats."""

    verbatim: ClassVar = ("value",)

    value: SecretValue = Field(description="At most 65,536 bytes, without NUL")


class SecretName(Answer):
    """That there is a secret; never its value."""

    key: SecretKey = Field(description="Name of the environment variable")
    created_at: Time = Field(description="When it was made")
    updated_at: Time = Field(description="When it was last changed")


class SecretDeleted(Answer):
    """It is gone."""

    deleted: Literal[True] = Field(description="Always true")
