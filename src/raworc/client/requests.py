"""The recorded model calls of an agent or of one response."""

from raworc.client.shapes import ModelCalls
from raworc.client.transport import Transport, segment


class Requests:
    """Recorded model calls: ``client.requests``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def of_agent(self, agent: str) -> ModelCalls:
        """Newest first."""
        return self._transport.get(f"/agents/{segment(agent)}/requests", ModelCalls)

    def of_response(self, agent: str, response_id: str) -> ModelCalls:
        """Newest first."""
        path = f"/agents/{segment(agent)}/responses/{segment(response_id)}/requests"
        return self._transport.get(path, ModelCalls)
