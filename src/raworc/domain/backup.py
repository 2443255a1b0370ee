"""What a backup says of itself, and whether this program can read it."""

from dataclasses import dataclass
from typing import Final

from raworc.errors import BadRequest

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
KEYS: Final = "keys"
SPOOL: Final = "spool"
DATABASE: Final = "database"
WORKSPACES: Final = "workspaces"


@dataclass(frozen=True)
class TableDump:
    """One table's rows: all of ``columns``, in this order, as COPY writes them as text."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class SessionFiles:
    """One workspace: its session's id, and the number that its owner on the host is made from."""

    id: str
    number: int


@dataclass(frozen=True)
class Contents:
    """What stood in the database at ``at``, the one moment that all of it is from (RFC 3339, the database's clock)."""

    at: str
    agents: int
    turns: int
    days: tuple[str, ...]
    sessions: tuple[SessionFiles, ...]


@dataclass(frozen=True)
class Manifest:
    """The first member of a backup.

    ``schema`` is the database's revision, ``node`` what sessions and spools of this home are booked under.
    ``master_key_id`` names the key that opens the secrets; ``has_keys`` says whether the key files are inside.
    """

    format: int
    program: str
    schema: str
    node: str
    contents: Contents
    tables: tuple[TableDump, ...]
    has_keys: bool
    master_key_id: str


def check_readable(manifest: Manifest, known_schemas: frozenset[str]) -> None:
    """Nothing, when this program can restore it.

    Raises:
        BadRequest: it was written by a newer one.
    """
    if manifest.format > FORMAT or manifest.schema not in known_schemas:
        raise BadRequest(
            f"The backup was written by raworc {manifest.program} (format {manifest.format}, schema"
            f" '{manifest.schema}'), which is newer than this program: restore it with that version"
        )


def damaged(why: str) -> BadRequest:
    """The error for an archive that is not whole."""
    return BadRequest(f"The backup is damaged or not whole ({why}): nothing was restored; use another one")
