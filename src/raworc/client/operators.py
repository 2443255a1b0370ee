"""Accounts, the tokens made for them, and who is kept out."""

from typing import Literal, Unpack

from raworc.client.shapes import BlockedPrincipal, Login, Operator, OperatorChanges, OperatorFields
from raworc.client.transport import Transport, segment, without_none


class Operators:
    """The accounts of a server: ``client.operators``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, limit: int | None = None, offset: int | None = None) -> tuple[Operator, ...]:
        """Accounts by name: all that this one may see."""
        query = without_none({"limit": limit, "offset": offset})
        return self._transport.get("/operators", tuple[Operator, ...], query)

    def create(self, name: str, password: str, **fields: Unpack[OperatorFields]) -> Operator:
        """A new account. Raises Conflict when the name is taken."""
        body = {"user": name, "pass": password, **without_none(fields)}
        return self._transport.call("POST", "/operators", Operator, body)

    def get(self, name: str) -> Operator:
        """One account."""
        return self._transport.get(_path(name), Operator)

    def update(self, name: str, **changes: Unpack[OperatorChanges]) -> Operator:
        """Change what is given."""
        return self._transport.call("PUT", _path(name), Operator, without_none(changes))

    def delete(self, name: str) -> None:
        """Remove an account. Raises Conflict while it owns agents."""
        self._transport.send("DELETE", _path(name))

    def set_password(self, name: str, new: str, *, current: str | None = None) -> None:
        """Another password; every token of the account ends. One's own needs the ``current`` one."""
        body = without_none({"new_password": new, "current_password": current})
        self._transport.send("PUT", _path(name) + "/password", body=body)


class Tokens:
    """Tokens for others: ``client.tokens``. For administrators."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self, principal: str, *, kind: Literal["User", "Admin"] = "User", ttl_hours: float | None = None
    ) -> Login:
        """A token for an account; an ordinary one that is not there yet is made."""
        body = {"principal": principal, "type": kind, **without_none({"ttl_hours": ttl_hours})}
        return self._transport.call("POST", "/auth/token", Login, body)


class Blocklist:
    """Accounts that are kept out: ``client.blocklist``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> tuple[BlockedPrincipal, ...]:
        """Who is blocked, the last one first."""
        return self._transport.get("/blocklist", tuple[BlockedPrincipal, ...])

    def block(self, principal: str) -> None:
        """Keep an account out; its tokens do not count meanwhile."""
        self._transport.send("POST", "/blocklist/block", body={"principal": principal})

    def unblock(self, principal: str) -> None:
        """Let an account in again."""
        self._transport.send("POST", "/blocklist/unblock", body={"principal": principal})


def _path(name: str) -> str:
    return f"/operators/{segment(name)}"
