"""Service accounts, roles and bindings: ``client.accounts``, ``client.roles``, ``client.bindings``."""

from collections.abc import Sequence
from typing import Unpack

import msgspec

from raworc.client.space_shapes import AccountChanges, AccountFields, Binding, Role, Rule, ServiceAccount
from raworc.client.spaces import ROOT
from raworc.client.transport import Transport, segment, without_none


class ServiceAccounts:
    """Who logs in."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> tuple[ServiceAccount, ...]:
        """By name: all that this account may see."""
        return self._transport.get(f"{ROOT}/service-accounts", tuple[ServiceAccount, ...])

    def create(self, user: str, password: str, **fields: Unpack[AccountFields]) -> ServiceAccount:
        """A new one. Raises Conflict when the name is taken."""
        body = {"user": user, "pass": password, **without_none(fields)}
        return self._transport.call("POST", f"{ROOT}/service-accounts", ServiceAccount, body)

    def get(self, which: str) -> ServiceAccount:
        """One by its name or id."""
        return self._transport.get(_account(which), ServiceAccount)

    def update(self, which: str, **changes: Unpack[AccountChanges]) -> ServiceAccount:
        """Change what is given."""
        return self._transport.call("PUT", _account(which), ServiceAccount, without_none(changes))

    def delete(self, which: str) -> None:
        """Remove one with its bindings. Raises Conflict while it owns agents."""
        self._transport.send("DELETE", _account(which))

    def set_password(self, which: str, *, current: str, new: str) -> None:
        """Another password, by who knows the current one; every token of the account ends."""
        body = {"current_password": current, "new_password": new}
        self._transport.send("PUT", _account(which) + "/password", body=body)


class Roles:
    """What may be bound to accounts."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> tuple[Role, ...]:
        """All of them, the built-in ones first."""
        return self._transport.get(f"{ROOT}/roles", tuple[Role, ...])

    def create(self, name: str, rules: Sequence[Rule], *, description: str | None = None) -> Role:
        """A new one, of no more than this account holds itself."""
        body = {"name": name, "rules": msgspec.to_builtins(list(rules)), **without_none({"description": description})}
        return self._transport.call("POST", f"{ROOT}/roles", Role, body)

    def get(self, which: str) -> Role:
        """One by its name or id."""
        return self._transport.get(f"{ROOT}/roles/{segment(which)}", Role)

    def delete(self, which: str) -> None:
        """Remove one. Raises Conflict while it is bound."""
        self._transport.send("DELETE", f"{ROOT}/roles/{segment(which)}")


class Bindings:
    """Who has which role where."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> tuple[Binding, ...]:
        """The eldest first: all that this account may see."""
        return self._transport.get(f"{ROOT}/role-bindings", tuple[Binding, ...])

    def create(self, subject: str, role: str, *, space: str | None = None) -> Binding:
        """Give an account a role, in one space or (None) everywhere."""
        body = {"subject": subject, "role_ref": role, "space": space}
        return self._transport.call("POST", f"{ROOT}/role-bindings", Binding, body)

    def get(self, which: str) -> Binding:
        """One by its id."""
        return self._transport.get(f"{ROOT}/role-bindings/{segment(which)}", Binding)

    def delete(self, which: str) -> None:
        """Take a role away."""
        self._transport.send("DELETE", f"{ROOT}/role-bindings/{segment(which)}")


def _account(which: str) -> str:
    return f"{ROOT}/service-accounts/{segment(which)}"
