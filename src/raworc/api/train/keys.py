"""Client keys: what programs outside call models with."""

import uuid
from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import MayCreateKey, MayDeleteKey, MayListKeys
from raworc.api.bodies import JsonBody
from raworc.api.parts import parts_of
from raworc.api.queries import AccountLimit, Offset
from raworc.api.render import Json, moment
from raworc.api.routes import Route
from raworc.api.train.key_schemas import ClientKey, KeyDeleted, MadeKey, NewKeyBody
from raworc.errors import NotFound
from raworc.services.client_keys import KeyRow, NewKey


async def list_keys(
    request: Request, caller: MayListKeys, *, limit: AccountLimit = 1000, offset: Offset = 0
) -> Response:
    """Keys that the caller may see, his own ones at least, the newest first. None is shown itself."""
    found = await parts_of(request).keys.page(caller, limit=limit, offset=offset)
    return Json([_shown(row) for row in found])


async def create_key(
    request: Request, caller: MayCreateKey, body: Annotated[NewKeyBody, Depends(JsonBody(NewKeyBody))]
) -> Response:
    """A new key for programs that call models at `/v1`. The answer is the only one that holds it."""
    new = NewKey(
        name=body.name,
        space=body.space,
        train_id=body.train_id,
        models=tuple(body.models or ()),
        budget=body.budget.model_dump(exclude_none=True) if body.budget else None,
        expires_at=body.expires_at,
    )
    row, key = await parts_of(request).keys.create(caller, new)
    return Json({**_shown(row), "key": key}, headers={"Cache-Control": "no-store"}, status=201)


async def delete_key(request: Request, key_id: str, caller: MayDeleteKey) -> Response:
    """Revoke a key: calls with it are refused from then on."""
    try:
        wanted = uuid.UUID(key_id)
    except ValueError:
        raise NotFound(f"Key '{key_id[:80]}' not found") from None
    await parts_of(request).keys.delete(caller, wanted)
    return Json({"deleted": True})


def _shown(row: KeyRow) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "space": row.space,
        "prefix": row.prefix,
        "train_id": row.train_id,
        "models": row.models,
        "budget": row.budget,
        "expires_at": moment(row.expires_at),
        "created_at": moment(row.created_at),
        "created_by": row.owner,
    }


ROUTES: Final = (
    Route("GET", "/api/keys", list_keys, list[ClientKey], is_root=True),
    Route("POST", "/api/keys", create_key, MadeKey, is_root=True, status=201),
    Route("DELETE", "/api/keys/{key_id}", delete_key, KeyDeleted, is_root=True),
)
