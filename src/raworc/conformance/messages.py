"""What only the clients of Anthropic's wire rely on."""

from typing import Final

from raworc.conformance.bench import Bench, Case, Extra, holds, same
from raworc.conformance.standin import json_answer, plays

_COUNT: Final = "/v1/messages/count_tokens"


async def version_and_betas_pass_unread(bench: Bench) -> None:
    await _pass(bench, [("anthropic-version", "2023-06-01"), ("anthropic-beta", "odd-2031-01-01,new-thing-1")])


async def session_headers_pass(bench: Bench) -> None:
    await _pass(bench, [("x-claude-code-session-id", "s-1"), ("x-claude-code-agent-id", "a-1"), ("x-app", "cli")])


async def system_blocks_keep_their_order(bench: Bench) -> None:
    blocks = b'[{"type":"text","text":"x-first: 1"},{"text":"","type":"text","cache_control":{"type":"ephemeral"}}]'
    body = b'{"system": %b, "messages":[], "model":"%b","max_tokens":1}' % (blocks, bench.subject.model.encode())
    same((await bench.sent(bench.request(body))).body, body, "the body")


async def thinking_and_tools_pass_unread(bench: Bench) -> None:
    body = (
        b'{"model":"%b","max_tokens":1,"thinking":{"type":"adaptive"},"tools":[{"name":"t","input_schema":{"type":"object"},'
        b'"x":1},{"type":"web_search_20990101","name":"w"}],"messages":[{"role":"assistant","content":[{"type":"thinking",'
        b'"thinking":"t","signature":"c2ln"},{"type":"odd_block","x":null}]}],"context_management":{"edits":[]}}'
    ) % bench.subject.model.encode()
    same((await bench.sent(bench.request(body))).body, body, "the body")


async def tokens_can_be_counted(bench: Bench) -> None:
    body = b'{ "messages":[{"role":"user","content":"x"}] ,"model":"%b"}' % bench.subject.model.encode()
    request = bench.request(body, target=f"{_COUNT}?beta=true")
    async with bench.staged(plays(json_answer(b'{ "input_tokens":7}')), _COUNT) as stage:
        answer = await bench.call(request)
    holds(stage.seen, f"a POST of '{_COUNT}' at the provider", f"none; the gateway answered {answer.status}")
    same((stage.last.body, stage.last.target.partition("?")[2]), (body, "beta=true"), "body and query")
    same(answer.body, b'{ "input_tokens":7}', "the answer")


async def both_forms_of_a_key_count(bench: Bench) -> None:
    key = bench.subject.key
    seen = await bench.sent(bench.request(credential=[("x-api-key", key), ("authorization", f"Bearer {key}")]))
    holds(not seen.holds(key.encode()), "nothing of the client's key at the provider", "it")


async def _pass(bench: Bench, headers: Extra) -> None:
    seen = await bench.sent(bench.request(extra=headers))
    for name, value in headers:
        same(seen.values(name), [value], f"the header '{name}' at the provider")


CASES: Final[tuple[Case, ...]] = (
    version_and_betas_pass_unread,
    session_headers_pass,
    system_blocks_keep_their_order,
    thinking_and_tools_pass_unread,
    tokens_can_be_counted,
    both_forms_of_a_key_count,
)
