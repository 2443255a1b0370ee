"""What calls used, wherever it is told: in answers of any kind, later on, or nowhere, which a note says."""

import json
import uuid
from decimal import Decimal

import brotli
import pytest

from heard import CHAT, DONE, JSON, RESPONSES, USED, USED_HERE, answered, call, delta
from raworc.domain.redaction import Known
from raworc.recorder.rows import RecordedCall, build_row
from raworc.wire.frames import AnswerHead, CallStart


def other(method: str, path: str, answer: object, *, model: str | None = None) -> RecordedCall:
    """A call whose bodies are not kept, as the gateway spools it."""
    recorded = call(path, {}, answer)
    recorded.start = CallStart(uuid.uuid4(), method, path, "key", "t", model=model, bodies=False, reads=True)
    recorded.body = b""
    return recorded


EMBEDDED = {"prompt_tokens": 1000, "total_tokens": 1000}
OTHERS = {
    "embeddings": ("/v1/embeddings", "text-embedding-3-small", EMBEDDED, (1000, 0), Decimal("0.00002")),
    "completions": ("/v1/completions", "gpt-4o", USED, (600, 30), Decimal("0.0023")),
    "images": ("/v1/images/generations", "m", {"input_tokens": 5, "output_tokens": 7}, (5, 7), None),
    "seconds": ("/v1/audio/transcriptions", "gpt-4o", {"type": "duration", "seconds": 3}, (0, 0), None),
}


@pytest.mark.parametrize(("path", "model", "usage", "counted", "cost"), OTHERS.values(), ids=OTHERS)
def test_what_other_calls_used_is_known_and_nothing_else_of_them(
    path: str, model: str, usage: dict, counted: tuple[int, int], cost: Decimal | None
) -> None:
    answer = {"model": "theirs", "data": [{"embedding": [0.5]}], "usage": usage}
    for recorded in (other("POST", path, answer, model=model), other("POST", path, [answer, DONE], model=model)):
        row = build_row(recorded)
        assert ((row.input_tokens, row.output_tokens), row.usage, row.cost_usd) == (counted, usage, cost)
        assert (row.model, row.response_body, row.stream, row.offsets, row.link) == (model, None, None, None, None)
        assert (row.bodies, row.note, row.error_type) == ("omitted", None, None)


def test_a_stream_that_does_not_say_what_it_used_has_a_note() -> None:
    said = [delta({"content": "hi"}), delta({}, finish="stop"), DONE]
    silent = build_row(call(CHAT, {"model": "gpt-4o"}, said))
    assert silent.cost_usd is None
    assert "'stream_options': {'include_usage': true}" in (silent.note or "")
    told = build_row(call(CHAT, {"model": "gpt-4o"}, [*said[:2], {"choices": [], "usage": USED}, DONE]))
    assert (told.note, told.cost_usd) == (None, Decimal("0.0023"))
    whole = build_row(call(CHAT, {"model": "gpt-4o"}, {"choices": []}))
    assert whole.note == "The provider did not say what the call used"
    assert build_row(call(CHAT, {"model": "gpt-4o"}, {"error": {"message": "no"}}, status=400)).note is None


def test_an_answer_that_cannot_be_read_has_a_note() -> None:
    answer = {"choices": [], "usage": USED}
    read, unread = call(CHAT, {"model": "gpt-4o"}, answer), call(CHAT, {"model": "gpt-4o"}, answer)
    read.head = AnswerHead(200, [*JSON, (b"content-encoding", b"br")])
    read.chunks = [(5_002_000, brotli.compress(json.dumps(answer).encode()))]
    row = build_row(read)
    assert (row.note, row.cost_usd, answered(row)) == (None, Decimal("0.0023"), answer)
    unread.head = AnswerHead(200, [*JSON, (b"content-encoding", b"snappy")])
    row = build_row(unread)
    assert row.note == "The answer is encoded as 'snappy', which cannot be read here"
    assert (row.cost_usd, row.response_body) == (Decimal("0.0023"), json.dumps(answer).encode())


QUEUED = {"id": "resp_1", "background": True, "status": "queued", "model": "gpt-4o", "usage": None, "output": []}
COMPLETED = {**QUEUED, "status": "completed", "usage": USED_HERE}


def test_a_response_in_the_background_is_to_be_told_later() -> None:
    made = build_row(call(RESPONSES, {"background": True}, QUEUED))
    assert (made.background.response_id, made.background.request_id, made.background.ended) == (
        "resp_1",
        made.id,
        False,
    )
    assert made.background.request_at == made.created_at
    assert "in the background" in (made.note or "")
    assert build_row(call(RESPONSES, {"background": True}, COMPLETED)).background is None
    assert build_row(call(RESPONSES, {}, {**QUEUED, "background": False})).background is None


@pytest.mark.parametrize(
    ("method", "path"), [("GET", f"{RESPONSES}/resp_1"), ("POST", f"{RESPONSES}/resp_1/cancel")], ids=["GET", "cancel"]
)
def test_who_looks_at_one_learns_how_it_ended_and_used_nothing_himself(method: str, path: str) -> None:
    stream = [{"type": "response.completed", "response": COMPLETED, "sequence_number": 3}]
    for answer in (COMPLETED, stream):
        row = build_row(other(method, path, answer))
        assert (row.background.request_id, row.background.ended) == (None, True)
        assert (row.background.stop_reason, row.background.usage) == ("completed", USED_HERE)
        assert (row.input_tokens, row.output_tokens, row.usage, row.cost_usd, row.note) == (0, 0, None, None, None)
        assert (row.response_body, row.stream) == (None, None)
    for still in ({**QUEUED, "status": "in_progress"}, {**COMPLETED, "background": False}, {**COMPLETED, "id": 7}, {}):
        assert build_row(other(method, path, still)).background is None
    cancelled = build_row(other(method, path, {**QUEUED, "status": "cancelled"}))
    assert (cancelled.background.ended, cancelled.background.usage) == (True, None)
    items = other("GET", f"{RESPONSES}/resp_1/input_items", COMPLETED)
    assert build_row(items).background is None


def test_who_looks_at_one_that_failed_learns_why_and_did_not_fail_himself() -> None:
    error = {"code": "server_error", "message": "It broke at hunter2-canary"}
    failed = {**QUEUED, "status": "failed", "error": error}
    stream = [{"type": "response.failed", "response": failed, "sequence_number": 3}]
    for answer in (failed, stream):
        row = build_row(other("GET", f"{RESPONSES}/resp_1", answer), Known.of(["hunter2-canary"]))
        told = row.background
        assert (told.ended, told.stop_reason, told.error_type) == (True, "failed", "server_error")
        assert (told.error_message or "").startswith("It broke at ***")
        assert (row.error_type, row.error_message, row.status_code) == (None, None, 200)
