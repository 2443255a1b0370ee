"""Code agents and builds of spaces: what requests carry and what is answered."""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from raworc.api.bodies import Body
from raworc.api.schemas import Answer, Time
from raworc.domain.builds import BRANCH_PATTERN, MAX_REPO_CHARACTERS, BuildStatus
from raworc.domain.code_agents import MAX_TEXT, NAME_PATTERN

Status = Literal["active", "inactive"]
CodeAgentName = Annotated[str, WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})]
AgentText = Annotated[str, WithJsonSchema({"type": "string", "maxLength": MAX_TEXT})]
Repo = Annotated[str, WithJsonSchema({"type": "string", "maxLength": MAX_REPO_CHARACTERS})]
Branch = Annotated[str, WithJsonSchema({"type": "string", "pattern": BRANCH_PATTERN})]
Word = Annotated[str, WithJsonSchema({"type": "string", "enum": ["active", "inactive"]})]


class NewCodeAgentBody(Body):
    """A new agent, made from a repository."""

    name: CodeAgentName = Field(description="Unique in its space, ignoring case; `running` is taken")
    description: AgentText | None = Field(default=None, description="For people")
    purpose: AgentText | None = Field(default=None, description="Which messages it is for; else its manifest's")
    source_repo: Repo = Field(description="`owner/name`, an https or ssh address, `file://` where that is allowed")
    source_branch: Branch | None = Field(default=None, description="Branch or tag; by default the repository's own")


class CodeAgentChangeBody(Body):
    """What to change; null and what is absent stays."""

    description: AgentText | None = Field(default=None, description="For people")
    purpose: AgentText | None = Field(default=None, description="Which messages it is for")
    source_repo: Repo | None = Field(default=None, description="Where its code comes from")
    source_branch: Branch | None = Field(default=None, description="Branch or tag")


class StatusBody(Body):
    """Whether an agent takes part."""

    status: Word = Field(description="`inactive` agents take no messages and are not built")


class SpaceAgent(Answer):
    """An agent that is code of a repository."""

    name: str = Field(description="Its name")
    description: str | None = Field(description="For people")
    purpose: str | None = Field(description="Which messages it is for")
    source_repo: str = Field(description="Where its code comes from")
    source_branch: str | None = Field(description="Branch or tag; null: the repository's own")
    status: Status = Field(description="Whether it takes part")


class Build(Answer):
    """The making of all active agents of a space."""

    id: str = Field(description="`build-` and a UUID")
    status: BuildStatus = Field(description="`completed` once every active agent is built")
    started_at: Time | None = Field(description="When it began")
    completed_at: Time | None = Field(description="When it ended, well or not")
    logs: str = Field(description="What it said so far; of a long log the beginning and the end")
