"""Spaces."""

from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import MayCreateSpace, MayDeleteSpace, MayGetSpace, MayListSpaces, MayUpdateSpace
from raworc.api.bodies import JsonBody
from raworc.api.once import Once
from raworc.api.parts import parts_of
from raworc.api.queries import AccountLimit, Offset
from raworc.api.render import Empty, Json, moment
from raworc.api.routes import Route
from raworc.api.spaces.schemas import NewSpaceBody, Space, SpaceChangeBody
from raworc.errors import Conflict
from raworc.services.spaces import NewSpace, SpaceChange, SpaceRow


async def list_spaces(
    request: Request, caller: MayListSpaces, *, limit: AccountLimit = 1000, offset: Offset = 0
) -> Response:
    """Spaces that the caller may see, by name."""
    found = await parts_of(request).tenants.spaces.page(caller, limit=limit, offset=offset)
    return Json([_space(row) for row in found])


async def create_space(
    request: Request,
    caller: MayCreateSpace,
    body: Annotated[NewSpaceBody, Depends(JsonBody(NewSpaceBody))],
    once: Once,
) -> Response:
    """A new space. It takes a role for all of them."""
    new = NewSpace(body.name, body.description, body.settings or {})
    spaces = parts_of(request).tenants.spaces
    return await once.answer(caller, lambda keep: spaces.create(caller, new, keep), _space)


async def get_space(request: Request, name: str, caller: MayGetSpace) -> Response:
    """One space."""
    return Json(_space(await parts_of(request).tenants.spaces.get(caller, name)))


async def update_space(
    request: Request,
    name: str,
    caller: MayUpdateSpace,
    body: Annotated[SpaceChangeBody, Depends(JsonBody(SpaceChangeBody))],
) -> Response:
    """Change what is given."""
    change = SpaceChange(body.description, body.settings)
    return Json(_space(await parts_of(request).tenants.spaces.update(caller, name, change)))


async def delete_space(request: Request, name: str, caller: MayDeleteSpace) -> Response:
    """Remove a space with its secrets, bindings and client keys.

    Refused with 409 while agents, sessions or accounts belong to it, and always for `default`.
    """
    await parts_of(request).tenants.spaces.delete(caller, name)
    return Empty()


def _space(row: SpaceRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "description": row.description,
        "settings": row.settings,
        "active": True,
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
    }


_ONE: Final = "/spaces/{name}"

ROUTES: Final = (
    Route("GET", "/spaces", list_spaces, list[Space]),
    Route("POST", "/spaces", create_space, Space, fails=(Conflict,)),
    Route("GET", _ONE, get_space, Space),
    Route("PUT", _ONE, update_space, Space),
    Route("DELETE", _ONE, delete_space, fails=(Conflict,)),
)
