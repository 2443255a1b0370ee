"""An agent's secrets after its creation. No answer ever holds a value."""

from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.sharing_schemas import SecretBody, SecretDeleted, SecretName
from raworc.api.auth import MayGet, MayUpdate
from raworc.api.bodies import JsonBody
from raworc.api.parts import parts_of
from raworc.api.render import Json, moment
from raworc.api.routes import Route
from raworc.errors import StorageFull
from raworc.services import agent_secrets


async def list_secrets(request: Request, name: str, caller: MayGet) -> Response:
    """The names of the agent's secrets, in their order."""
    return Json([_shown(secret) for secret in await parts_of(request).secrets.names(caller, name)])


async def put_secret(
    request: Request, name: str, key: str, caller: MayUpdate, body: Annotated[SecretBody, Depends(JsonBody(SecretBody))]
) -> Response:
    """Add a secret or give it another value; a sandbox that is open has it from the agent's next wake."""
    return Json(_shown(await parts_of(request).secrets.put(caller, name, key, body.value)))


async def delete_secret(request: Request, name: str, key: str, caller: MayUpdate) -> Response:
    """Take a secret away; a sandbox that is open has it until the agent's next wake."""
    await parts_of(request).secrets.delete(caller, name, key)
    return Json({"deleted": True})


def _shown(secret: agent_secrets.SecretName) -> dict[str, str | None]:
    return {
        "key": secret.key,
        "created_at": moment(secret.created_at),
        "updated_at": moment(secret.updated_at),
    }


ROUTES: Final = (
    Route("GET", "/agents/{name}/secrets", list_secrets, list[SecretName]),
    Route("PUT", "/agents/{name}/secrets/{key}", put_secret, SecretName, fails=(StorageFull,)),
    Route("DELETE", "/agents/{name}/secrets/{key}", delete_secret, SecretDeleted),
)
