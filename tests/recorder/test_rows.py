"""From frames to a row, whatever was recorded."""

import gzip
import json
import uuid
import zlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raworc.domain.prices import PRICE_VERSION, UNPAID
from raworc.recorder.rows import RecordedCall, bare_row, build_row
from raworc.wire.frames import AnswerHead, Attempt, CallEnd, CallStart

JSON = [(b"content-type", b"application/json")]
SSE = [(b"content-type", b"text/event-stream")]


def call(
    request: bytes = b"{}",
    answer: bytes = b"",
    headers: list[tuple[bytes, bytes]] | None = None,
    *,
    status: int = 200,
    sent: list[tuple[bytes, bytes]] | None = None,
    end: CallEnd | None = None,
) -> RecordedCall:
    start = CallStart(uuid.uuid4(), "POST", "/v1/messages", "login", "t", headers=sent or [])
    head = AnswerHead(status, JSON if headers is None else headers)
    return RecordedCall(
        5_000_000, start, request, head, [(5_002_000, answer)] if answer else [], end or CallEnd(3_400), 5_003_000
    )


def test_times() -> None:
    row = build_row(call(answer=b"{}", end=CallEnd(12_600, first_byte_us=2_400)))
    assert (row.duration_ms, row.first_byte_ms, row.created_at.timestamp()) == (13, 2, 5.0)
    cut = call(answer=b"{}")
    cut.end = None
    assert (build_row(cut).duration_ms, build_row(cut).first_byte_ms) == (3, 2)


def test_all_kinds_of_tokens() -> None:
    usage = {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_creation_input_tokens": 7,
        "cache_read_input_tokens": 5,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        "service_tier": "standard",
    }
    row = build_row(call(answer=json.dumps({"usage": usage}).encode()))
    assert (row.input_tokens, row.output_tokens, row.cache_read_input_tokens) == (1, 2, 5)
    counted = row.cache_creation_input_tokens, row.cache_creation_5m_input_tokens, row.cache_creation_1h_input_tokens
    assert counted == (7, 3, 4)
    assert row.usage == usage


def test_what_a_call_cost_by_the_table_in_use() -> None:
    answer = json.dumps({"usage": {"input_tokens": 1000, "output_tokens": 10}}).encode()
    row = build_row(call(b'{"model": "claude-opus-4-5-20251101"}', answer))
    assert (row.cost_usd, row.price_version) == (Decimal("0.00525"), PRICE_VERSION)
    row = build_row(call(b'{"model": "claude-unheard-of-7"}', answer))
    assert (row.input_tokens, row.cost_usd, row.price_version) == (1000, None, None)


def test_an_answer_by_script_has_no_price() -> None:
    answer = json.dumps({"usage": {"input_tokens": 1000, "output_tokens": 10}}).encode()
    recorded = call(b'{"model": "claude-opus-4-5"}', answer)
    recorded.start = CallStart(uuid.uuid4(), "POST", "/v1/messages", "login", "t", account_id=UNPAID)
    assert build_row(recorded).cost_usd is None


@pytest.mark.parametrize("value", [-5, 1e300, "7", None, True, [], 2**70])
def test_figures_that_cannot_be(value: object) -> None:
    row = build_row(call(answer=json.dumps({"usage": {"input_tokens": value}}).encode()))
    assert 0 <= row.input_tokens <= 10**9


def test_counting_tokens_uses_none() -> None:
    assert build_row(call(answer=b'{"input_tokens": 99}')).input_tokens == 0


@pytest.mark.parametrize(
    ("request_body", "kind"),
    [
        ({"messages": [{"role": "user", "content": " Quota "}], "tools": [1]}, "quota"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "quota"}]}]}, "quota"),
        ({"messages": [{"role": "user", "content": "x"}]}, "query_evaluation"),
        ({"system": "one", "messages": []}, "query_evaluation"),
        ({"system": [{}], "messages": []}, "query_evaluation"),
        ({"system": [{}, {}], "messages": []}, "inference"),
        ({"tools": [{}], "messages": []}, "inference"),
        ([], "query_evaluation"),
        ({"messages": 5, "system": 7}, "query_evaluation"),
    ],
)
def test_request_types(request_body: object, kind: str) -> None:
    assert build_row(call(json.dumps(request_body).encode())).request_type == kind


@pytest.mark.parametrize("encode", [gzip.compress, zlib.compress])
def test_encoded_bodies_are_read(encode) -> None:
    kind = b"gzip" if encode is gzip.compress else b"deflate"
    said = [*JSON, (b"content-encoding", kind)]
    request, answer = b'{"model":"m"}', b'{"stop_reason":"end_turn"}'
    row = build_row(call(encode(request), encode(answer), said, sent=[(b"content-encoding", kind)]))
    assert (row.model, row.stop_reason) == ("m", "end_turn")
    assert (row.request_body, row.response_body) == (encode(request), answer)


