"""Spaces and their secrets: ``client.spaces``."""

from typing import Any

from raworc.client.space_shapes import Space, SpaceSecret
from raworc.client.transport import Transport, segment, without_none

ROOT = "/spaces/api/v0"
"""The contract that has them."""


class Spaces:
    """The tenants of a server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> tuple[Space, ...]:
        """By name: all that this account may see."""
        return self._transport.get(f"{ROOT}/spaces", tuple[Space, ...])

    def create(self, name: str, *, description: str | None = None, settings: dict[str, Any] | None = None) -> Space:
        """A new one. Raises Conflict when the name is taken."""
        body = {"name": name, **without_none({"description": description, "settings": settings})}
        return self._transport.call("POST", f"{ROOT}/spaces", Space, body)

    def get(self, name: str) -> Space:
        """One of them."""
        return self._transport.get(_path(name), Space)

    def update(self, name: str, *, description: str | None = None, settings: dict[str, Any] | None = None) -> Space:
        """Change what is given."""
        body = without_none({"description": description, "settings": settings})
        return self._transport.call("PUT", _path(name), Space, body)

    def delete(self, name: str) -> None:
        """Remove one with its secrets and bindings. Raises Conflict while something lives in it."""
        self._transport.send("DELETE", _path(name))

    def secrets(self, name: str, *, show_values: bool = False) -> tuple[SpaceSecret, ...]:
        """Its secrets by name. Their values take a right of their own, and each look at them is audited."""
        return self._transport.get(f"{_path(name)}/secrets", tuple[SpaceSecret, ...], _shown(show_values=show_values))

    def secret(self, name: str, key: str, *, show_value: bool = False) -> SpaceSecret:
        """One of its secrets."""
        return self._transport.get(_secret(name, key), SpaceSecret, _shown(show_values=show_value))

    def create_secret(self, name: str, key: str, value: str, *, description: str | None = None) -> SpaceSecret:
        """A new secret. Raises Conflict when there is one of this name."""
        body = {"key_name": key, "value": value, **without_none({"description": description})}
        return self._transport.call("POST", f"{_path(name)}/secrets", SpaceSecret, body)

    def update_secret(
        self, name: str, key: str, *, value: str | None = None, description: str | None = None
    ) -> SpaceSecret:
        """Another value or description."""
        body = without_none({"value": value, "description": description})
        return self._transport.call("PUT", _secret(name, key), SpaceSecret, body)

    def delete_secret(self, name: str, key: str) -> None:
        """Take a secret away."""
        self._transport.send("DELETE", _secret(name, key))


def _path(name: str) -> str:
    return f"{ROOT}/spaces/{segment(name)}"


def _secret(name: str, key: str) -> str:
    return f"{_path(name)}/secrets/{segment(key)}"


def _shown(*, show_values: bool) -> dict[str, str | int]:
    return {"show_values": "true"} if show_values else {}
