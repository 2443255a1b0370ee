"""Role bindings: who has which role where."""

from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import MayCreateBinding, MayDeleteBinding, MayGetBinding, MayListBindings
from raworc.api.bodies import JsonBody
from raworc.api.once import Once
from raworc.api.parts import parts_of
from raworc.api.queries import AccountLimit, Offset
from raworc.api.render import Empty, Json, moment
from raworc.api.routes import Route, success_of
from raworc.api.tenants.role_schemas import Binding, GroupBinding, NewBindingBody, NewGroupBindingBody
from raworc.domain.names import EVERYBODY
from raworc.errors import Conflict, NotFound
from raworc.services.bindings import BindingRow, NewBinding, Subject


async def list_bindings(
    request: Request, caller: MayListBindings, *, limit: AccountLimit = 1000, offset: Offset = 0
) -> Response:
    """Bindings in spaces where the caller may list them, the eldest first; one item for each subject."""
    found = await parts_of(request).tenants.bindings.page(caller, limit=limit, offset=offset)
    return Json([_binding(row) for row in found])


async def create_binding(
    request: Request,
    caller: MayCreateBinding,
    body: Annotated[NewBindingBody, Depends(JsonBody(NewBindingBody))],
    once: Once,
) -> Response:
    """Give an account a role, by who holds there all that it gives."""
    new = NewBinding(body.role_ref, (_subject(body.subject, body.space),))
    bindings = parts_of(request).tenants.bindings
    return await once.answer(caller, lambda keep: bindings.create(caller, new, keep), lambda rows: _binding(rows[0]))


async def get_binding(request: Request, id: str, caller: MayGetBinding) -> Response:  # noqa: A002  the path's word
    """One binding."""
    return Json(_binding((await parts_of(request).tenants.bindings.get(caller, id))[0]))


async def list_group_bindings(
    request: Request, caller: MayListBindings, *, limit: AccountLimit = 1000, offset: Offset = 0
) -> Response:
    """Bindings in namespaces where the caller may list them, the eldest first."""
    found = await parts_of(request).tenants.bindings.groups(caller, limit=limit, offset=offset)
    return Json([_group(rows) for rows in found])


async def create_group_binding(
    request: Request,
    caller: MayCreateBinding,
    body: Annotated[NewGroupBindingBody, Depends(JsonBody(NewGroupBindingBody))],
    once: Once,
) -> Response:
    """Give subjects a role, by who holds all that it gives wherever they are to have it."""
    subjects = tuple(Subject(item.name, item.namespace, item.kind) for item in body.subjects)
    new, bindings = NewBinding(body.role_ref.name, subjects, body.name), parts_of(request).tenants.bindings
    return await once.answer(caller, lambda keep: bindings.create(caller, new, keep), _group)


async def get_group_binding(request: Request, id: str, caller: MayGetBinding) -> Response:  # noqa: A002  the path's
    """One binding by its id or name."""
    return Json(_group(await parts_of(request).tenants.bindings.get(caller, id)))


async def delete_binding(request: Request, id: str, caller: MayDeleteBinding) -> Response:  # noqa: A002  the path's
    """Take a role away, by who holds there all that it gives. Refused with 409 where no administrator would be left."""
    await parts_of(request).tenants.bindings.delete(caller, id)
    return Empty(status_code=success_of(request))


def _subject(name: str, space: str | None) -> Subject:
    return Subject(name, space, "Group" if name.lower() == EVERYBODY else "ServiceAccount")


def _binding(row: BindingRow) -> dict[str, Any]:
    made_at = moment(row.created_at)
    return {
        "id": row.name if row.builtin else str(row.id),
        "subject": row.account or EVERYBODY,
        "role_ref": row.role,
        "space": row.space,
        "created_at": made_at,
        "updated_at": made_at,
    }


def _group(rows: list[BindingRow]) -> dict[str, Any]:
    first = rows[0]
    made_at, name = moment(first.created_at), first.name or str(first.group_id)
    return {
        "id": name if first.builtin else str(first.group_id),
        "name": name,
        "role_ref": {"api_group": "rbac", "kind": "Role", "name": first.role},
        "subjects": [
            {"kind": row.subject_kind, "name": row.account or EVERYBODY, "namespace": row.space} for row in rows
        ],
        "created_at": made_at,
        "updated_at": made_at,
    }


_ALL: Final = "/role-bindings"
_ONE: Final = "/role-bindings/{id}"

ROUTES: Final = (
    Route("GET", _ALL, list_bindings, list[Binding]),
    Route("POST", _ALL, create_binding, Binding, fails=(Conflict, NotFound)),
    Route("GET", _ONE, get_binding, Binding),
    Route("DELETE", _ONE, delete_binding, fails=(Conflict,)),
)
"""Those of the contract spaces."""

GROUP_ROUTES: Final = (
    Route("GET", _ALL, list_group_bindings, list[GroupBinding]),
    Route("POST", _ALL, create_group_binding, GroupBinding, fails=(Conflict, NotFound), status=201),
    Route("GET", _ONE, get_group_binding, GroupBinding),
    Route("DELETE", _ONE, delete_binding, fails=(Conflict,), status=204),
)
"""Those of the contract organizations."""