def test_an_encoding_that_is_not_known_is_kept_as_it_is() -> None:
    row = build_row(call(answer=b"\x28\xb5\x2f\xfd", headers=[*JSON, (b"content-encoding", b"br")]))
    assert row.response_body == b"\x28\xb5\x2f\xfd"


def test_a_header_that_comes_twice_keeps_both() -> None:
    row = build_row(call(sent=[(b"a", b"1"), (b"a", b"2"), (b"b", b"\xff\x00")]))
    assert row.request_headers == {"a": "1, 2", "b": "ÿ\ufffd"}


HEADERS = [JSON, SSE, [], [*SSE, (b"content-encoding", b"gzip")], [(b"content-length", b"x")]]


@given(st.binary(max_size=200), st.binary(max_size=200), st.sampled_from(HEADERS), st.integers(0, 599))
def test_any_bytes_give_a_row(request: bytes, answer: bytes, headers: list[tuple[bytes, bytes]], status: int) -> None:
    recorded = call(request, answer, headers, status=status)
    assert build_row(recorded).id == recorded.start.id
    recorded.end = None
    assert build_row(recorded).id == bare_row(recorded).id


FIELDS = st.sampled_from(
    [
        "model",
        "messages",
        "system",
        "tools",
        "role",
        "content",
        "type",
        "text",
        "usage",
        "input_tokens",
        "stop_reason",
        "error",
        "message",
        "delta",
        "index",
        "content_block",
        "cache_creation",
    ]
)
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=12,
)


@given(ODD, st.lists(ODD, max_size=4))
def test_any_json_gives_a_row(request: object, answers: list) -> None:
    row = build_row(call(json.dumps(request).encode(), json.dumps(answers[:1]).encode()))
    assert row.request_type in {"inference", "query_evaluation", "quota"}
    events = "".join(f"data: {json.dumps(answer)}\n\n" for answer in answers)
    build_row(call(json.dumps(request).encode(), events.encode(), SSE))


SESSION = uuid.UUID("6dd0b5a5-2a3c-4b4e-9a34-0f6f0f6f0f6f")
NAMED = {
    "header": ([(b"x-claude-code-session-id", b"s1")], None, ("s1", "", "")),
    "agent": (
        [
            (b"x-claude-code-session-id", b"s1"),
            (b"x-claude-code-agent-id", b"a2"),
            (b"x-claude-code-parent-agent-id", b"a1"),
        ],
        None,
        ("s1", "a2", "a1"),
    ),
    "user id": ([], f"user_abc_account__session_{SESSION}", (str(SESSION), "", "")),
    "user id with an account": ([], f"user_abc_account_{uuid.uuid4()}_session_{SESSION}", (str(SESSION), "", "")),
    "JSON": ([], json.dumps({"device_id": "d", "session_id": str(SESSION)}), (str(SESSION), "", "")),
    "header before JSON": ([(b"x-claude-code-session-id", b"s1")], '{"session_id": "s2"}', ("s1", "", "")),
    "nothing": ([], "somebody", ("", "", "")),
    "other JSON": ([], '{"session_id": 7}', ("", "", "")),
}


@pytest.mark.parametrize(("headers", "user_id", "named"), NAMED.values(), ids=NAMED)
def test_the_session_that_a_client_names(
    headers: list[tuple[bytes, bytes]], user_id: str | None, named: tuple[str, str, str]
) -> None:
    metadata = {} if user_id is None else {"metadata": {"user_id": user_id}}
    request = {"messages": [{"role": "user", "content": "x"}], **metadata}
    link = build_row(call(json.dumps(request).encode(), b"{}", sent=headers)).link
    assert link is not None
    assert (link.session, link.agent, link.parent_agent) == named


def test_a_turns_own_calls_are_of_the_session_whose_turn_it_is() -> None:
    recorded = call(b'{"messages": [{"role": "user", "content": "x"}]}', b"{}")
    for caller, session in (("turn", f"raworc:{SESSION}"), ("sandbox", ""), ("login", "")):
        recorded.start = CallStart(uuid.uuid4(), "POST", "/v1/messages", caller, "t", session_id=SESSION)
        link = build_row(recorded).link
        assert link is not None
        assert link.session == session


def test_the_attempts_before_the_last_one_and_who_made_that() -> None:
    end = CallEnd(3_400)
    broken = "sk-ant-api03-" + "c" * 40
    end.account_id, end.attempts = "second", [Attempt("first", 429, None), Attempt("first", None, broken)]
    recorded = call(answer=b"{}", end=end)
    recorded.start = CallStart(uuid.uuid4(), "POST", "/v1/messages", "login", "t", account_id="first")
    row = build_row(recorded)
    assert row.account_id == "second"
    busy, broken = row.attempts or []
    assert busy == {"account_id": "first", "status": 429}
    assert (broken["account_id"], broken["error"].strip("*")) == ("first", "")
    recorded.end = CallEnd(3_400)
    assert (build_row(recorded).account_id, build_row(recorded).attempts) == ("first", None)
