"""Bodies that were compressed on their way."""

import gzip
import random
import zlib

import brotli
import pytest
import zstandard

from raworc.wire.encoding import decoded, undone

BODY = b'{"model":"m"}' * 50


def zstd(body: bytes) -> bytes:
    return zstandard.compress(body, level=3)


@pytest.mark.parametrize(
    ("name", "encode"),
    [
        ("gzip", gzip.compress),
        (" X-Gzip ", gzip.compress),
        ("deflate", zlib.compress),
        ("zstd", zstd),
        ("br", brotli.compress),
        ("gzip, br", lambda body: brotli.compress(gzip.compress(body))),
        ("identity, zstd", zstd),
        ("identity", bytes),
        ("", bytes),
    ],
)
def test_it_is_read_as_it_was_meant(name: str, encode) -> None:
    assert decoded(encode(BODY), name) == BODY


@pytest.mark.parametrize(("name", "encode"), [("gzip", gzip.compress), ("zstd", zstd), ("br", brotli.compress)])
def test_what_has_come_of_a_body_that_was_cut_is_read(name: str, encode) -> None:
    body = random.Random(2).randbytes(200_000).hex().encode()  # noqa: S311  bytes
    cut = undone(encode(body)[:-5_000], name)
    assert cut
    assert body.startswith(cut)


def test_frames_may_follow_each_other_and_need_not_tell_their_size() -> None:
    untold = zstandard.ZstdCompressor(write_content_size=False).compress(BODY)
    assert decoded(untold + zstd(BODY), "zstd") == BODY * 2


@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd", "br", "gzip, zstd", "snappy", "br" + ", br" * 9])
def test_what_cannot_be_undone_stays_as_it_is(name: str) -> None:
    for body in (b"", b"\x28\xb5\x2f\xfd", b"\x1f\x8b rubbish", random.Random(1).randbytes(300)):  # noqa: S311  bytes
        assert decoded(body, name) == body
        assert undone(body, name) is None or not body


def test_a_bomb_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raworc.wire.encoding._MOST_DECODED_BYTES", 1000)
    for name, encode in (("gzip", gzip.compress), ("zstd", zstd), ("br", brotli.compress)):
        assert len(decoded(encode(bytes(100_000)), name)) == 1000
    wide = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    bomb = zstandard.ZstdCompressor(compression_params=wide).compress(random.Random(1).randbytes(9_000_000))  # noqa: S311  bytes
    assert decoded(bomb, "zstd") == bomb
