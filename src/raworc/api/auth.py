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
from raworc.services.accounts import Caller

_LOOKS: Final = frozenset({"get", "list"})
_INVALID: Final = "Invalid or expired token"
_MISSING: Final = "Log in first, then send 'Authorization: Bearer <token>'"


@dataclass(frozen=True)
class SignedIn:
    """A dependency that gives the caller; any account that may log in will do."""

    async def __call__(self, request: Request) -> Caller:
        """The caller, read anew from the database."""
        caller = await parts_of(request).accounts.authenticate(_bearer(request), address_of(request))
        exchange.of(request.scope).account = caller.name
        return caller


@dataclass(frozen=True)
class Permission:
    """A dependency that gives the caller if some role of theirs allows ``verb`` on ``resource``, or on their own.

    Raises:
        Unauthorized: no token, or one that does not count any more.
        Forbidden: none of the caller's roles has the permission, whatever the object.
    """

    resource: str
    verb: str

    async def __call__(self, request: Request) -> Caller:
        """The caller, once something of theirs allows this."""
        caller = await SignedIn()(request)
        names = (self.resource, OWN + self.resource)
        if not any(spaces_for(caller.grants, self.verb, name) != frozenset() for name in names):
            if self.verb not in _LOOKS:
                await parts_of(request).operators.refused(caller, self.verb, self.resource)
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
MayListAccounts = Annotated[Caller, Depends(Permission("service-accounts", "list"))]
MayCreateAccount = Annotated[Caller, Depends(Permission("service-accounts", "create"))]
MayUpdateAccount = Annotated[Caller, Depends(Permission("service-accounts", "update"))]
MayDeleteAccount = Annotated[Caller, Depends(Permission("service-accounts", "delete"))]


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
