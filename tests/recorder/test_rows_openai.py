"""From frames to a row on OpenAI's wires: what was asked and answered, used and paid, whole or cut anywhere."""

import gzip
import json
import uuid
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heard import CHAT, DONE, RESPONSES, SSE, USED, USED_HERE, answered, call, delta
from raworc.domain.prices import PRICE_VERSION
from raworc.domain.redaction import Known
from raworc.gateway.script import script
from raworc.gateway.speech_chat import CHAT as SCRIPTED_CHAT
from raworc.gateway.speech_responses import RESPONSES as SCRIPTED_RESPONSES
from raworc.gateway.upstreams import Call
from raworc.recorder.rows import build_row
from raworc.wire.frames import AnswerHead, CallStart
from raworc.wire.heading import Heading


def test_what_a_chat_used_and_cost() -> None:
    message = {"role": "assistant", "content": "hi"}
    answer = {"model": "gpt-4o-2024-08-06", "choices": [{"message": message, "finish_reason": "stop"}], "usage": USED}
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}, message, {"role": "user"}]}
    row = build_row(call(CHAT, asked, answer))
    assert (row.model, row.stop_reason, row.message_count, row.error_type) == ("gpt-4o", "stop", 3, None)
    assert (row.input_tokens, row.cache_read_input_tokens, row.output_tokens) == (600, 400, 30)
    assert row.usage == USED
    assert (row.cost_usd, row.price_version) == (Decimal("0.0023"), PRICE_VERSION)
    assert answered(row) == answer


def test_what_a_response_used_and_cost() -> None:
    answer = {"id": "resp_1", "status": "completed", "model": "gpt-4o", "output": [], "usage": USED_HERE, "error": None}
    row = build_row(call(RESPONSES, {"input": "hi"}, answer))
    assert (row.model, row.stop_reason, row.message_count, row.error_type) == ("gpt-4o", "completed", 1, None)
    counted = row.input_tokens, row.cache_read_input_tokens, row.cache_creation_input_tokens, row.output_tokens
    assert counted == (500, 400, 100, 30)
    assert row.cost_usd is not None


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
@pytest.mark.parametrize("model", ["gpt-4o", "llama3:8b", "claude-opus-4-5"])
def test_what_is_not_known_costs_nothing_that_could_be_added_up(path: str, model: str) -> None:
    silent = build_row(call(path, {"model": model}, {"choices": [], "output": [], "status": "completed"}))
    assert (silent.input_tokens, silent.output_tokens, silent.usage, silent.cost_usd) == (0, 0, None, None)
    refused = build_row(call(path, {"model": model}, {"error": {"message": "no", "type": "x"}}, status=429))
    assert refused.cost_usd is None
    known = build_row(call(path, {"model": model}, {"choices": [], "usage": USED}))
    assert (known.cost_usd is None) is (model != "gpt-4o")


def test_of_other_calls_the_model_is_known_and_what_an_error_said() -> None:
    recorded = call("/v1/embeddings", {}, {}, status=200)
    recorded.start = CallStart(uuid.uuid4(), "POST", "/v1/embeddings", "key", "t", model="embed-3", bodies=False)
    recorded.body, recorded.chunks = b"", []
    row = build_row(recorded)
    assert (row.model, row.error_type, row.cost_usd, row.request_body) == ("embed-3", None, None, None)
    assert (row.response_body, row.link, row.bodies) == (None, None, "omitted")
    refused = build_row(call("/v1/files", {}, {"error": {"message": "no", "type": None, "code": "gone"}}, status=404))
    assert (refused.error_type, refused.error_message, refused.status_code) == ("gone", "no", 404)


