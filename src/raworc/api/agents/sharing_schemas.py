"""What requests about sharing agents carry."""

from pydantic import Field

from raworc.api.agents.schemas import AgentName, Json, Prompt
from raworc.api.bodies import Body


class RemixBody(Body):
    """A new agent made from another one; `prompt` is its first input."""

    name: AgentName
    metadata: Json | None = Field(default=None, description="Instead of the parent's")
    code: bool = Field(default=True, description="Copy `code`, instructions, setup, tools and what goes with them")
    secrets: bool = Field(
        default=True, description="Copy secrets; those of another's agent only if its publisher offered them by name"
    )
    content: bool = Field(default=True, description="Ignored: all other files are always copied")
    prompt: Prompt | None = None


class PublishBody(Body):
    """What a remix of the agent by another account may take."""

    code: bool = Field(default=True, description="Its code, and with it instructions and setup")
    secrets: bool | None = Field(
        default=None,
        description="Shown as true by default, but only `true` in this request gives them to other accounts",
    )
    content: bool = Field(default=True, description="Its other files; without them nobody else can remix it")
