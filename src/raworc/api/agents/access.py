"""Logging in, and whom a token speaks for."""

from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.account_schemas import MintBody
from raworc.api.agents.schemas import Credentials, OperatorCredentials, Profile, Token
from raworc.api.auth import AnyCaller, MayUpdateAccount, address_of
from raworc.api.bodies import JsonBody
from raworc.api.exchange import of
from raworc.api.parts import parts_of
from raworc.api.render import Json, moment
from raworc.api.routes import Route
from raworc.errors import Conflict, DatabaseUnavailable, RateLimited, Unauthorized
from raworc.services.accounts import LoginAnswer


async def login(request: Request, body: Annotated[Credentials, Depends(JsonBody(Credentials))]) -> Response:
    """A token for an account, by name and password."""
    contract = of(request.scope).asked_contract or "spaces"
    accounts = parts_of(request).accounts
    return _token(
        await accounts.login(
            body.user, body.password, contract=contract, ttl_hours=body.ttl_hours, address=address_of(request)
        )
    )


async def login_operator(
    request: Request, name: str, body: Annotated[OperatorCredentials, Depends(JsonBody(OperatorCredentials))]
) -> Response:
    """A token for the operator (account) that the path names."""
    contract = of(request.scope).asked_contract or "agents"
    accounts = parts_of(request).accounts
    return _token(
        await accounts.login(
            name, body.password, contract=contract, ttl_hours=body.ttl_hours, address=address_of(request)
        )
    )


async def mint_token(
    request: Request, caller: MayUpdateAccount, body: Annotated[MintBody, Depends(JsonBody(MintBody))]
) -> Response:
    """A token for another account, by an administrator. An ordinary one that is not there yet is made."""
    role = "admin" if body.type == "Admin" else "user"
    return _token(await parts_of(request).minting.mint(caller, body.principal, role, body.ttl_hours))


async def profile(caller: AnyCaller) -> Response:
    """Whom the token speaks for."""
    return Json({"user": caller.name, "type": "Admin" if caller.is_admin else "User"})


def _token(answer: LoginAnswer) -> Response:
    content = {
        "token": answer.token,
        "token_type": "Bearer",
        "expires_at": moment(answer.expires_at),
        "user": answer.user,
        "role": answer.role,
    }
    headers = {"Cache-Control": "no-store"}
    return Json(content, headers=headers | ({"Raworc-Notice": answer.notice} if answer.notice else {}))


_LOGIN_FAILS: Final = (Unauthorized, RateLimited, DatabaseUnavailable)

ROUTES: Final = (
    Route("POST", "/auth/login", login, Token, fails=_LOGIN_FAILS),
    Route("POST", "/operators/{name}/login", login_operator, Token, fails=_LOGIN_FAILS),
    Route("GET", "/auth", profile, Profile),
    Route("POST", "/auth/token", mint_token, Token, fails=(Conflict,)),
)
