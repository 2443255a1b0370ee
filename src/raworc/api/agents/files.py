"""An agent's workspace, read from outside. What comes out of it is hostile: nothing of it runs in a browser."""

import mimetypes
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import Path
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.render import file_entry
from raworc.api.agents.schemas import FileDeleted, FileList, FileMetadata
from raworc.api.auth import MayGet, MayUpdate
from raworc.api.parts import parts_of
from raworc.api.queries import EntryLimit, Offset
from raworc.api.render import Json
from raworc.api.routes import Route
from raworc.errors import Conflict, PayloadTooLarge
from raworc.services.accounts import Caller

FilePath = Annotated[str, Path(description="Relative to `/agent`; `/` and `%2F` separate")]

_BINARY: Final = "application/octet-stream"
_TYPES: Final = mimetypes.MimeTypes()
_ACTIVE: Final = frozenset({"text/html", "image/svg+xml", "text/xml"})
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "no-store",
}


async def list_root(
    request: Request, name: str, caller: MayGet, offset: Offset = 0, limit: EntryLimit = 100
) -> Response:
    """The entries of `/agent`, sorted by name ignoring case."""
    return await _listing(request, caller, name, "", offset=offset, limit=limit)


async def list_folder(
    request: Request, name: str, path: FilePath, caller: MayGet, offset: Offset = 0, limit: EntryLimit = 100
) -> Response:
    """The entries directly below a folder, sorted by name ignoring case."""
    return await _listing(request, caller, name, path, offset=offset, limit=limit)


async def file_metadata(request: Request, name: str, path: FilePath, caller: MayGet) -> Response:
    """One file, folder or link itself; a link is described, not followed."""
    entry = await parts_of(request).files.stat(caller, name, path)
    return Json({key: value for key, value in file_entry(entry).items() if key != "name"})


async def read_file(request: Request, name: str, path: FilePath, caller: MayGet) -> Response:
    """A file's bytes, at most 26,214,400. Links are followed while they stay below `/agent`."""
    data = await parts_of(request).files.read(caller, name, path)
    return Response(data, headers=_HEADERS | _described(path) | {"X-Raworc-File-Size": str(len(data))})


async def delete_file(request: Request, name: str, path: FilePath, caller: MayUpdate) -> Response:
    """Remove a file, a link itself, or an empty folder."""
    await parts_of(request).files.delete(caller, name, path)
    return Json({"deleted": True})


async def _listing(request: Request, caller: Caller, name: str, path: str, *, offset: int, limit: int) -> Response:
    found = await parts_of(request).files.listing(caller, name, path, offset=offset, limit=limit)
    following = offset + len(found.entries)
    return Json(
        {
            "entries": [file_entry(entry) for entry in found.entries],
            "offset": offset,
            "limit": limit,
            "next_offset": following if found.entries and following < found.total else None,
            "total": found.total,
        }
    )


def _described(path: str) -> dict[str, str]:
    """The type that a file's name suggests; only what a browser shows without running it is shown in place."""
    name = path.rsplit("/", 1)[-1]
    guessed, encoding = _TYPES.guess_type(name, strict=False)
    media_type = _BINARY if guessed is None or encoding is not None else guessed
    is_shown = media_type.startswith(("image/", "text/")) and media_type not in _ACTIVE
    disposition = "inline" if is_shown else f"attachment; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
    if media_type.startswith("text/"):
        media_type += "; charset=utf-8"
    return {"Content-Type": media_type, "Content-Disposition": disposition}


_FAILS: Final = (Conflict,)

ROUTES: Final = (
    Route("GET", "/agents/{name}/files/list", list_root, FileList, fails=_FAILS),
    Route("GET", "/agents/{name}/files/list/{path:file}", list_folder, FileList, fails=_FAILS),
    Route("GET", "/agents/{name}/files/metadata/{path:file}", file_metadata, FileMetadata, fails=_FAILS),
    Route(
        "GET",
        "/agents/{name}/files/read/{path:file}",
        read_file,
        fails=(*_FAILS, PayloadTooLarge),
        media_type=_BINARY,
    ),
    Route("DELETE", "/agents/{name}/files/delete/{path:file}", delete_file, FileDeleted, fails=_FAILS),
)
