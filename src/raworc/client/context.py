"""An agent's context: how full it is; clear, compact, restore."""

from raworc.client.shapes import ContextUsage
from raworc.client.transport import BLOCKING_S, Transport, segment


class Context:
    """What agents are told of what was said before: ``client.context``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def usage(self, agent: str) -> ContextUsage:
        """How full it is."""
        return self._transport.get(_path(agent), ContextUsage)

    def clear(self, agent: str) -> ContextUsage:
        """Forget what was said until now; the responses stay readable."""
        return self._transport.call("POST", f"{_path(agent)}/clear", ContextUsage)

    def compact(self, agent: str) -> ContextUsage:
        """Let a summary stand for what was said until now, and wait for it. Raises Conflict while there is work."""
        return self._transport.call("POST", f"{_path(agent)}/compact", ContextUsage, timeout_s=BLOCKING_S)

    def restore(self, agent: str) -> ContextUsage:
        """Take the newest cutoff back. Raises Conflict when there is none."""
        return self._transport.call("POST", f"{_path(agent)}/restore", ContextUsage)


def _path(agent: str) -> str:
    return f"/agents/{segment(agent)}/context"
