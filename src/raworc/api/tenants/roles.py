"""Roles: what accounts may be bound to."""

from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import MayCreateRole, MayDeleteRole, MayGetRole, MayListRoles
from raworc.api.bodies import JsonBody
from raworc.api.exchange import of
from raworc.api.once import Once
from raworc.api.parts import parts_of
from raworc.api.queries import AccountLimit, Offset
from raworc.api.render import Empty, Json, moment
from raworc.api.routes import Route, success_of
from raworc.api.tenants.role_schemas import NewRoleBody, OrganizationRole, Role
from raworc.domain.roles import DEFAULT_GROUPS
from raworc.errors import Conflict
from raworc.services.roles import NewRole, RoleRow, RoleRule


async def list_roles(
    request: Request, caller: MayListRoles, *, limit: AccountLimit = 1000, offset: Offset = 0
) -> Response:
    """Every role, the built-in ones first. It takes a role bound everywhere."""
    found = await parts_of(request).tenants.roles.page(caller, limit=limit, offset=offset)
    return Json([_shown(request, row) for row in found])


async def create_role(
    request: Request, caller: MayCreateRole, body: Annotated[NewRoleBody, Depends(JsonBody(NewRoleBody))], once: Once
) -> Response:
    """A new role, by who holds everywhere all that it gives."""
    rules = [RoleRule(item.resources, item.verbs, item.scope or "space", item.api_groups) for item in body.rules]
    new, roles = NewRole(body.name, rules, body.description), parts_of(request).tenants.roles
    return await once.answer(caller, lambda keep: roles.create(caller, new, keep), lambda row: _shown(request, row))


async def get_role(request: Request, id: str, caller: MayGetRole) -> Response:  # noqa: A002  the path's word
    """One role by its name or id."""
    return Json(_shown(request, await parts_of(request).tenants.roles.get(caller, id)))


async def delete_role(request: Request, id: str, caller: MayDeleteRole) -> Response:  # noqa: A002  the path's word
    """Remove a role. Refused with 409 while it is bound to anybody, and always for the built-in ones."""
    await parts_of(request).tenants.roles.delete(caller, id)
    return Empty(status_code=success_of(request))


def _shown(request: Request, row: RoleRow) -> dict[str, Any]:
    created_at = moment(row.created_at)
    if of(request.scope).contract == "spaces":
        rules = [_rule(item) | {"scope": item["scope"]} for item in row.rules]
        told = {"name": row.name, "description": row.description, "rules": rules, "created_at": created_at}
        return {"id": str(row.id), **told}
    rules = [{"api_groups": item.get("api_groups", DEFAULT_GROUPS), **_rule(item)} for item in row.rules]
    stamps = {"created_at": created_at, "updated_at": moment(row.updated_at)}
    return {"id": str(row.id), "name": row.name, "rules": rules, **stamps}


def _rule(item: dict[str, Any]) -> dict[str, Any]:
    return {"resources": item["resources"], "verbs": item["verbs"]}


_ALL: Final = "/roles"
_ONE: Final = "/roles/{id}"

ROUTES: Final = (
    Route("GET", _ALL, list_roles, list[Role]),
    Route("POST", _ALL, create_role, Role, fails=(Conflict,)),
    Route("GET", _ONE, get_role, Role),
    Route("DELETE", _ONE, delete_role, fails=(Conflict,)),
)
"""Those of the contract spaces."""

ORGANIZATION_ROUTES: Final = (
    Route("GET", _ALL, list_roles, list[OrganizationRole]),
    Route("POST", _ALL, create_role, OrganizationRole, fails=(Conflict,), status=201),
    Route("GET", _ONE, get_role, OrganizationRole),
    Route("DELETE", _ONE, delete_role, fails=(Conflict,), status=204),
)
"""Those of the contract organizations."""