@pytest.mark.parametrize(
    ("path", "request_body", "kind"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "quota"}]}, "quota"),
        (
            CHAT,
            {"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "x"}]},
            "query_evaluation",
        ),
        (CHAT, {"messages": [{"role": "system", "content": "a"}, {"role": "developer", "content": "b"}]}, "inference"),
        (CHAT, {"messages": [], "functions": [{}]}, "inference"),
        (RESPONSES, {"input": " Quota "}, "quota"),
        (RESPONSES, {"input": "x", "instructions": "be"}, "query_evaluation"),
        (RESPONSES, {"input": [{"role": "developer", "content": "b"}], "instructions": "be"}, "inference"),
        (RESPONSES, {"input": "x", "tools": [{}]}, "inference"),
    ],
)
def test_request_types(path: str, request_body: dict, kind: str) -> None:
    assert build_row(call(path, request_body, {})).request_type == kind


def test_a_streamed_chat_is_put_together_with_all_its_choices() -> None:
    tool = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "bash", "arguments": ""}}
    other = {"index": 1, "id": "call_2", "type": "custom", "custom": {"name": "sql", "input": "sel"}}
    token = {"token": "He", "logprob": -0.1}
    chunks = [
        delta({"role": "assistant", "content": ""}),
        delta({"content": "Hé"}, logprobs={"content": [token], "refusal": None}),
        delta({"role": "assistant", "tool_calls": [tool]}, index=1),
        delta({"content": "llo"}, logprobs={"content": [token]}),
        delta({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}, index=1),
        delta({"tool_calls": [other]}, index=1),
        delta({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}, index=1),
        delta({"tool_calls": [{"index": 1, "custom": {"input": "ect"}}]}, index=1),
        delta({"refusal": "I "}, index=2),
        delta({"refusal": "won't", "reasoning_content": "hm"}, index=2),
        delta({"function_call": {"name": "old", "arguments": "{"}}, index=3),
        delta({"function_call": {"arguments": "}"}}, index=3),
        delta({}, finish="stop"),
        delta({}, index=1, finish="tool_calls"),
        {"id": "c1", "object": "chat.completion.chunk", "model": "gpt-4o-2024", "choices": [], "usage": USED},
        DONE,
    ]
    row = build_row(call(CHAT, {"model": "gpt-4o", "stream": True}, chunks))
    first, second, third, fourth = answered(row)["choices"]
    assert first["message"] == {"role": "assistant", "content": "Héllo"}
    assert (first["finish_reason"], first["logprobs"]) == ("stop", {"content": [token, token]})
    assert second["message"]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "bash", "arguments": '{"a":1}'}},
        {"id": "call_2", "type": "custom", "custom": {"name": "sql", "input": "select"}},
    ]
    assert (third["message"]["refusal"], third["message"]["reasoning_content"]) == ("I won't", "hm")
    assert fourth["message"]["function_call"] == {"name": "old", "arguments": "{}"}
    assert answered(row)["object"] == "chat.completion"
    assert (row.stop_reason, row.input_tokens, row.streamed) == ("stop", 600, True)
    assert len(row.offsets) == 1


ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
CALLED = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "bash"}
BEGUN = {"id": "resp_1", "object": "response", "status": "in_progress", "model": "gpt-4o", "output": [], "error": None}
GROWING: list = [
    {"type": "response.created", "sequence_number": 0, "response": BEGUN},
    {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs_1"}},
    {
        "type": "response.reasoning_summary_text.delta",
        "output_index": 0,
        "summary_index": 0,
        "delta": "think",
    },
    {"type": "response.output_item.added", "output_index": 1, "item": {**ITEM, "content": []}},
    {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "Hé"},
    {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "llo"},
    {"type": "response.refusal.delta", "output_index": 1, "content_index": 1, "delta": "no"},
    {"type": "response.output_item.added", "output_index": 2, "item": {**CALLED, "arguments": ""}},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"a"'},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": ":1}"},
]


def test_a_streamed_response_is_what_its_last_event_says() -> None:
    whole = {**BEGUN, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "usage": USED_HERE}
    events = [*GROWING, {"type": "response.incomplete", "response": whole}]
    row = build_row(call(RESPONSES, {"input": "x"}, events))
    assert answered(row) == whole
    assert (row.stop_reason, row.output_tokens, row.error_type) == ("max_output_tokens", 30, None)


def test_of_a_response_that_was_cut_every_item_is_kept_as_far_as_it_came() -> None:
    row = build_row(call(RESPONSES, {"input": "x"}, GROWING, ended=False))
    reasoning, message, use = answered(row)["output"]
    assert reasoning["summary"] == [{"type": "summary_text", "text": "think"}]
    assert message["content"] == [{"type": "output_text", "text": "Héllo"}, {"type": "refusal", "refusal": "no"}]
    assert use["arguments"] == '{"a":1}'
    assert (row.error_type, row.cost_usd) == ("server_stopped", None)


@pytest.mark.parametrize(
    ("path", "answer", "error"),
    [
        (RESPONSES, [{"type": "error", "code": "rate", "message": "slow", "param": None}], ("rate", "slow")),
        (
            RESPONSES,
            [
                {
                    "type": "response.failed",
                    "response": {**BEGUN, "status": "failed", "error": {"code": "x", "message": "y"}},
                }
            ],
            ("x", "y"),
        ),
        (RESPONSES, {**BEGUN, "status": "failed", "error": {"code": "x", "message": "y"}}, ("x", "y")),
        (CHAT, [delta({"content": "a"}), {"error": {"message": "m", "type": "server_error"}}], ("server_error", "m")),
        (CHAT, [{"error": {"message": "m", "type": None, "code": "c"}}], ("c", "m")),
    ],
)
def test_errors_that_come_with_200(path: str, answer: object, error: tuple[str, str]) -> None:
    for ended in (True, False):
        row = build_row(call(path, {}, answer, ended=ended))
        assert (row.error_type, row.error_message) == error


@pytest.mark.parametrize(
    ("path", "answer"),
    [(CHAT, [delta({"content": "a"}), DONE]), (RESPONSES, [{"type": "response.completed", "response": BEGUN}])],
)
def test_a_stream_whose_last_event_came_is_whole_without_an_end(path: str, answer: list) -> None:
    assert build_row(call(path, {}, answer, ended=False)).error_type is None
    assert build_row(call(path, {}, answer[:-1] or [b": x\n\n"], ended=False)).error_type == "server_stopped"


PROMPTS = ["hello", "```bash\nls\n```", '```tools\n[{"name":"a","input":{"x":"é"}},{"name":"b","input":{}}]\n```', ""]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize(("path", "speech"), [(CHAT, SCRIPTED_CHAT), (RESPONSES, SCRIPTED_RESPONSES)])
def test_a_stream_amounts_to_the_answer_that_was_not_streamed(prompt: str, path: str, speech) -> None:
    asked = {
        "messages": [{"role": "user", "content": prompt}],
        "input": prompt,
        "stream_options": {"include_usage": True},
    }
    made = Call(uuid.uuid4(), "openai", "POST", path, Heading([]), b"", "t", "m", stream=True)
    answer = speech.answer(script(speech.asked(asked)), made, asked)
    row = build_row(call(path, asked, list(speech.events(answer, asked))))
    whole = answered(row)
    for choice in [*whole.get("choices", []), *answer.get("choices", [])]:
        choice["message"] = {key: value for key, value in choice["message"].items() if value}
    assert whole == answer
    assert build_row(call(path, asked, answer)).link == row.link


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_secret_that_a_stream_cuts_is_struck_out_of_every_piece(size: int) -> None:
    secret = 's3"cret-ä-value'
    known = Known.of([secret])
    said = f"it is {secret}, yes"
    given = json.dumps({"key": secret}, ensure_ascii=False)
    texts = [said[at : at + size] for at in range(0, len(said), size)]
    arguments = [given[at : at + size] for at in range(0, len(given), size)]
    uses = [{"tool_calls": [{"index": 0, "function": {"arguments": one}}]} for one in arguments]
    chunks = [*(delta({"content": one}) for one in texts), *(delta(one) for one in uses), DONE]
    place = {"output_index": 0, "content_index": 0}
    events = [
        {"type": "response.created", "response": BEGUN},
        *({"type": "response.output_text.delta", **place, "delta": one} for one in texts),
        *({"type": "response.function_call_arguments.delta", "output_index": 1, "delta": one} for one in arguments),
    ]
    for path, stream in ((CHAT, chunks), (RESPONSES, events)):
        row = build_row(call(path, {}, stream), known)
        pieces = [json.loads(data[6:]) for data in row.stream.decode().splitlines() if data.startswith("data: {")]
        joined = "".join(found for piece in pieces for found in strings(piece))
        assert "s3" not in joined
        assert "cret" not in joined
        assert "cret" not in row.response_body.decode()
        assert "it is *" in "".join(joined)


def test_a_secret_in_an_encoded_stream_is_struck_out_as_well() -> None:
    for secret, kept in (("s3cret-value", False), ("another-value", True)):
        recorded = call(CHAT, {}, [delta({"content": "s3cret-"}), delta({"content": "value"}), DONE])
        ((at_us, body),) = recorded.chunks
        recorded.head = AnswerHead(200, [*SSE, (b"content-encoding", b"gzip")])
        encoded = gzip.compress(body)
        recorded.chunks = [(at_us, encoded[:20]), (at_us + 9_000, encoded[20:])]
        row = build_row(recorded, Known.of([secret]))
        assert (row.stream == encoded, len(row.offsets), len(row.at_ms)) == (kept, 2 if kept else 1, 2 if kept else 1)
        assert kept or (b"s3cret" not in row.stream and row.stream.endswith(DONE))


def strings(value: object) -> list[str]:
    """The texts of deltas, in order."""
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("delta"), str):
        return [value["delta"]]
    found = [choice["delta"] for choice in value.get("choices", [])]
    uses = [use["function"]["arguments"] for one in found for use in one.get("tool_calls", [])]
    return [one["content"] for one in found if "content" in one] + uses


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_what_is_nested_deeply_is_no_crash(path: str) -> None:
    deep = '{"a":' * 600 + "1" + "}" * 600
    lists = '[{"content":' * 400 + '"x"' + "}]" * 400
    for inner in (deep, lists):
        event = f'{{"choices":[{{"delta":{inner}}}],"response":{inner},"output_index":1,"delta":{inner}}}'
        answer = [f"data: {event}\n\n".encode(), DONE]
        row = build_row(call(path, {"messages": [], "input": json.loads(inner)}, answer), Known.of(["something"]))
        assert row.error_type is None
        assert build_row(call(path, {}, {"choices": json.loads(inner), "output": json.loads(inner)})).status_code == 200


