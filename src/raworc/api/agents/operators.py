"""Operators: the accounts of this server."""

from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.account_schemas import NewOperatorBody, Operator, OperatorChangeBody, PasswordBody
from raworc.api.auth import AnyCaller, MayCreateAccount, MayDeleteAccount, MayUpdateAccount
from raworc.api.bodies import JsonBody
from raworc.api.once import Once
from raworc.api.parts import parts_of
from raworc.api.queries import AccountLimit, Offset
from raworc.api.render import Empty, Json, moment
from raworc.api.routes import Route
from raworc.errors import Conflict, Forbidden, NotFound, RateLimited
from raworc.services.operators import NewOperator, OperatorChange, OperatorView


async def list_operators(
    request: Request, caller: AnyCaller, *, limit: AccountLimit = 1000, offset: Offset = 0
) -> Response:
    """Accounts by name: all that the caller may see, himself at least."""
    found = await parts_of(request).operators.page(caller, limit=limit, offset=offset)
    return Json([_operator(item) for item in found])


async def create_operator(
    request: Request,
    caller: MayCreateAccount,
    body: Annotated[NewOperatorBody, Depends(JsonBody(NewOperatorBody))],
    once: Once,
) -> Response:
    """A new account."""
    new = NewOperator(
        name=body.user,
        password=body.password,
        description=body.description,
        active=body.active is not False,
        role=body.role or "user",
    )
    operators = parts_of(request).operators
    return await once.answer(caller, lambda keep: operators.create(caller, new, keep), _operator)


async def get_operator(request: Request, name: str, caller: AnyCaller) -> Response:
    """One account: one's own, or any for who may read accounts."""
    return Json(_operator(await parts_of(request).operators.get(caller, name)))


async def update_operator(
    request: Request,
    name: str,
    caller: MayUpdateAccount,
    body: Annotated[OperatorChangeBody, Depends(JsonBody(OperatorChangeBody))],
) -> Response:
    """Change what is given. An account that is deactivated loses its tokens at once and for good."""
    change = OperatorChange(description=body.description, active=body.active, role=body.role)
    return Json(_operator(await parts_of(request).operators.update(caller, name, change)))


async def delete_operator(request: Request, name: str, caller: MayDeleteAccount) -> Response:
    """Remove an account that owns no agents; its tokens end at once, its name is free."""
    await parts_of(request).operators.delete(caller, name)
    return Empty()


async def set_operator_password(
    request: Request, name: str, caller: AnyCaller, body: Annotated[PasswordBody, Depends(JsonBody(PasswordBody))]
) -> Response:
    """Another password, one's own or that of an account one may change. Its tokens end at once."""
    await parts_of(request).operators.set_password(caller, name, body.new_password, body.current_password)
    return Empty()


def _operator(view: OperatorView) -> dict[str, Any]:
    return {
        "user": view.user,
        "description": view.description,
        "active": view.active,
        "role": view.role,
        "created_at": moment(view.created_at),
        "updated_at": moment(view.updated_at),
        "last_login_at": moment(view.last_login_at),
    }


_ONE: Final = "/operators/{name}"

ROUTES: Final = (
    Route("GET", "/operators", list_operators, list[Operator]),
    Route("POST", "/operators", create_operator, Operator, fails=(Conflict, RateLimited)),
    Route("GET", _ONE, get_operator, Operator, fails=(Forbidden, NotFound)),
    Route("PUT", _ONE, update_operator, Operator, fails=(Conflict,)),
    Route("DELETE", _ONE, delete_operator, fails=(Conflict,)),
    Route("PUT", _ONE + "/password", set_operator_password, fails=(Forbidden, NotFound, RateLimited)),
)
