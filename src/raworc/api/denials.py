"""Every refusal stands in the audit log: those that no service kept are kept here, where they become answers."""

from starlette.requests import Request

from raworc.api import exchange
from raworc.api.parts import parts_of
from raworc.domain.text import storable_text
from raworc.errors import Forbidden, Hidden, RaworcError
from raworc.services.audit import Deed

_NAMES = ("key", "agent_name", "name", "id", "request_id", "conversation_id", "key_id", "upstream")


async def kept(request: Request, error: RaworcError) -> RaworcError:
    """What is to be answered: ``error``, which is in the audit log if it is a refusal of somebody who is known."""
    current = exchange.of(request.scope)
    if not isinstance(error, Forbidden | Hidden) or error.is_kept or current.caller is None:
        return error
    verb, resource = current.permission or (request.method.lower(), str(request.scope["path"])[:255])
    named = request.path_params
    name = next((storable_text(str(named[key])[:255]) for key in _NAMES if key in named), None)
    try:
        await parts_of(request).tenants.audit.refused(current.caller, Deed(verb, storable_text(resource), name))
    except RaworcError as unavailable:
        return unavailable
    return error
