"""Keys for programs that call models at ``/v1``."""

from typing import Unpack

from raworc.client.key_shapes import ClientKey, KeyFields, MadeKey
from raworc.client.transport import Transport, segment, without_none


class Keys:
    """Client keys: ``client.keys``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, limit: int | None = None, offset: int | None = None) -> tuple[ClientKey, ...]:
        """Keys that this account may see, the newest first."""
        query = without_none({"limit": limit, "offset": offset})
        return self._transport.get("/api/keys", tuple[ClientKey, ...], query)

    def create(self, name: str, **fields: Unpack[KeyFields]) -> MadeKey:
        """A new key; nothing but this answer ever holds the key itself."""
        return self._transport.call("POST", "/api/keys", MadeKey, {"name": name, **without_none(fields)})

    def delete(self, key_id: str) -> None:
        """Revoke a key. Raises NotFound where there is none that this account may see."""
        self._transport.send("DELETE", f"/api/keys/{segment(key_id)}")
