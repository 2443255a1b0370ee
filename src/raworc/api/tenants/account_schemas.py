"""Service accounts: what requests carry and what is answered."""

from typing import Annotated

from pydantic import Field, WithJsonSchema

from raworc.api.bodies import Body
from raworc.api.schemas import Answer, Time
from raworc.domain.agents import DEFAULT_SPACE
from raworc.domain.names import ACCOUNT_PATTERN
from raworc.services.passwords import MAX_CHARACTERS, MIN_CHARACTERS

AccountName = Annotated[str, WithJsonSchema({"type": "string", "pattern": ACCOUNT_PATTERN})]
NewPassword = Annotated[
    str, WithJsonSchema({"type": "string", "minLength": MIN_CHARACTERS, "maxLength": MAX_CHARACTERS})
]
_PLACE = "Where it belongs; which gives it no right there"


class NewAccountBody(Body):
    """A new service account. Its rights come from bindings, which are made apart."""

    user: AccountName = Field(description="Unique on the server, ignoring case")
    password: NewPassword = Field(alias="pass", description="Of 8 characters or more")
    description: str | None = Field(default=None, description="For people")
    space: str | None = Field(default=None, description=_PLACE)


class NewNamespacedAccountBody(NewAccountBody):
    """A new service account. Its rights come from bindings, which are made apart."""

    space: str | None = Field(default=DEFAULT_SPACE, alias="namespace", description=_PLACE)


class AccountChangeBody(Body):
    """What to change; null and what is absent stays."""

    description: str | None = Field(default=None, description="For people")
    active: bool | None = Field(default=None, description="False: it may not log in, and its tokens do not count")
    space: str | None = Field(default=None, description=_PLACE)


class NamespacedAccountChangeBody(AccountChangeBody):
    """What to change; null and what is absent stays."""

    space: str | None = Field(default=None, alias="namespace", description=_PLACE)


class AccountPasswordBody(Body):
    """Another password. Whoever asks has to know the current one."""

    current_password: str = Field(description="The one that counts now")
    new_password: NewPassword = Field(description="Ends all tokens that were given out before")


class _Account(Answer):
    id: str = Field(description="UUID")
    user: str = Field(description="The account's name")
    description: str | None = Field(description="For people")
    active: bool = Field(description="False: it may not log in, and its tokens do not count")
    created_at: Time = Field(description="When it was made")
    updated_at: Time = Field(description="When it was last changed")
    last_login_at: Time | None = Field(description="When it last logged in")


class ServiceAccount(_Account):
    """An account as the contract spaces shows it."""

    space: str | None = Field(description="Where it belongs")


class NamespacedServiceAccount(_Account):
    """An account as the contract organizations shows it."""

    namespace: str | None = Field(description="Where it belongs")
