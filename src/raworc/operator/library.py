"""The texts that one agent may search: its own and those of its workspace, read when it asks."""

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from typing import Final

from raworc.domain.knowledge import MAX_TEXT_BYTES, KnowledgeBase, Source
from raworc.operator.patience import patiently
from raworc.sandbox.driver import FileError, Files
from raworc.services.knowledge import Knowledge

_FILES_OF_A_FOLDER: Final = 100
_MAX_BYTES: Final = 4 * MAX_TEXT_BYTES
_SNIFFED_BYTES: Final = 8192


class Library:
    """One agent's knowledge bases."""

    def __init__(self, knowledge: Knowledge, agent_id: uuid.UUID, bases: Sequence[KnowledgeBase]) -> None:
        self._knowledge = knowledge
        self._agent_id = agent_id
        self._bases = bases

    async def search(self, query: str, files: Files) -> str:
        """The best pieces, each under the name of its source; then what could not be searched, and why."""
        remarks: list[str] = []
        sources = await asyncio.to_thread(lambda: _bounded(_sources(self._bases, files, remarks), remarks))
        found = await patiently(lambda: self._knowledge.search(self._agent_id, sources, query))
        pieces = [f"[{name}]\n{body}" for name, body in found] or ["Nothing was found for these words"]
        return "\n\n".join([*pieces, *remarks])


def _sources(bases: Sequence[KnowledgeBase], files: Files, remarks: list[str]) -> Iterator[Source]:
    for base in bases:
        if base.text is not None:
            yield Source(base.name, base.text)
            continue
        try:
            yield from _read(base.name, _inside(base.path or ""), files, remarks)
        except FileError as error:
            remarks.append(f"[{base.name}] not searched: {error}")


def _read(name: str, path: str, files: Files, remarks: list[str]) -> Iterator[Source]:
    if path and files.stat(path).kind != "dir":
        paths = [path]
    else:
        listing = files.list(path, 0, _FILES_OF_A_FOLDER)
        paths = [f"{path}/{entry.name}".strip("/") for entry in listing.entries if entry.kind == "file"]
        if listing.total > _FILES_OF_A_FOLDER:
            remarks.append(f"[{name}] only the first {_FILES_OF_A_FOLDER} files of '{path}' were searched")
    for one in paths:
        if files.stat(one).size_bytes > MAX_TEXT_BYTES:
            remarks.append(f"[{name}] '{one}' was not searched: it is larger than {MAX_TEXT_BYTES} bytes")
            continue
        data = files.read(one)
        if b"\0" not in data[:_SNIFFED_BYTES]:
            yield Source(f"{name}: {one}", data[:MAX_TEXT_BYTES].decode("utf-8", "replace"))


def _bounded(sources: Iterator[Source], remarks: list[str]) -> list[Source]:
    kept, room = list[Source](), _MAX_BYTES
    for source in sources:
        room -= len(source.text)
        if room < 0:
            remarks.append(f"[{source.name}] and what follows was not searched: it is more than {_MAX_BYTES} bytes")
            break
        kept.append(source)
    return kept


def _inside(path: str) -> str:
    return path.removeprefix("/agent").strip("/")
