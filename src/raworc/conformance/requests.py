"""What the provider gets of a request: all of it, byte for byte, but what is for this hop only."""

import asyncio
import gzip
from typing import Final

from raworc.conformance.bench import Bench, Case, Extra, alike, described, holds, same
from raworc.conformance.caller import Answer
from raworc.conformance.standin import Seen, json_answer, plays

_MEGABYTE: Final = 1024 * 1024
_PIECES: Final = 5


async def the_provider_is_reached(bench: Bench) -> None:
    async with bench.staged() as stage:
        answer = await bench.call()
    holds(
        stage.seen, f"a POST of '{bench.wire.path}' at the provider", f"none; the gateway answered {described(answer)}"
    )
    same(answer.status, 200, "the status")


async def the_body_is_not_rewritten(bench: Bench) -> None:
    same((await bench.sent()).body, bench.body(), "the body")


async def the_body_of_a_stream_is_not_rewritten(bench: Bench) -> None:
    body = bench.body(stream=True)
    same((await bench.sent(bench.request(body))).body, body, "the body")


async def unescaped_unicode_stays(bench: Bench) -> None:
    body = bench.body(text="\u2028 \U0001f600 \u0000\ufffe".replace("\u0000", "\\u0000"))
    same((await bench.sent(bench.request(body))).body, body, "the body")


async def method_and_path_stay(bench: Bench) -> None:
    seen = await bench.sent()
    same(seen.method, "POST", "the method")
    holds(seen.path.endswith(bench.wire.path), f"a path that ends with '{bench.wire.path}'", seen.path)


async def the_query_is_kept_as_it_is(bench: Bench) -> None:
    query = "beta=true&q=%2F%20+x&again=1&again=2&empty="
    seen = await bench.sent(bench.request(target=f"{bench.wire.path}?{query}"))
    same(seen.target.partition("?")[2], query, "the query")


async def unknown_headers_pass(bench: Bench) -> None:
    headers = [("x-stainless-retry-count", "0"), ("X-Odd", 'a  b;c="d"'), ("anthropic-new", "1"), ("openai-new", "2")]
    await _pass(bench, headers)


async def a_repeated_header_keeps_all_its_values(bench: Bench) -> None:
    seen = await bench.sent(bench.request(extra=[("x-odd", "one"), ("x-odd", "two,three")]))
    came = [part.strip() for value in seen.values("x-odd") for part in value.split(",")]
    same(came, ["one", "two", "three"], "the values of 'x-odd'")


async def the_user_agent_passes(bench: Bench) -> None:
    await _pass(bench, [("user-agent", "odd/1.0 (conformance; x)")])


async def the_content_type_passes(bench: Bench) -> None:
    await _pass(bench, [("content-type", "application/json; charset=utf-8")])


async def the_accept_header_passes(bench: Bench) -> None:
    await _pass(bench, [("accept", "text/event-stream, application/json;q=0.5")])


async def names_of_headers_are_read_in_any_case(bench: Bench) -> None:
    name, value = bench.wire.credential(bench.subject.key)
    await bench.sent(bench.request(credential=[(name.upper(), value)]))


async def headers_of_this_hop_stay_here(bench: Bench) -> None:
    extra = [
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("proxy-authorization", "Basic eDp5"),
    ]
    seen = await bench.sent(bench.request(extra=extra))
    passed = sorted({name for name, _ in extra[1:] if seen.values(name)})
    same(passed, [], "headers for this hop that went on")


async def the_provider_is_called_by_its_own_name(bench: Bench) -> None:
    seen = await bench.sent()
    came = seen.values("host")
    holds(came and came != [bench.subject.address.authority], "the provider's address as 'host'", came)


async def no_encoding_is_asked_for_that_the_client_cannot_read(bench: Bench) -> None:
    seen = await bench.sent(bench.request(extra=[("accept-encoding", "identity")]))
    asked = {part.strip().lower() for value in seen.values("accept-encoding") for part in value.split(",")}
    holds(asked <= {"identity", ""}, "'accept-encoding: identity', or none", sorted(asked))


async def an_encoded_body_passes_unchanged(bench: Bench) -> None:
    body = gzip.compress(bench.body(), mtime=0)
    seen = await bench.sent(bench.request(body, extra=[("content-encoding", "gzip")]))
    same(seen.values("content-encoding"), ["gzip"], "the header 'content-encoding'")
    same(seen.body, body, "the body")


async def a_chunked_body_arrives(bench: Bench) -> None:
    body = bench.body()
    size = len(body) // _PIECES + 1
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    head = bench.head([("transfer-encoding", "chunked"), ("content-type", "application/json")])
    seen = await bench.sent(head + b"\r\n\r\n" + chunks + b"0\r\n\r\n")
    alike(seen.body, body, "the body")


async def a_body_that_comes_in_pieces_is_waited_for(bench: Bench) -> None:
    request = bench.request()
    async with bench.staged() as stage, bench.line() as line:
        for at in range(0, len(request), 97):
            await line.send(request[at : at + 97])
            await asyncio.sleep(0)
        same((await line.answer()).status, 200, "the status")
    alike(stage.last.body, bench.body(), "the body")


async def a_client_may_ask_before_it_sends_the_body(bench: Bench) -> None:
    body = bench.body()
    head = bench.head([("content-length", str(len(body))), ("expect", "100-continue")])
    async with bench.staged() as stage, bench.line() as line:
        await line.send(head + b"\r\n\r\n")
        await bench.soon(line.interim(), "'100 Continue'")
        await line.send(body)
        same((await line.answer()).status, 200, "the status")
    alike(stage.last.body, body, "the body")


async def a_large_body_passes_unchanged(bench: Bench) -> None:
    body = bench.body(text="\u00e9" * (4 * _MEGABYTE))
    same((await bench.sent(bench.request(body))).body, body, "the body")


