"""Logging in by name and password: what every contract answers, whichever way its clients ask."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from fastapi import Depends
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import AnyCaller, address_of
from raworc.api.bodies import Body, JsonBody
from raworc.api.exchange import of
from raworc.api.parts import parts_of
from raworc.api.render import Json, moment
from raworc.api.routes import Contract
from raworc.api.schemas import Answer, Time
from raworc.errors import DatabaseUnavailable, RateLimited, Unauthorized
from raworc.services.accounts import LoginAnswer

FAILS: Final = (Unauthorized, RateLimited, DatabaseUnavailable)
NOT_KEPT: Final = {"Cache-Control": "no-store"}


class Credentials(Body):
    """A login by name and password. Where its account belongs is not asked: names are unique on the server."""

    user: str = Field(description="The account's name")
    password: str = Field(alias="pass", description="The password")
    ttl_hours: float | None = Field(default=None, description="Life of the token, in hours; 24 where absent")


class Token(Answer):
    """What a login answers in every contract."""

    token: str = Field(description="JWT, for `Authorization: Bearer`")
    token_type: Literal["Bearer"] = Field(description="Always `Bearer`")
    expires_at: Time = Field(description="When the token ends")
    user: str = Field(description="The account's name")
    role: Literal["admin", "user"] = Field(description="`admin` for administrators")


class Me(Answer):
    """Whom a token speaks for, as the older contracts say it."""

    user: str = Field(description="The account's name")
    namespace: None = Field(description="Always null: an account's rights come from its bindings")
    type: Literal["ServiceAccount"] = Field(description="Always `ServiceAccount`")


@dataclass(frozen=True)
class Proof:
    """What a login is proven with, and for how long a token is wanted."""

    name: str
    password: str
    ttl_hours: float | None


async def login(request: Request, body: Annotated[Credentials, Depends(JsonBody(Credentials))]) -> Response:
    """A token for an account, by name and password. It is issued under the contract that answers here."""
    proof = Proof(body.user, body.password, body.ttl_hours)
    return await logged_in(request, proof, default=of(request.scope).contract)


async def me(caller: AnyCaller) -> Response:
    """Whom the token speaks for."""
    return Json({"user": caller.name, "namespace": None, "type": "ServiceAccount"})


async def logged_in(request: Request, proof: Proof, *, default: str | Contract) -> Response:
    """The answer to a login. Its token is for the contract that was asked for by name, else for ``default``."""
    contract = of(request.scope).asked_contract or default
    answer = await parts_of(request).accounts.login(
        proof.name, proof.password, contract=contract, ttl_hours=proof.ttl_hours, address=address_of(request)
    )
    return token_of(answer)


def token_of(answer: LoginAnswer) -> Response:
    """A token as it is answered, which nobody may keep."""
    content = {
        "token": answer.token,
        "token_type": "Bearer",
        "expires_at": moment(answer.expires_at),
        "user": answer.user,
        "role": answer.role,
    }
    return Json(content, headers=NOT_KEPT | ({"Raworc-Notice": answer.notice} if answer.notice else {}))
