"""``raworc agents files``: look into an agent's workspace, put a file there, take all of it away."""

import sys
from collections.abc import Iterable
from pathlib import Path as LocalPath
from typing import Annotated

import typer

from raworc.cli.connection import connected
from raworc.cli.options import AgentName, Json
from raworc.cli.output import moment, print_bytes, print_json, print_rows
from raworc.cli.stop import Stop
from raworc.client import Raworc
from raworc.client.shapes import FileEntry

Path = Annotated[str, typer.Argument(metavar="[PATH]", help="Below /agent.", show_default=False)]
Read = Annotated[bool, typer.Option("--read", "-r", help="Print the file's bytes instead of listing a folder.")]
Write = Annotated[
    str | None,
    typer.Option(
        "--write",
        "-w",
        metavar="FILE",
        help="Put this file of yours at PATH (its own name where there is none, or one that ends with '/');"
        " '-' is standard input.",
        show_default=False,
    ),
]
Archive = Annotated[
    str | None,
    typer.Option(
        "--archive",
        metavar="FILE",
        help="Save PATH (all of /agent where there is none) as a tar.gz in FILE; '-' is standard output.",
        show_default=False,
    ),
]

_PAGE = 1000
_STANDARD = "-"
_MARKS = {"dir": "/", "symlink": "@", "file": "", "other": "?"}


def files(
    name: AgentName,
    path: Path = "",
    *,
    read: Read = False,
    write: Write = None,
    archive: Archive = None,
    as_json: Json = False,
) -> None:
    """List a folder of an agent's workspace; print, put or archive what is in it."""
    if [read, write is not None, archive is not None].count(True) > 1:
        raise Stop("'--read', '--write' and '--archive' are different things: use one of them")
    with connected() as client:
        if read:
            print_bytes(client.files.read(name, path))
        elif write is not None:
            _put(client, name, path, write, as_json=as_json)
        elif archive is not None:
            _save(client.files.archive(name, path.strip("/")), archive)
        else:
            _list(client, name, path, as_json=as_json)


def _list(client: Raworc, name: str, path: str, *, as_json: bool) -> None:
    entries = _all_entries(client, name, path)
    if as_json:
        print_json(entries)
        return
    rows = [(entry.mode, str(entry.size), moment(entry.mtime), _shown(entry)) for entry in entries]
    print_rows(("MODE", "SIZE", "CHANGED (UTC)", "NAME"), rows)


def _put(client: Raworc, name: str, path: str, source: str, *, as_json: bool) -> None:
    if not path or path.endswith("/"):
        if source == _STANDARD:
            raise Stop("what comes from standard input has no name: give the file's path below /agent")
        path += LocalPath(source).name
    try:
        data = sys.stdin.buffer.read() if source == _STANDARD else LocalPath(source).read_bytes()
    except OSError as error:
        raise Stop(f"'{source}' cannot be read: {error.strerror}") from None
    entry = client.files.write(name, path, data)
    if as_json:
        print_json(entry)
    else:
        typer.echo(f"'{path}' of '{name}' has {entry.size} bytes.")


def _save(pieces: Iterable[bytes], target: str) -> None:
    """Write the pieces to a file that is there whole or not at all, or to standard output."""
    if target == _STANDARD:
        if sys.stdout.isatty():
            raise Stop("an archive is no text for a terminal: name a file, or send the output somewhere")
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    wanted = LocalPath(target)
    draft = wanted.with_name(f".{wanted.name}.part")
    try:
        with draft.open("wb") as file:
            for piece in pieces:
                file.write(piece)
        draft.replace(wanted)
    except OSError as error:
        raise Stop(f"'{target}' cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
    typer.echo(f"'{target}' has {wanted.stat().st_size} bytes.")


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
