"""``raworc agents files``: look into an agent's workspace."""

from typing import Annotated

import typer

from raworc.cli.connection import connected
from raworc.cli.options import AgentName, Json
from raworc.cli.output import moment, print_bytes, print_json, print_rows
from raworc.client import Raworc
from raworc.client.shapes import FileEntry

Path = Annotated[str, typer.Argument(metavar="[PATH]", help="Below /agent.", show_default=False)]
Read = Annotated[bool, typer.Option("--read", "-r", help="Print the file's bytes instead of listing a folder.")]

_PAGE = 1000
_MARKS = {"dir": "/", "symlink": "@", "file": "", "other": "?"}


def files(name: AgentName, path: Path = "", *, read: Read = False, as_json: Json = False) -> None:
    """List a folder of an agent's workspace, or print a file of it."""
    with connected() as client:
        if read:
            print_bytes(client.files.read(name, path))
            return
        entries = _all_entries(client, name, path)
    if as_json:
        print_json(entries)
        return
    rows = [(entry.mode, str(entry.size), moment(entry.mtime), _shown(entry)) for entry in entries]
    print_rows(("MODE", "SIZE", "CHANGED (UTC)", "NAME"), rows)


def _all_entries(client: Raworc, name: str, path: str) -> list[FileEntry]:
    entries: list[FileEntry] = []
    offset: int | None = 0
    while offset is not None:
        page = client.files.list(name, path.strip("/"), offset=offset, limit=_PAGE)
        entries += page.entries
        offset = page.next_offset
    return entries


def _shown(entry: FileEntry) -> str:
    target = f" -> {entry.link_target}" if isinstance(entry.link_target, str) else ""
    return f"{entry.name}{_MARKS[entry.kind]}{target}"
