"""An agent's workspace, reached from outside. What comes out of it is hostile: nothing of it runs in a browser."""

import mimetypes
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import Depends, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.render import file_entry
from raworc.api.agents.schemas import FileDeleted, FileList, FileMetadata
from raworc.api.auth import MayGet, MayUpdate
from raworc.api.bodies import RawBody
from raworc.api.download import BytesResponse
from raworc.api.parts import parts_of
from raworc.api.queries import EntryLimit, Offset
from raworc.api.render import Json
from raworc.api.routes import Route
from raworc.errors import Conflict, PayloadTooLarge, StorageFull
from raworc.sandbox.driver import MAX_FILE_BYTES, FileEntry
from raworc.services.accounts import Caller

FilePath = Annotated[str, Path(description="Relative to `/agent`; `/` and `%2F` separate")]
FileBody = Annotated[AsyncGenerator[bytes], Depends(RawBody(MAX_FILE_BYTES))]

_BINARY: Final = "application/octet-stream"
_ARCHIVE: Final = "application/gzip"
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
    folder = path if path == "/" else path.removesuffix("/")
    return await _listing(request, caller, name, folder, offset=offset, limit=limit)


async def file_metadata(request: Request, name: str, path: FilePath, caller: MayGet) -> Response:
    """One file, folder or link itself; a link is described, not followed."""
    return Json(_metadata(await parts_of(request).files.stat(caller, name, path)))


async def read_file(request: Request, name: str, path: FilePath, caller: MayGet) -> Response:
    """A file's bytes, at most 26,214,400. Links are followed while they stay below `/agent`."""
    found = await parts_of(request).files.read(caller, name, path)
    size = str(found.size_bytes)
    return BytesResponse(found, _HEADERS | _described(path) | {"X-Raworc-File-Size": size})


async def write_file(request: Request, name: str, path: FilePath, caller: MayUpdate, body: FileBody) -> Response:
    """Create or replace a file by the body's bytes, at most 26,214,400, of any type; missing folders are made.

    The file is there whole or not at all. Links are followed while they stay below `/agent`.
    """
    return Json(_metadata(await parts_of(request).files.write(caller, name, path, body)))


async def archive_files(
    request: Request,
    name: str,
    caller: MayGet,
    path: Annotated[str, Query(description="A folder or file below `/agent`; all of it where absent")] = "",
) -> Response:
    """The workspace as a tar.gz, made while it is sent. Names are relative to `/agent`; links are not followed.

    What changes meanwhile is there as it was when it was reached. Pipes, sockets, what may not be opened, and what
    has a path of 4,096 bytes or more are left out.
    """
    found = await parts_of(request).files.archive(caller, name, path)
    ending = f"-{path.rsplit('/', 1)[-1]}" if path else ""
    headers = {"Content-Type": _ARCHIVE, "Content-Disposition": _attached(f"{name}{ending}.tar.gz")}
    return BytesResponse(found, _HEADERS | headers)


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


def _metadata(entry: FileEntry) -> dict[str, Any]:
    return {key: value for key, value in file_entry(entry).items() if key != "name"}


def _described(path: str) -> dict[str, str]:
    """The type that a file's name suggests; only what a browser shows without running it is shown in place."""
    name = path.rsplit("/", 1)[-1]
    guessed, encoding = _TYPES.guess_type(name, strict=False)
    media_type = _BINARY if guessed is None or encoding is not None else guessed
    is_shown = media_type.startswith(("image/", "text/")) and media_type not in _ACTIVE
    disposition = "inline" if is_shown else _attached(name)
    if media_type.startswith("text/"):
        media_type += "; charset=utf-8"
    return {"Content-Type": media_type, "Content-Disposition": disposition}


def _attached(name: str) -> str:
    return f"attachment; filename*=UTF-8''{quote(name, safe='', errors='replace')}"


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
    Route("PUT", "/agents/{name}/files/write/{path:file}", write_file, FileMetadata, fails=(*_FAILS, StorageFull)),
    Route("GET", "/agents/{name}/files/archive", archive_files, fails=_FAILS, media_type=_ARCHIVE),
    Route("DELETE", "/agents/{name}/files/delete/{path:file}", delete_file, FileDeleted, fails=_FAILS),
)