async def a_too_large_body_is_refused_by_its_length(bench: Bench) -> None:
    over = bench.subject.limit_bytes + 1
    async with bench.staged() as stage, bench.line() as line:
        await line.send(bench.head([("content-length", str(over)), ("expect", "100-continue")]) + b"\r\n\r\n")
        answer = await bench.soon(line.answer(), "413 as soon as the length is known")
    _refused(bench, answer, 413)
    same(stage.seen, [], "what the provider saw")


async def a_too_large_chunked_body_is_refused(bench: Bench) -> None:
    piece = b"100000\r\n" + b" " * _MEGABYTE + b"\r\n"
    async with bench.staged() as stage, bench.line() as line:
        await line.send(bench.head([("transfer-encoding", "chunked")]) + b"\r\n\r\n")
        answering = asyncio.ensure_future(line.answer())
        try:
            for _ in range(bench.subject.limit_bytes // _MEGABYTE + 1):
                await line.send(piece)
        except ConnectionError:
            pass  # it need not read all of what it refuses
        _refused(bench, await bench.soon(answering, "413 as soon as the limit is passed"), 413)
    same(stage.seen, [], "what the provider saw")


async def two_lengths_never_become_two_requests(bench: Bench) -> None:
    """A request that tells its length twice must not be read differently by two programs."""
    hidden = bench.request()
    head = bench.head([("content-length", str(len(hidden) + 5)), ("transfer-encoding", "chunked")])
    async with bench.staged() as stage, bench.line() as line:
        await line.send(head + b"\r\n\r\n0\r\n\r\n" + hidden)
        answer = await bench.soon(line.answer(), "an answer to the first request")
    holds(
        answer.status == 400 or all(seen.body != bench.body() for seen in stage.seen),
        "400, or no second request",
        f"{answer.status}, and the body as a request of its own at the provider",
    )


async def the_clients_key_stays_here(bench: Bench) -> None:
    seen = await bench.sent()
    holds(
        not seen.holds(bench.subject.key.encode()), "nothing of the client's key at the provider", _where(seen, bench)
    )


async def the_providers_key_takes_its_place(bench: Bench) -> None:
    seen = await bench.sent()
    name, _ = bench.wire.credential("")
    came = seen.values(name)
    holds(len(came) == 1 and came[0] != "Bearer", f"one '{name}' at the provider", came)
    if bench.subject.credential:
        same(came, [bench.wire.credential(bench.subject.credential)[1]], f"'{name}' at the provider")


async def the_providers_key_is_told_to_nobody(bench: Bench) -> None:
    async with bench.staged(plays(json_answer(b"{}", "200 OK", "x-odd: 1"))) as stage:
        answer = await bench.call()
        sent = [value for name in ("x-api-key", "authorization") for value in stage.last.values(name)]
    keys = [value.removeprefix("Bearer ").encode() for value in sent]
    told = [key for key in keys if key and any(key in part for pair in answer.headers for part in pair)]
    same(told, [], "the provider's keys in the answer's headers")


async def a_bearer_token_counts(bench: Bench) -> None:
    await bench.sent(bench.request(credential=[("authorization", f"Bearer {bench.subject.key}")]))


async def a_wrong_key_is_refused(bench: Bench) -> None:
    key = bench.subject.key
    await _stranger(bench, [bench.wire.credential(key[:-4] + ("AAAA" if key[-4:] != "AAAA" else "BBBB"))])


async def no_key_is_refused(bench: Bench) -> None:
    await _stranger(bench, [])


async def _stranger(bench: Bench, credential: Extra) -> None:
    async with bench.staged() as stage:
        answer = await bench.call(bench.request(credential=credential))
    same(len(stage.seen), 0, "calls at the provider")
    _refused(bench, answer, 401)


def _refused(bench: Bench, answer: Answer, status: int) -> None:
    same(answer.status, status, "the status")
    holds(bench.is_error(answer), f"an error as '{bench.wire.name}' tells it", described(answer))


async def _pass(bench: Bench, headers: Extra) -> None:
    seen = await bench.sent(bench.request(extra=headers))
    for name, value in headers:
        same(seen.values(name.lower()), [value], f"the header '{name}' at the provider")


def _where(seen: Seen, bench: Bench) -> str:
    key = bench.subject.key.encode()
    names = [name.decode("latin-1") for name, value in seen.headers if key in value]
    return f"it, in {', '.join(names)}" if names else "it"


CASES: Final[tuple[Case, ...]] = (
    the_body_is_not_rewritten,
    the_body_of_a_stream_is_not_rewritten,
    unescaped_unicode_stays,
    method_and_path_stay,
    the_query_is_kept_as_it_is,
    unknown_headers_pass,
    a_repeated_header_keeps_all_its_values,
    the_user_agent_passes,
    the_content_type_passes,
    the_accept_header_passes,
    names_of_headers_are_read_in_any_case,
    headers_of_this_hop_stay_here,
    the_provider_is_called_by_its_own_name,
    no_encoding_is_asked_for_that_the_client_cannot_read,
    an_encoded_body_passes_unchanged,
    a_chunked_body_arrives,
    a_body_that_comes_in_pieces_is_waited_for,
    a_client_may_ask_before_it_sends_the_body,
    a_large_body_passes_unchanged,
    a_too_large_body_is_refused_by_its_length,
    a_too_large_chunked_body_is_refused,
    two_lengths_never_become_two_requests,
    the_clients_key_stays_here,
    the_providers_key_takes_its_place,
    the_providers_key_is_told_to_nobody,
    a_bearer_token_counts,
    a_wrong_key_is_refused,
    no_key_is_refused,
)
