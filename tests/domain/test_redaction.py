import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raworc.domain.redaction import redacted, redacted_stream, without_credentials

KEY = "sk-ant-api03-" + "aB3_-x" * 12
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "s" * 43


@pytest.mark.parametrize("key", [KEY, JWT, "rwk_" + "a1" * 20, "ghp_" + "a" * 36, "AKIA" + "Q" * 16])
def test_keys_go_and_the_rest_stays(key: str) -> None:
    body = json.dumps({"text": f"my key: {key}, ä", "n": 1}).encode()
    struck = redacted(body)
    assert key.encode() not in struck
    assert len(struck) == len(body)
    assert json.loads(struck) == {"text": f"my key: {'*' * len(key)}, ä", "n": 1}


@pytest.mark.parametrize("text", ["", "task-force", "sk-short", "eyJ.eyJ.x", "gh_pages", "ask-me-anything"])
def test_what_only_resembles_a_key_stays(text: str) -> None:
    assert redacted(text.encode()) == text.encode()


def event(index: int, kind: str, text: str) -> bytes:
    delta = {"type": f"{kind}_delta", kind: text}
    data = json.dumps({"type": "content_block_delta", "index": index, "delta": delta})
    return f"event: content_block_delta\ndata: {data}\n\n".encode()


@given(st.lists(st.integers(1, len(KEY) - 1), max_size=8), st.sampled_from(["text", "thinking", "partial_json"]))
def test_a_key_in_pieces_goes_too(cuts: list[int], kind: str) -> None:
    borders = [0, *sorted(set(cuts)), len(KEY)]
    pieces = [KEY[a:b] for a, b in itertools.pairwise(borders)]
    stream = b"".join(
        [event(0, kind, 'so "'), *(event(0, kind, piece) + event(1, kind, "other") for piece in pieces), b"odd\n\n"]
    )
    struck = redacted_stream(stream, json.dumps({"content": [{kind: KEY}]}).encode())
    assert len(struck) == len(stream)
    assert struck.count(b"other") == len(pieces)
    for line in struck.split(b"\n"):
        if line.startswith(b"data: "):
            piece = json.loads(line[6:])["delta"][kind]
            assert piece in {'so "', "other"} or set(piece) == {"*"} or len(piece) < 4


def test_headers_with_credentials_go() -> None:
    given_headers = [(b"authorization", b"x"), (b"x-api-key", b"x"), (b"cookie", b"x"), (b"accept", b"y")]
    assert without_credentials(given_headers) == [(b"accept", b"y")]
