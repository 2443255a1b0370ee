"""An agent's workspace, read and written from outside. Paths are relative to ``/agent``; the agent must be awake."""

from collections.abc import Iterator

from raworc.client.shapes import FileEntry, FileList
from raworc.client.transport import Query, Transport, path_below, segment


class Files:
    """The files of agents: ``client.files``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, agent: str, path: str = "", *, offset: int = 0, limit: int = 100) -> FileList:
        """The entries directly below a folder, sorted by name ignoring case."""
        below = f"/{path_below(path)}" if path else ""
        return self._transport.get(_path(agent, "list") + below, FileList, {"offset": offset, "limit": limit})

    def metadata(self, agent: str, path: str) -> FileEntry:
        """One entry itself; a symlink is described, not followed."""
        return self._transport.get(f"{_path(agent, 'metadata')}/{path_below(path)}", FileEntry)

    def read(self, agent: str, path: str) -> bytes:
        """A file's bytes. Raises PayloadTooLarge above 26,214,400 bytes."""
        return self._transport.send("GET", f"{_path(agent, 'read')}/{path_below(path)}").content

    def write(self, agent: str, path: str, data: bytes) -> FileEntry:
        """Create or replace a file, missing folders included. Raises PayloadTooLarge above 26,214,400 bytes."""
        return self._transport.call("PUT", f"{_path(agent, 'write')}/{path_below(path)}", FileEntry, data)

    def archive(self, agent: str, path: str = "") -> Iterator[bytes]:
        """A folder or file (all of ``/agent`` where none is named) as a tar.gz, in pieces as they come."""
        query: Query | None = {"path": path} if path else None
        with self._transport.stream(_path(agent, "archive"), headers={}, read_timeout_s=60, query=query) as answer:
            yield from answer.iter_bytes()

    def delete(self, agent: str, path: str) -> None:
        """Remove a file or an empty folder."""
        self._transport.send("DELETE", f"{_path(agent, 'delete')}/{path_below(path)}")


def _path(agent: str, action: str) -> str:
    return f"/agents/{segment(agent)}/files/{action}"