FIELDS = st.sampled_from(
    [
        *("model", "messages", "input", "role", "content", "type", "text", "usage", "prompt_tokens", "input_tokens"),
        *("choices", "delta", "index", "message", "tool_calls", "function", "arguments", "id", "error", "code"),
        *("output", "response", "item", "output_index", "status", "call_id", "previous_response_id", "conversation"),
        *("prompt_tokens_details", "cached_tokens", "logprobs", "instructions", "tools", "function_call", "custom"),
    ]
)
WORDS = st.sampled_from(
    [
        *("user", "assistant", "tool", "system", "message", "function_call", "function_call_output", "reasoning"),
        *("response.created", "response.completed", "response.output_item.added", "response.output_text.delta"),
        *("response.function_call_arguments.delta", "input_text", "input_image", "failed"),
    ]
)
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=15,
)


@given(st.sampled_from([CHAT, RESPONSES]), ODD, st.lists(ODD, max_size=4))
def test_any_json_gives_a_row(path: str, request: object, answers: list) -> None:
    known = Known.of(["function_call", "response.created"])
    for answer in (answers[0] if answers else None, [f"data: {json.dumps(one)}\n\n".encode() for one in answers]):
        if not isinstance(answer, list) or all(isinstance(one, bytes) for one in answer):
            assert build_row(call(path, request, answer), known).request_type in {
                "inference",
                "query_evaluation",
                "quota",
            }
