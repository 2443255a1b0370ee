"""What an agent may look things up in, read from its list ``knowledge_bases``, and how texts are cut for that."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from raworc.domain.text import storable_text

PIECE_CHARACTERS: Final = 1500
MAX_TEXT_BYTES: Final = 1_048_576


@dataclass(frozen=True)
class KnowledgeBase:
    """A text of its own, or a file or folder of the workspace by its ``path``."""

    name: str
    text: str | None = None
    path: str | None = None


@dataclass(frozen=True)
class Source:
    """One text that is searched; ``name`` says to people where it comes from."""

    name: str
    text: str

    @property
    def digest(self) -> str:
        """Another one when the text is another one."""
        return hashlib.sha256(self.text.encode("utf-8", "replace")).hexdigest()

    @property
    def pieces(self) -> list[str]:
        """The text in parts of at most ``PIECE_CHARACTERS``, cut between paragraphs or lines where that is possible."""
        text, found, at = storable_text(self.text), list[str](), 0
        while at < len(text):
            end = _end(text, at)
            found.append(text[at:end].strip())
            at = end
        return [piece for piece in found if piece]


def knowledge_bases(entries: Sequence[Any]) -> tuple[list[KnowledgeBase], list[str]]:
    """What ``entries`` say, and remarks for people about those that say nothing."""
    bases, remarks = list[KnowledgeBase](), list[str]()
    for number, entry in enumerate(entries):
        match entry:
            case {"name": str(name), "text": str(text)} if name and text.strip():
                bases.append(KnowledgeBase(name, text=text))
            case {"name": str(name), "path": str(path)} if name and path:
                bases.append(KnowledgeBase(name, path=path))
            case _:
                remarks.append(f"'knowledge_bases.{number}' is ignored: it needs a 'name', and a 'text' or a 'path'")
    return bases, remarks


def _end(text: str, at: int) -> int:
    latest = at + PIECE_CHARACTERS
    if latest >= len(text):
        return len(text)
    for mark in ("\n\n", "\n", " "):
        found = text.rfind(mark, at + PIECE_CHARACTERS // 2, latest)
        if found >= 0:
            return found + len(mark)
    return latest
