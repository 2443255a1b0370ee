"""Responses: give an agent work, follow it, read what came of it."""

from collections.abc import Iterator
from typing import Any

from raworc.client.events import follow
from raworc.client.shapes import Event, Response, ResponseCount
from raworc.client.transport import BLOCKING_S, Transport, segment, without_none


class Responses:
    """Work and its outcome: ``client.responses``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, agent: str, text: str, *, when_busy: str | None = None, key: str | None = None) -> Response:
        """Queue work and return at once. ``when_busy``: ``queue`` (default), ``reject`` or ``interrupt``.

        Asked again with the same ``key`` (1 to 255 characters) within a day, the work is done once.
        """
        return self._transport.call("POST", _path(agent), Response, _body(text, when_busy=when_busy), key=key)

    def ask(self, agent: str, text: str, *, when_busy: str | None = None, key: str | None = None) -> Response:
        """Queue work and wait for its end. Raises GatewayTimeout after 15 minutes; the work goes on.

        Asked again with the same ``key``, this waits for the same work.
        """
        body = _body(text, when_busy=when_busy, background=False)
        return self._transport.call("POST", _path(agent), Response, body, key=key, timeout_s=BLOCKING_S)

    def get(self, agent: str, response_id: str) -> Response:
        """One response with its segments so far."""
        return self._transport.get(_path(agent, response_id), Response)

    def list(self, agent: str, *, limit: int = 100, offset: int = 0) -> list[Response]:
        """Responses in order of creation, markers (slept, woke) included."""
        return self._transport.get(_path(agent), list[Response], {"limit": limit, "offset": offset})

    def count(self, agent: str) -> int:
        """How many there are."""
        return self._transport.get(_path(agent, "count"), ResponseCount).count

    def update(
        self, agent: str, response_id: str, *, status: str | None = None, output: dict[str, Any] | None = None
    ) -> Response:
        """Append output items or settle a response from outside."""
        body = without_none({"status": status, "output": output})
        return self._transport.call("PUT", _path(agent, response_id), Response, body)

    def events(self, agent: str, response_id: str, *, after: int | None = None) -> Iterator[Event]:
        """What happens to one response, from its beginning or after event ``after``, to its end."""
        return follow(self._transport, _path(agent, response_id) + "/events", until=response_id, after=after)

    def agent_events(self, agent: str, *, after: int | None = None) -> Iterator[Event]:
        """What happens to an agent and all its responses, until the caller stops."""
        return follow(self._transport, f"/agents/{segment(agent)}/events", until=None, after=after)


def _path(agent: str, response_id: str | None = None) -> str:
    return f"/agents/{segment(agent)}/responses" + (f"/{segment(response_id)}" if response_id else "")


def _body(text: str, **options: object) -> dict[str, Any]:
    return {"input": {"content": [{"type": "text", "content": text}]}, **without_none(options)}
