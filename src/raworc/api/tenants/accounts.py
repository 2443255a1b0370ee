"""Service accounts: who logs in."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import (
    AnyCaller,
    MayCreateAccount,
    MayDeleteServiceAccount,
    MayGetServiceAccount,
    MayListAccounts,
    MayUpdateServiceAccount,
)
from raworc.api.bodies import JsonBody
from raworc.api.exchange import of
from raworc.api.once import Once
from raworc.api.parts import parts_of
from raworc.api.queries import AccountLimit, Offset
from raworc.api.render import Empty, Json, moment
from raworc.api.routes import Route, success_of
from raworc.api.tenants.account_schemas import (
    AccountChangeBody,
    AccountPasswordBody,
    NamespacedAccountChangeBody,
    NamespacedServiceAccount,
    NewAccountBody,
    NewNamespacedAccountBody,
    ServiceAccount,
)
from raworc.errors import Conflict, Forbidden, NotFound, RateLimited
from raworc.services.accounts import Caller
from raworc.services.operators import NewOperator, OperatorChange, OperatorView


async def list_accounts(
    request: Request, caller: MayListAccounts, *, limit: AccountLimit = 1000, offset: Offset = 0
) -> Response:
    """Accounts that the caller may see, by name."""
    found = await parts_of(request).tenants.accounts.page(caller, limit=limit, offset=offset)
    return Json([_shown(request)(item) for item in found])


async def create_account(
    request: Request,
    caller: MayCreateAccount,
    body: Annotated[NewAccountBody, Depends(JsonBody(NewAccountBody))],
    once: Once,
) -> Response:
    """A new account. Without a space it takes a role for all of them."""
    return await _created(request, caller, body, once)


async def create_namespaced_account(
    request: Request,
    caller: MayCreateAccount,
    body: Annotated[NewNamespacedAccountBody, Depends(JsonBody(NewNamespacedAccountBody))],
    once: Once,
) -> Response:
    """A new account, in namespace `default` where none is named."""
    return await _created(request, caller, body, once)


async def get_account(request: Request, id: str, caller: MayGetServiceAccount) -> Response:  # noqa: A002  the path's
    """One account by its id or name: one's own, or any that the caller may see."""
    return Json(_shown(request)(await parts_of(request).tenants.accounts.get(caller, id)))


async def update_account(
    request: Request,
    id: str,  # noqa: A002  the path's
    caller: MayUpdateServiceAccount,
    body: Annotated[AccountChangeBody, Depends(JsonBody(AccountChangeBody))],
) -> Response:
    """Change what is given. An account that is deactivated loses its tokens at once and for good."""
    return await _updated(request, id, caller, body)


async def update_namespaced_account(
    request: Request,
    id: str,  # noqa: A002  the path's
    caller: MayUpdateServiceAccount,
    body: Annotated[NamespacedAccountChangeBody, Depends(JsonBody(NamespacedAccountChangeBody))],
) -> Response:
    """Change what is given. An account that is deactivated loses its tokens at once and for good."""
    return await _updated(request, id, caller, body)


async def delete_account(request: Request, id: str, caller: MayDeleteServiceAccount) -> Response:  # noqa: A002  so
    """Remove an account that owns no agents, with its bindings; its tokens end at once, its name is free."""
    await parts_of(request).tenants.accounts.delete(caller, id)
    return Empty(status_code=success_of(request))


async def set_account_password(
    request: Request,
    id: str,  # noqa: A002  the path's
    caller: AnyCaller,
    body: Annotated[AccountPasswordBody, Depends(JsonBody(AccountPasswordBody))],
) -> Response:
    """Another password, one's own or that of an account one may change, by who knows the current one."""
    accounts = parts_of(request).tenants.accounts
    await accounts.set_password(caller, id, body.new_password, body.current_password)
    return Empty()


async def _created(request: Request, caller: Caller, body: NewAccountBody, once: Once) -> Response:
    new = NewOperator(body.user, body.password, description=body.description, space=body.space or None)
    accounts = parts_of(request).tenants.accounts
    return await once.answer(caller, lambda keep: accounts.create(caller, new, keep), _shown(request))


async def _updated(request: Request, which: str, caller: Caller, body: AccountChangeBody) -> Response:
    change = OperatorChange(description=body.description, active=body.active, space=body.space)
    return Json(_shown(request)(await parts_of(request).tenants.accounts.update(caller, which, change)))


def _shown(request: Request) -> Callable[[OperatorView], dict[str, Any]]:
    place = "space" if of(request.scope).contract == "spaces" else "namespace"

    def shown(view: OperatorView) -> dict[str, Any]:
        return {
            "id": str(view.id),
            "user": view.user,
            place: view.space,
            "description": view.description,
            "active": view.active,
            "created_at": moment(view.created_at),
            "updated_at": moment(view.updated_at),
            "last_login_at": moment(view.last_login_at),
        }

    return shown


_ALL: Final = "/service-accounts"
_ONE: Final = "/service-accounts/{id}"
_PASSWORD: Final = Route("PUT", _ONE + "/password", set_account_password, fails=(Forbidden, NotFound, RateLimited))

ROUTES: Final = (
    Route("GET", _ALL, list_accounts, list[ServiceAccount]),
    Route("POST", _ALL, create_account, ServiceAccount, fails=(Conflict, NotFound, RateLimited)),
    Route("GET", _ONE, get_account, ServiceAccount),
    Route("PUT", _ONE, update_account, ServiceAccount, fails=(Conflict,)),
    Route("DELETE", _ONE, delete_account, fails=(Conflict,)),
    _PASSWORD,
)
"""Those of the contract spaces."""

NAMESPACED_ROUTES: Final = (
    Route("GET", _ALL, list_accounts, list[NamespacedServiceAccount]),
    Route(
        "POST",
        _ALL,
        create_namespaced_account,
        NamespacedServiceAccount,
        fails=(Conflict, NotFound, RateLimited),
        status=201,
    ),
    Route("GET", _ONE, get_account, NamespacedServiceAccount),
    Route("PUT", _ONE, update_namespaced_account, NamespacedServiceAccount, fails=(Conflict,)),
    Route("DELETE", _ONE, delete_account, fails=(Conflict,), status=204),
    _PASSWORD,
)
"""Those of the contract organizations."""
