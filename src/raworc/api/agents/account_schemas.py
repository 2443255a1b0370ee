"""Operators (accounts), tokens and the blocklist: what requests carry and what is answered."""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from raworc.api.agents.schemas import Time
from raworc.api.bodies import Body
from raworc.api.schemas import Answer
from raworc.domain.names import ACCOUNT_PATTERN
from raworc.services.passwords import MAX_CHARACTERS, MIN_CHARACTERS

Role = Literal["admin", "user"]
AccountName = Annotated[str, WithJsonSchema({"type": "string", "pattern": ACCOUNT_PATTERN})]
NewPassword = Annotated[
    str, WithJsonSchema({"type": "string", "minLength": MIN_CHARACTERS, "maxLength": MAX_CHARACTERS})
]


class NewOperatorBody(Body):
    """A new account; only administrators may ask for ``role: admin``."""

    user: AccountName
    password: NewPassword = Field(alias="pass")
    description: str | None = None
    active: bool | None = None
    role: Role | None = None


class OperatorChangeBody(Body):
    """What to change; null and what is absent stays."""

    description: str | None = None
    active: bool | None = None
    role: Role | None = None


class PasswordBody(Body):
    """Another password. Who may not change accounts has to know the current one."""

    new_password: NewPassword
    current_password: str | None = None


class Operator(Answer):
    """An account."""

    user: str
    description: str | None
    active: bool
    created_at: Time
    updated_at: Time
    last_login_at: Time | None
    role: Role


class MintBody(Body):
    """For whom a token is wanted, and for how long."""

    principal: AccountName
    type: Literal["User", "Admin"]
    ttl_hours: float | None = None


class PrincipalBody(Body):
    """Whom to block or let in again. ``type`` is taken for the sake of older clients: names are unique."""

    principal: AccountName
    type: Literal["User", "Admin", "Subject"] = "User"


class BlockedPrincipal(Answer):
    """One entry of the blocklist."""

    principal: str
    principal_type: Literal["User", "Admin"]
    created_at: Time


class BlockAnswer(Answer):
    """``created`` is false for what was blocked already."""

    blocked: Literal[True]
    created: bool


class UnblockAnswer(Answer):
    """``deleted`` is false for what was not blocked."""

    blocked: Literal[False]
    deleted: bool
