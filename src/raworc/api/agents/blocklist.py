"""The blocklist: accounts that are kept out for the time being."""

from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.account_schemas import BlockAnswer, BlockedPrincipal, PrincipalBody, UnblockAnswer
from raworc.api.auth import MayListAccounts, MayUpdateAccount
from raworc.api.bodies import JsonBody
from raworc.api.once import Once
from raworc.api.parts import parts_of
from raworc.api.queries import AccountLimit, Offset
from raworc.api.render import Json, moment
from raworc.api.routes import Route
from raworc.errors import Conflict, NotFound

Principal = Annotated[PrincipalBody, Depends(JsonBody(PrincipalBody))]


async def list_blocked(
    request: Request, caller: MayListAccounts, *, limit: AccountLimit = 1000, offset: Offset = 0
) -> Response:
    """Who is blocked, the last one first."""
    found = await parts_of(request).blocklist.page(caller, limit=limit, offset=offset)
    return Json(
        [
            {
                "principal": item.principal,
                "principal_type": "Admin" if item.role == "admin" else "User",
                "created_at": moment(item.created_at),
            }
            for item in found
        ]
    )


async def block(request: Request, caller: MayUpdateAccount, body: Principal, once: Once) -> Response:
    """Keep an account out, from its next request on."""
    blocklist, principal = parts_of(request).blocklist, body.principal
    return await once.answer(
        caller,
        lambda keep: blocklist.block(caller, principal, keep),
        lambda created: {"blocked": True, "created": created},
    )


async def unblock(request: Request, caller: MayUpdateAccount, body: Principal, once: Once) -> Response:
    """Let an account in again, with the tokens that it had."""
    blocklist, principal = parts_of(request).blocklist, body.principal
    return await once.answer(
        caller,
        lambda keep: blocklist.unblock(caller, principal, keep),
        lambda deleted: {"blocked": False, "deleted": deleted},
    )


ROUTES: Final = (
    Route("GET", "/blocklist", list_blocked, list[BlockedPrincipal]),
    Route("POST", "/blocklist/block", block, BlockAnswer, fails=(Conflict, NotFound)),
    Route("POST", "/blocklist/unblock", unblock, UnblockAnswer, fails=(NotFound,)),
)
