"""The file of a backup: a gzipped tar whose last member holds the checksum of all before it.

Any tar program reads it. It is written and read as a stream; nothing of it is trusted before it was read once from
end to end.
"""

import gzip
import hashlib
import io
import json
import tarfile
import time
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

import msgspec

from raworc.domain.backup import MANIFEST, Manifest, damaged

_BLOCK: Final = tarfile.BLOCKSIZE
_TRAILER_BYTES: Final = 4 * _BLOCK  # header, contents, and the two empty blocks that end a tar
_END: Final = "end.json"
_PIECE_BYTES: Final = 1_048_576
_LEVEL: Final = 1  # a gigabyte takes 10 s and not 40, for a tenth more bytes
_MODE: Final = 0o600


class _Hashed(io.RawIOBase):
    """What passes through it is summed up."""

    def __init__(self, sink: IO[bytes]) -> None:
        self._sink = sink
        self._position = 0
        self._digest = hashlib.sha256()

    def tell(self) -> int:
        return self._position

    def write(self, data: bytes, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._digest.update(data)
        self._position += len(data)
        return self._sink.write(data)

    def trailer(self) -> bytes:
        """The last member and the end of the tar."""
        content = json.dumps({"bytes": self._position, "sha256": self._digest.hexdigest()}).encode()
        header = _info(_END, len(content)).tobuf(tarfile.USTAR_FORMAT)
        return (header + content).ljust(_TRAILER_BYTES, b"\0")


class Writing:
    """An archive that is being written. Made by :func:`writing`."""

    def __init__(self, hashed: _Hashed) -> None:
        self.tar = tarfile.TarFile(
            fileobj=cast("IO[bytes]", hashed),
            mode="w",
            format=tarfile.PAX_FORMAT,
            encoding="utf-8",
            errors="surrogateescape",
        )

    def add(self, name: str, content: bytes) -> None:
        """One small member."""
        self.tar.addfile(_info(name, len(content)), io.BytesIO(content))

    def forget(self) -> None:
        """Members that are written: there may be millions."""
        self.tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


@contextmanager
def writing(sink: IO[bytes]) -> Generator[Writing]:
    """Write an archive; it is whole only when the block ends well."""
    with gzip.GzipFile(fileobj=sink, mode="wb", compresslevel=_LEVEL, filename="") as packed:
        hashed = _Hashed(cast("IO[bytes]", packed))
        yield Writing(hashed)
        packed.write(hashed.trailer())


def verified(path: Path) -> Manifest:
    """Read all of it; what it says of itself, when it is whole.

    Raises:
        BadRequest: it is damaged, cut short, or no backup.
    """
    digest, tail, size = hashlib.sha256(), b"", 0
    try:
        with gzip.open(path) as unpacked:
            while piece := unpacked.read(_PIECE_BYTES):
                tail += piece
                digest.update(tail[:-_TRAILER_BYTES])
                size += len(tail[:-_TRAILER_BYTES])
                tail = tail[-_TRAILER_BYTES:]
        end = json.loads(tail[_BLOCK : 2 * _BLOCK].rstrip(b"\0"))
        is_whole = (end["bytes"], end["sha256"]) == (size, digest.hexdigest())
        with reading(path) as tar:
            first = tar.next()
            content = tar.extractfile(first) if first is not None and first.name == MANIFEST else None
            if not is_whole or content is None:
                raise damaged("its checksum differs" if content else "it is no backup of raworc")
            return msgspec.json.decode(content.read(), type=Manifest)
    except (gzip.BadGzipFile, EOFError, zlib.error, tarfile.TarError) as error:
        raise damaged(str(error) or "it ends too early") from error
    except (ValueError, KeyError, TypeError) as error:
        raise damaged("it is no backup of raworc, or was cut short") from error


@contextmanager
def reading(path: Path) -> Generator[tarfile.TarFile]:
    """Its members, in order, each to be read before the next."""
    with (
        gzip.open(path) as unpacked,
        tarfile.open(fileobj=cast("IO[bytes]", unpacked), mode="r|", encoding="utf-8", errors="surrogateescape") as tar,
    ):
        yield tar


def members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """All but the last. What was read is forgotten: a backup may have millions of members."""
    while (member := tar.next()) is not None:
        tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        if member.name != _END:
            yield member


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = _MODE
    info.mtime = int(time.time())
    return info
