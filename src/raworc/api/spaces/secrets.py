"""Secrets of spaces. A value is answered only to who asks for it and may read values; that is kept in the audit log."""

from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import MayCreateSecret, MayDeleteSecret, MayGetSecret, MayListSecrets, MayUpdateSecret
from raworc.api.bodies import JsonBody
from raworc.api.once import Once
from raworc.api.parts import parts_of
from raworc.api.queries import AccountLimit, Offset, Switch
from raworc.api.render import Empty, Json, moment
from raworc.api.routes import Route
from raworc.api.spaces.schemas import NewSecretBody, Secret, SecretChangeBody, StoredSecret
from raworc.errors import Conflict
from raworc.services.space_secrets import NewSpaceSecret, SpaceSecretRow


async def list_space_secrets(
    request: Request,
    name: str,
    caller: MayListSecrets,
    *,
    show_values: Switch = False,
    limit: AccountLimit = 1000,
    offset: Offset = 0,
) -> Response:
    """The secrets of a space, by name; their values with `show_values`, for who may read them."""
    secrets = parts_of(request).tenants.secrets
    rows = await secrets.page(caller, name, limit=limit, offset=offset)
    values = await secrets.reveal(caller, rows, name) if show_values else {}
    return Json([_secret(row, values) for row in rows], headers=_NOT_KEPT if show_values else None)


async def create_space_secret(
    request: Request,
    name: str,
    caller: MayCreateSecret,
    body: Annotated[NewSecretBody, Depends(JsonBody(NewSecretBody))],
    once: Once,
) -> Response:
    """A new secret, named as an environment variable is."""
    new, secrets = NewSpaceSecret(body.key_name, body.value, body.description), parts_of(request).tenants.secrets
    return await once.answer(caller, lambda keep: secrets.create(caller, name, new, keep), _stored)


async def get_space_secret(
    request: Request, name: str, key: str, caller: MayGetSecret, *, show_values: Switch = False
) -> Response:
    """One secret; its value with `show_values`, for who may read it."""
    secrets = parts_of(request).tenants.secrets
    row = await secrets.get(caller, name, key)
    values = await secrets.reveal(caller, [row], name) if show_values else {}
    return Json(_secret(row, values), headers=_NOT_KEPT if show_values else None)


async def update_space_secret(
    request: Request,
    name: str,
    key: str,
    caller: MayUpdateSecret,
    body: Annotated[SecretChangeBody, Depends(JsonBody(SecretChangeBody))],
) -> Response:
    """Another value or description."""
    changed = await parts_of(request).tenants.secrets.update(caller, name, key, body.value, body.description)
    return Json(_stored(changed))


async def delete_space_secret(request: Request, name: str, key: str, caller: MayDeleteSecret) -> Response:
    """Take a secret away."""
    await parts_of(request).tenants.secrets.delete(caller, name, key)
    return Empty()


def _secret(row: SpaceSecretRow, values: dict[str, str]) -> dict[str, Any]:
    shown = {"value": values[row.key]} if row.key in values else {}
    return {"key_name": row.key, **shown, "description": row.description, **_stamps(row)}


def _stored(row: SpaceSecretRow) -> dict[str, Any]:
    told = {"space": row.space, "key_name": row.key, "description": row.description}
    return {**told, **_stamps(row), "created_by": row.created_by}


def _stamps(row: SpaceSecretRow) -> dict[str, Any]:
    return {"created_at": moment(row.created_at), "updated_at": moment(row.updated_at)}


_NOT_KEPT: Final = {"Cache-Control": "no-store"}
_ALL: Final = "/spaces/{name}/secrets"
_ONE: Final = "/spaces/{name}/secrets/{key}"

ROUTES: Final = (
    Route("GET", _ALL, list_space_secrets, list[Secret]),
    Route("POST", _ALL, create_space_secret, StoredSecret, fails=(Conflict,)),
    Route("GET", _ONE, get_space_secret, Secret),
    Route("PUT", _ONE, update_space_secret, StoredSecret),
    Route("DELETE", _ONE, delete_space_secret),
)
