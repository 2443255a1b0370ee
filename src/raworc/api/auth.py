"""Who is asking, and whether they may ask at all: the permission is a parameter's type.

A route's handler takes ``caller: MayUpdate`` (an alias of ``Annotated[Caller, Depends(Permission(...))]``), so it
cannot be called without the check, and ``tests/house/test_routes.py`` reads every route's permission from its
signature. Whether the caller may touch one certain object is decided by the services.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request

from raworc.api import exchange
from raworc.api.parts import parts_of
from raworc.domain.access import OWN, spaces_for
from raworc.errors import Forbidden, Unauthorized
from raworc.services.accounts import Caller, check_person

_INVALID: Final = "Invalid or expired token"
_MISSING: Final = "Log in first, then send 'Authorization: Bearer <token>'"


@dataclass(frozen=True)
class SignedIn:
    """A dependency that gives the caller; any account that may log in will do.

    ``of_agent``: so does an agent's own token, which whatever is asked has to hold to that agent.
    """

    of_agent: bool = False

    async def __call__(self, request: Request) -> Caller:
        """The caller, read anew from the database."""
        accounts = parts_of(request).accounts
        caller = await accounts.authenticate(_bearer(request), address_of(request), of_agent=True)
        current = exchange.of(request.scope)
        current.account, current.caller = caller.name, caller
        if not self.of_agent:
            check_person(caller)
        return caller


@dataclass(frozen=True)
class Permission:
    """A dependency that gives the caller if some role of theirs allows ``verb`` on ``resource``, or on their own.

    ``of_agent``: an agent's own token will do, too. ``of_object``: it is about one thing, which may have to look as
    if it were not there, so the service that finds it decides alone.

    Raises:
        Unauthorized: no token, or one that does not count any more.
        Forbidden: none of the caller's roles has the permission, whatever the object.
    """

    resource: str
    verb: str
    of_agent: bool = False
    of_object: bool = False

    async def __call__(self, request: Request) -> Caller:
        """The caller, once something of theirs allows this."""
        exchange.of(request.scope).permission = self.verb, self.resource
        caller = await SignedIn(self.of_agent)(request)
        if self.of_object:
            return caller
        names = (self.resource, OWN + self.resource)
        if not any(spaces_for(caller.grants, self.verb, name) != frozenset() for name in names):
            raise Forbidden(
                f"Account '{caller.name}' may not {self.verb} {self.resource}: ask an administrator for a role"
            )
        return caller


AnyCaller = Annotated[Caller, Depends(SignedIn())]
MayList = Annotated[Caller, Depends(Permission("agents", "list"))]
MayGet = Annotated[Caller, Depends(Permission("agents", "get"))]
MayCreate = Annotated[Caller, Depends(Permission("agents", "create"))]
MayUpdate = Annotated[Caller, Depends(Permission("agents", "update"))]
MayDelete = Annotated[Caller, Depends(Permission("agents", "delete"))]
MayFollow = Annotated[Caller, Depends(Permission("agents", "get", of_agent=True))]
MayReport = Annotated[Caller, Depends(Permission("agents", "update", of_agent=True))]
MayListAccounts = Annotated[Caller, Depends(Permission("service-accounts", "list"))]
MayCreateAccount = Annotated[Caller, Depends(Permission("service-accounts", "create"))]
MayUpdateAccount = Annotated[Caller, Depends(Permission("service-accounts", "update"))]
MayDeleteAccount = Annotated[Caller, Depends(Permission("service-accounts", "delete"))]
MayListSpaces = Annotated[Caller, Depends(Permission("spaces", "list"))]
MayGetSpace = Annotated[Caller, Depends(Permission("spaces", "get", of_object=True))]
MayCreateSpace = Annotated[Caller, Depends(Permission("spaces", "create"))]
MayUpdateSpace = Annotated[Caller, Depends(Permission("spaces", "update", of_object=True))]
MayDeleteSpace = Annotated[Caller, Depends(Permission("spaces", "delete", of_object=True))]
MayGetServiceAccount = Annotated[Caller, Depends(Permission("service-accounts", "get", of_object=True))]
MayUpdateServiceAccount = Annotated[Caller, Depends(Permission("service-accounts", "update", of_object=True))]
MayDeleteServiceAccount = Annotated[Caller, Depends(Permission("service-accounts", "delete", of_object=True))]
MayListRoles = Annotated[Caller, Depends(Permission("roles", "list"))]
MayGetRole = Annotated[Caller, Depends(Permission("roles", "get", of_object=True))]
MayCreateRole = Annotated[Caller, Depends(Permission("roles", "create"))]
MayDeleteRole = Annotated[Caller, Depends(Permission("roles", "delete", of_object=True))]
MayListBindings = Annotated[Caller, Depends(Permission("role-bindings", "list"))]
MayGetBinding = Annotated[Caller, Depends(Permission("role-bindings", "get", of_object=True))]
MayCreateBinding = Annotated[Caller, Depends(Permission("role-bindings", "create"))]
MayDeleteBinding = Annotated[Caller, Depends(Permission("role-bindings", "delete", of_object=True))]
MayListSecrets = Annotated[Caller, Depends(Permission("secrets", "list", of_object=True))]
MayGetSecret = Annotated[Caller, Depends(Permission("secrets", "get", of_object=True))]
MayCreateSecret = Annotated[Caller, Depends(Permission("secrets", "create", of_object=True))]
MayUpdateSecret = Annotated[Caller, Depends(Permission("secrets", "update", of_object=True))]
MayDeleteSecret = Annotated[Caller, Depends(Permission("secrets", "delete", of_object=True))]
MayListDefinitions = Annotated[Caller, Depends(Permission("agents", "list", of_object=True))]
MayGetDefinition = Annotated[Caller, Depends(Permission("agents", "get", of_object=True))]
MayCreateDefinition = Annotated[Caller, Depends(Permission("agents", "create", of_object=True))]
MayUpdateDefinition = Annotated[Caller, Depends(Permission("agents", "update", of_object=True))]
MayDeleteDefinition = Annotated[Caller, Depends(Permission("agents", "delete", of_object=True))]
MayGetBuild = Annotated[Caller, Depends(Permission("builds", "get", of_object=True))]
MayCreateBuild = Annotated[Caller, Depends(Permission("builds", "create", of_object=True))]
MayListSessions = Annotated[Caller, Depends(Permission("sessions", "list", of_object=True))]
MayGetSession = Annotated[Caller, Depends(Permission("sessions", "get", of_object=True))]
MayCreateSession = Annotated[Caller, Depends(Permission("sessions", "create", of_object=True))]
MayUpdateSession = Annotated[Caller, Depends(Permission("sessions", "update", of_object=True))]
MayDeleteSession = Annotated[Caller, Depends(Permission("sessions", "delete", of_object=True))]
MayListMessages = Annotated[Caller, Depends(Permission("messages", "list", of_object=True))]
MaySendMessage = Annotated[Caller, Depends(Permission("messages", "create", of_object=True))]
MayClearMessages = Annotated[Caller, Depends(Permission("messages", "delete", of_object=True))]
MayListAudit = Annotated[Caller, Depends(Permission("audit", "list"))]
MayListKeys = Annotated[Caller, Depends(Permission("keys", "list"))]
MayCreateKey = Annotated[Caller, Depends(Permission("keys", "create"))]
MayDeleteKey = Annotated[Caller, Depends(Permission("keys", "delete"))]
MayListRequests = Annotated[Caller, Depends(Permission("requests", "list"))]
MayGetRequests = Annotated[Caller, Depends(Permission("requests", "get"))]
MayListUsage = Annotated[Caller, Depends(Permission("usage", "list"))]
MayListUpstreams = Annotated[Caller, Depends(Permission("upstreams", "list"))]
MayGetUpstream = Annotated[Caller, Depends(Permission("upstreams", "get"))]
MayCreateUpstream = Annotated[Caller, Depends(Permission("upstreams", "create"))]
MayUpdateUpstream = Annotated[Caller, Depends(Permission("upstreams", "update"))]
MayDeleteUpstream = Annotated[Caller, Depends(Permission("upstreams", "delete"))]


def address_of(request: Request) -> str | None:
    """Where a request comes from, where that is known."""
    return request.client.host if request.client else None


def _bearer(request: Request) -> str:
    header = request.headers.get("authorization")
    if header is None:
        raise Unauthorized(_MISSING)
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized(_INVALID)
    return token.strip()
