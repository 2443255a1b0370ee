import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raworc.domain.redaction import Known, redacted, redacted_stream, redacted_text, without_credentials

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
            assert piece in {'so "', "other"} or set(piece) == {"*"}


SECRETS = ["hunter2-hunter2", 'qu"ote\\back', "line one\nline two", "pässwörd-€-😀", "a b&c=d/e", "nnnnnnnn"]


@pytest.mark.parametrize("value", SECRETS)
@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize("outer", [True, False])
def test_a_known_value_goes_in_every_form(value: str, *, inner: bool, outer: bool) -> None:
    within = json.dumps({"input": value}, ensure_ascii=inner)
    whole = {"a": f"so {value}\n", "b": within, "c": "line", "d": "\\" + "x"}
    body = json.dumps(whole, ensure_ascii=outer).encode()
    struck = redacted(body, Known.of([value, "short", "  "]))
    found = json.loads(struck)
    assert len(struck) == len(body)
    assert set(found["a"].removeprefix("so ").removesuffix("\n")) == {"*"}
    assert set(json.loads(found["b"])["input"]) == {"*"}
    assert (found["c"], found["d"]) == (whole["c"], whole["d"])


@given(st.text(), st.sampled_from(SECRETS), st.text())
def test_json_stays_json_and_text_around_a_value_stays(before: str, value: str, after: str) -> None:
    body = json.dumps({"t": before + value + after}).encode()
    found = json.loads(redacted(body, Known.of(SECRETS)))["t"]
    assert value not in found
    assert len(found) >= len(before) + len(after)


def test_an_escape_is_not_taken_for_the_start_of_a_value() -> None:
    body = json.dumps("\nnnnnnnnx").encode()  # written: backslash, n, seven times n, x
    assert json.loads(redacted(body, Known.of(["nnnnnnnn"]))) == "\nnnnnnnnx"
    body = json.dumps("\nnnnnnnnnx").encode()  # and once more n: a value that begins behind the escape
    assert json.loads(redacted(body, Known.of(["nnnnnnnn"]))) == "\n********x"
    assert redacted_text("C:\\nnnnnnnn", Known.of(["nnnnnnnn"])) == "C:\\********"


def test_addresses_and_short_values() -> None:
    known = Known.of(["a b&c=d/e", "seven77"])
    assert (
        redacted_text("q=a%20b%26c%3Dd%2Fe&r=a+b%26c%3Dd%2Fe&s=seven77", known)
        == f"q={'*' * 17}&r={'*' * 15}&s=seven77"
    )
    assert Known.of([]) == Known.of(["short", ""])


@given(st.lists(st.integers(1, 20), max_size=20), st.sampled_from(SECRETS), st.sampled_from(["text", "partial_json"]))
def test_a_known_value_in_pieces_goes_too(cuts: list[int], value: str, kind: str) -> None:
    written = json.dumps(value)[1:-1] if kind == "partial_json" else value
    borders = [0, *sorted({cut for cut in cuts if cut < len(written)}), len(written)]
    pieces = ["x", *(written[a:b] for a, b in itertools.pairwise(borders)), "y"]
    stream = b"".join(event(0, kind, piece) for piece in pieces)
    message = json.dumps({"content": [{"text": value}]}).encode()
    struck = redacted_stream(stream, message, Known.of([value]))
    texts = [json.loads(line[6:])["delta"][kind] for line in struck.split(b"\n") if line.startswith(b"data: ")]
    assert len(struck) == len(stream)
    assert (texts[0], texts[-1]) == ("x", "y")
    assert set("".join(texts[1:-1])) == {"*"}


def test_headers_with_credentials_go() -> None:
    given_headers = [(b"authorization", b"x"), (b"x-api-key", b"x"), (b"cookie", b"x"), (b"accept", b"y")]
    assert without_credentials(given_headers) == [(b"accept", b"y")]
