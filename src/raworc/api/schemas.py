"""What answers of every contract have in common, as documented models."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Json = dict[str, Any]
"""JSON that the user owns."""


class Answer(BaseModel):
    """Base of what is answered: exactly these fields, each of them always there, nulls included."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProblemField(Answer):
    """One refused field."""

    field: str
    message: str


class ProblemError(BaseModel):
    """The error itself. ``details`` is there when fields were refused."""

    model_config = ConfigDict(extra="forbid")

    code: str
    type: str
    message: str
    details: list[ProblemField] = Field(default_factory=list[ProblemField])


class Problem(Answer):
    """The one error body."""

    message: str
    error: ProblemError
    request_id: str
    timestamp: str


class Version(Answer):
    """The server's version."""

    version: str
    api: Literal["v0"]


class Health(Answer):
    """Health, for callers that accept JSON. ``database`` is null where it was not asked.

    ``storage`` is ``low`` while new work is refused for want of disk; reading and deleting are possible then.
    """

    status: Literal["ok"]
    timestamp: str
    version: str
    database: Literal["connected"] | None
    storage: Literal["ok", "low"]
