"""What answers of every contract have in common, as documented models."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

Json = dict[str, Any]
"""JSON that the user owns."""
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]


class Answer(BaseModel):
    """Base of what is answered: exactly these fields, each of them always there, nulls included."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)  # most are only for the documents


class ProblemField(Answer):
    """One refused field."""

    field: str = Field(description="Its path in the request")
    message: str = Field(description="What is wrong with it")


class ProblemError(BaseModel):
    """The error itself. ``details`` is there when fields were refused."""

    model_config = ConfigDict(extra="forbid")

    code: str = Field(description="Stable, for programs")
    type: str = Field(description="Family of the code")
    message: str = Field(description="What happened and what to do")
    details: list[ProblemField] = Field(default_factory=list[ProblemField], description="Refused fields")


class Problem(Answer):
    """The one error body."""

    message: str = Field(description="What happened and what to do")
    error: ProblemError = Field(description="The same for programs")
    request_id: str = Field(description="As in `X-Request-Id` and the log")
    timestamp: str = Field(description="When it happened")


class Version(Answer):
    """The server's version."""

    version: str = Field(description="Of the server")
    api: Literal["v0"] = Field(description="Generation of the API")


class Health(Answer):
    """Health, for callers that accept JSON. ``database`` is null where it was not asked.

    ``storage`` is ``low`` while new work is refused for want of disk; reading and deleting are possible then.
    """

    status: Literal["ok"] = Field(description="Always `ok`")
    timestamp: str = Field(description="When it was asked")
    version: str = Field(description="Of the server")
    database: Literal["connected"] | None = Field(description="`connected`; null where it was not asked")
    storage: Literal["ok", "low"] = Field(description="`low`: new work is refused for want of disk")
