"""The providers' accounts that model calls go to; for administrators."""

from typing import Unpack

from raworc.client.transport import Transport, segment
from raworc.client.upstream_shapes import Provider, Upstream, UpstreamChange, UpstreamFields


class Upstreams:
    """Upstreams: ``client.upstreams``. Each is named by its id or its name."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> tuple[Upstream, ...]:
        """Upstreams that this account may see, by name; those from the server's environment, too."""
        return self._transport.get("/api/upstreams", tuple[Upstream, ...])

    def get(self, upstream: str) -> Upstream:
        """One of them. Raises NotFound."""
        return self._transport.get(f"/api/upstreams/{segment(upstream)}", Upstream)

    def create(self, name: str, provider: Provider, **fields: Unpack[UpstreamFields]) -> Upstream:
        """A new upstream. Raises Conflict where the name is taken."""
        body = {"name": name, "provider": provider, **fields}
        return self._transport.call("POST", "/api/upstreams", Upstream, body)

    def update(self, upstream: str, **fields: Unpack[UpstreamChange]) -> Upstream:
        """Change what is named. Raises NotFound, and Conflict for one from the server's environment."""
        return self._transport.call("PUT", f"/api/upstreams/{segment(upstream)}", Upstream, dict(fields))

    def refresh(self, upstream: str) -> Upstream:
        """Renew its OAuth tokens now. Raises BadRequest where the token endpoint refuses, with its words."""
        return self._transport.call("POST", f"/api/upstreams/{segment(upstream)}/refresh", Upstream)

    def delete(self, upstream: str) -> None:
        """Take one away. Raises NotFound, and Conflict for one from the server's environment."""
        self._transport.send("DELETE", f"/api/upstreams/{segment(upstream)}")
