"""Logging in, and whom a token speaks for."""

from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.account_schemas import AgentToken, MintBody, TokenBody
from raworc.api.agents.schemas import OperatorCredentials, Profile
from raworc.api.auth import AnyCaller, MayUpdate, MayUpdateAccount
from raworc.api.bodies import JsonBody
from raworc.api.login import FAILS, NOT_KEPT, Proof, Token, logged_in, token_of
from raworc.api.parts import parts_of
from raworc.api.render import Json, moment
from raworc.api.routes import Route
from raworc.errors import Conflict


async def login_operator(
    request: Request, name: str, body: Annotated[OperatorCredentials, Depends(JsonBody(OperatorCredentials))]
) -> Response:
    """A token for the operator (account) that the path names."""
    return await logged_in(request, Proof(name, body.password, body.ttl_hours), default="agents")


async def mint_token(
    request: Request, caller: MayUpdateAccount, body: Annotated[MintBody, Depends(JsonBody(MintBody))]
) -> Response:
    """A token for another account, by an administrator. An ordinary one that is not there yet is made."""
    role = "admin" if body.type == "Admin" else "user"
    return token_of(await parts_of(request).minting.mint(caller, body.principal, role, body.ttl_hours))


async def mint_agent_token(
    request: Request, name: str, caller: MayUpdate, body: Annotated[TokenBody, Depends(JsonBody(TokenBody))]
) -> Response:
    """The agent's own token, for a program that works for it from outside.

    It reads this agent, its responses and their events, writes to its responses (`PUT .../responses/{id}`), and moves
    its state (`/busy`, `/idle`, `PUT .../state`); nothing else. It ends with the agent, with its maker's right to
    change the agent, and with whatever ends its maker's tokens.
    """
    made = await parts_of(request).minting.for_agent(caller, name, body.ttl_hours)
    content = {**vars(made), "token_type": "Bearer", "expires_at": moment(made.expires_at)}
    return Json(content, headers=NOT_KEPT)


async def profile(caller: AnyCaller) -> Response:
    """Whom the token speaks for."""
    return Json({"user": caller.name, "type": "Admin" if caller.is_admin else "User"})


ROUTES: Final = (
    Route("POST", "/operators/{name}/login", login_operator, Token, fails=FAILS),
    Route("GET", "/auth", profile, Profile),
    Route("POST", "/auth/token", mint_token, Token, fails=(Conflict,)),
    Route("POST", "/agents/{name}/token", mint_agent_token, AgentToken),
)
