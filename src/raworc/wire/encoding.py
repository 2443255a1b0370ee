"""Undoing what bodies were encoded with on their way, for those who read them. What is passed on stays as it came."""

import zlib
from io import BytesIO
from typing import Final, Protocol, cast

import brotli  # pyright: ignore[reportMissingTypeStubs]  it has none
import zstandard

_MOST_DECODED_BYTES: Final = 64 * 1024 * 1024
_MOST_WINDOW_BYTES: Final = 8 * 1024 * 1024  # what every decoder of HTTP bodies must be able to hold (RFC 9659)
_MOST_ENCODINGS: Final = 4
_PLAIN: Final = frozenset({"", "identity"})


class _Decompressor(Protocol):
    def process(self, data: bytes, *, output_buffer_limit: int) -> bytes: ...


_Brotli: Final = cast("type[_Decompressor]", brotli.Decompressor)  # pyright: ignore[reportUnknownMemberType]  untyped
_BrotliError: Final = cast("type[Exception]", brotli.error)  # pyright: ignore[reportUnknownMemberType]  untyped


def decoded(body: bytes, encoding: str) -> bytes:
    """The body as it was meant; as it came when its ``Content-Encoding`` is not known here, or not true."""
    plain = undone(body, encoding)
    return body if plain is None else plain


def undone(body: bytes, encoding: str) -> bytes | None:
    """The body as it was meant, as far as it has come; None when its ``Content-Encoding`` cannot be undone here."""
    named = [name for part in encoding.split(",") if (name := part.strip().lower()) not in _PLAIN]
    if len(named) > _MOST_ENCODINGS:
        return None
    plain: bytes | None = body
    for name in reversed(named):  # the last one was put on last
        plain = _without(plain, name) if plain else plain
    return plain


def _without(body: bytes, encoding: str) -> bytes | None:
    try:
        match encoding:
            case "gzip" | "x-gzip" | "deflate":
                return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, _MOST_DECODED_BYTES)
            case "br":
                return _Brotli().process(body, output_buffer_limit=_MOST_DECODED_BYTES)[:_MOST_DECODED_BYTES] or None
            case "zstd":
                frames = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW_BYTES)
                return frames.stream_reader(BytesIO(body), read_across_frames=True).read(_MOST_DECODED_BYTES) or None
            case _:
                return None
    except (zlib.error, zstandard.ZstdError, _BrotliError):
        return None
