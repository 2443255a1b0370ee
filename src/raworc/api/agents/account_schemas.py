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

    user: AccountName = Field(description="Unique, ignoring case")
    password: NewPassword = Field(alias="pass", description="Of 8 characters or more")
    description: str | None = Field(default=None, description="For people")
    active: bool | None = Field(default=None, description="False: it may not log in, and its tokens do not count")
    role: Role | None = Field(default=None, description="`admin`: may do everything")


class OperatorChangeBody(Body):
    """What to change; null and what is absent stays."""

    description: str | None = Field(default=None, description="For people")
    active: bool | None = Field(default=None, description="False: it may not log in, and its tokens do not count")
    role: Role | None = Field(default=None, description="`admin`: may do everything")


class PasswordBody(Body):
    """Another password. Who may not change accounts has to know the current one."""

    new_password: NewPassword = Field(description="Ends all tokens that were given out before")
    current_password: str | None = Field(default=None, description="Needed by who may not change accounts")


class Operator(Answer):
    """An account."""

    user: str = Field(description="The account's name")
    description: str | None = Field(description="For people")
    active: bool = Field(description="False: it may not log in, and its tokens do not count")
    created_at: Time = Field(description="When it was made")
    updated_at: Time = Field(description="When it was last changed")
    last_login_at: Time | None = Field(description="When it last logged in")
    role: Role = Field(description="`admin`: may do everything")


class MintBody(Body):
    """For whom a token is wanted, and for how long."""

    principal: AccountName = Field(description="The account's name")
    type: Literal["User", "Admin"] = Field(description="`Admin`: only for an administrator")
    ttl_hours: float | None = Field(default=None, description="Life of the token, in hours; 24 where absent")


class TokenBody(Body):
    """How long a token is wanted for."""

    ttl_hours: float | None = Field(default=None, description="Life of the token, in hours; 24 where absent")


class AgentToken(Answer):
    """An agent's own token."""

    token: str = Field(description="JWT, for `Authorization: Bearer`")
    token_type: Literal["Bearer"] = Field(description="Always `Bearer`")
    expires_at: Time = Field(description="When the token ends")
    agent_name: str = Field(description="Which agent it is about")


class PrincipalBody(Body):
    """Whom to block or let in again. ``type`` is taken for the sake of older clients: names are unique."""

    principal: AccountName = Field(description="The account's name")
    type: Literal["User", "Admin", "Subject"] = Field(default="User", description="Not looked at")


class BlockedPrincipal(Answer):
    """One entry of the blocklist."""

    principal: str = Field(description="The account's name")
    principal_type: Literal["User", "Admin"] = Field(description="`Admin` for administrators")
    created_at: Time = Field(description="Since when")


class BlockAnswer(Answer):
    """``created`` is false for what was blocked already."""

    blocked: Literal[True] = Field(description="Always true")
    created: bool = Field(description="False where it was blocked already")


class UnblockAnswer(Answer):
    """``deleted`` is false for what was not blocked."""

    blocked: Literal[False] = Field(description="Always false")
    deleted: bool = Field(description="False where it was not blocked")
