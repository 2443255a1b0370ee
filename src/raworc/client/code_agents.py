"""Agents of spaces that are code of a repository: ``client.code_agents``."""

from typing import Any

from raworc.client.space_shapes import CodeAgent, Deployment, LogLines
from raworc.client.spaces import ROOT
from raworc.client.transport import Transport, segment, without_none


class CodeAgents:
    """Code agents of one space after another. Making or changing one has its space built."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, space: str) -> tuple[CodeAgent, ...]:
        """By name."""
        return self._transport.get(_path(space), tuple[CodeAgent, ...])

    def create(
        self,
        space: str,
        name: str,
        source_repo: str,
        *,
        source_branch: str | None = None,
        description: str | None = None,
        purpose: str | None = None,
    ) -> CodeAgent:
        """A new one. Raises Conflict when the name is taken in its space."""
        more = {"source_branch": source_branch, "description": description, "purpose": purpose}
        body = {"name": name, "source_repo": source_repo, **without_none(more)}
        return self._transport.call("POST", _path(space), CodeAgent, body)

    def get(self, space: str, name: str) -> CodeAgent:
        """One of them."""
        return self._transport.get(_path(space, name), CodeAgent)

    def update(self, space: str, name: str, **changes: str | None) -> CodeAgent:
        """Change ``description``, ``purpose``, ``source_repo`` or ``source_branch``; None keeps."""
        return self._transport.call("PUT", _path(space, name), CodeAgent, without_none(changes))

    def switch(self, space: str, name: str, *, active: bool) -> CodeAgent:
        """Let it take part or not."""
        body = {"status": "active" if active else "inactive"}
        return self._transport.call("PATCH", f"{_path(space, name)}/status", CodeAgent, body)

    def delete(self, space: str, name: str) -> None:
        """Take it away."""
        self._transport.send("DELETE", _path(space, name))

    def deploy(self, space: str, name: str) -> Deployment:
        """Keep its handler warm. Raises Conflict where no completed build has it."""
        return self._transport.call("POST", f"{_path(space, name)}/deploy", Deployment)

    def stop(self, space: str, name: str) -> Deployment:
        """Keep it warm no longer."""
        return self._transport.call("POST", f"{_path(space, name)}/stop", Deployment)

    def running(self, space: str) -> tuple[Deployment, ...]:
        """Those that are kept warm."""
        return self._transport.get(_path(space, "running"), tuple[Deployment, ...])

    def logs(self, space: str, name: str, *, limit: int = 100) -> LogLines:
        """The last lines that its handlers wrote, oldest first."""
        query: dict[str, Any] = {"limit": limit}
        return self._transport.get(f"{_path(space, name)}/logs", LogLines, query)


def _path(space: str, name: str | None = None) -> str:
    agents = f"{ROOT}/spaces/{segment(space)}/agents"
    return agents if name is None else f"{agents}/{segment(name)}"
