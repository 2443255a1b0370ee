"""The spaces contract's objects: what requests carry and what is answered, field by field."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, WithJsonSchema

from raworc.api.bodies import Body
from raworc.api.schemas import Answer, Json, Time
from raworc.domain.names import SPACE_PATTERN, VARIABLE_PATTERN
from raworc.services.secrets import MAX_VALUE_BYTES

SpaceName = Annotated[str, WithJsonSchema({"type": "string", "pattern": SPACE_PATTERN})]

SecretKey = Annotated[str, WithJsonSchema({"type": "string", "pattern": VARIABLE_PATTERN})]
SecretValue = Annotated[str, WithJsonSchema({"type": "string", "maxLength": MAX_VALUE_BYTES})]


class NewSpaceBody(Body):
    """A new space."""

    name: SpaceName = Field(description="Unique, ignoring case")
    description: str | None = Field(default=None, description="For people")
    settings: Json | None = Field(default=None, description="Your own; at most 65536 characters as JSON")


class SpaceChangeBody(Body):
    """What to change; null and what is absent stays."""

    description: str | None = Field(default=None, description="For people")
    settings: Json | None = Field(default=None, description="In place of the former ones")


class Space(Answer):
    """A tenant: what belongs to one space is seen by nobody who has no role there."""

    name: str = Field(description="Its name")
    description: str | None = Field(description="For people")
    settings: Json = Field(description="Your own")
    active: Literal[True] = Field(description="Always true")
    created_at: Time = Field(description="When it was made")
    updated_at: Time = Field(description="When it was last changed")


class NewSecretBody(Body):
    """A new secret of a space."""

    verbatim: ClassVar = ("value",)

    key_name: SecretKey = Field(description="Named as an environment variable is")
    value: SecretValue = Field(description="At most 65536 bytes of UTF-8")
    description: str | None = Field(default=None, description="For people")


class SecretChangeBody(Body):
    """What to change; null and what is absent stays."""

    verbatim: ClassVar = ("value",)

    value: SecretValue | None = Field(default=None, description="At most 65536 bytes of UTF-8")
    description: str | None = Field(default=None, description="For people")


class Secret(Answer):
    """What is known of a secret. ``value`` is there only where it was asked for."""

    key_name: str = Field(description="Its name")
    value: str | None = Field(default=None, description="The secret itself; left out unless `show_values` is given")
    description: str | None = Field(description="For people")
    created_at: Time = Field(description="When it was made")
    updated_at: Time = Field(description="When it was last changed")


class StoredSecret(Answer):
    """A secret that was just put or changed."""

    space: str = Field(description="Whose it is")
    key_name: str = Field(description="Its name")
    description: str | None = Field(description="For people")
    created_at: Time = Field(description="When it was made")
    updated_at: Time = Field(description="When it was last changed")
    created_by: str = Field(description="The account that made it")


class RunningAgent(Answer):
    """A code agent, and whether it is kept warm."""

    name: str = Field(description="Its name")
    status: Literal["running", "stopped"] = Field(description="`running` while it is deployed")
    started_at: Time | None = Field(description="When it was deployed; null when it is not")


class AgentLog(Answer):
    """What an agent's handlers wrote."""

    logs: list[str] = Field(description="A line each, with its time and level, oldest first")
