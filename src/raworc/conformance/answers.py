"""What the client gets of a good answer that is no stream: its headers and its bytes."""

import gzip
from typing import Final

from raworc.conformance.bench import Bench, Case, alike, holds, same
from raworc.conformance.standin import Reply, Seen, chunk, json_answer, plays, stream_head

_MEGABYTE: Final = 1024 * 1024


async def the_body_comes_back_as_it_is(bench: Bench) -> None:
    await _verbatim(bench, bench.wire.answer)


async def bytes_that_are_no_text_come_back(bench: Bench) -> None:
    await _verbatim(bench, b'{"odd" :\xff\x00\xfe 1}')


async def an_empty_body_comes_back(bench: Bench) -> None:
    await _verbatim(bench, b"")


async def a_large_body_comes_back(bench: Bench) -> None:
    await _verbatim(bench, b'{"large":"' + b"\xc3\xa9" * (4 * _MEGABYTE) + b'"}')


async def a_chunked_answer_arrives(bench: Bench) -> None:
    body = bench.wire.answer
    pieces = (chunk(body[:7]), chunk(body[7:8]), chunk(body[8:]), chunk(b""))
    answer = await bench.told(plays(stream_head(kind="application/json"), *pieces))
    alike(answer.body, body, "the body")
    holds(answer.whole, "an answer with an end", "one that is cut off")


async def an_answer_that_ends_with_the_connection_arrives(bench: Bench) -> None:
    async def play(_seen: Seen, reply: Reply) -> None:
        await reply.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + bench.wire.answer)
        reply.close()

    answer = await bench.told(play)
    alike(answer.body, bench.wire.answer, "the body")
    holds(answer.whole, "an answer with an end", "one that is cut off")


async def an_encoded_answer_comes_back_encoded(bench: Bench) -> None:
    body = gzip.compress(bench.wire.answer, mtime=0)
    answer = await bench.told(plays(json_answer(body, "200 OK", "content-encoding: gzip")))
    same(answer.values("content-encoding"), ["gzip"], "the header 'content-encoding'")
    same(answer.body, body, "the body")


async def the_length_is_told(bench: Bench) -> None:
    answer = await bench.told(plays(bench.plain()))
    lengths = answer.values("content-length")
    holds(lengths in ([], [str(len(answer.body))]), f"a 'content-length' of {len(answer.body)}, or chunks", lengths)


async def the_content_type_comes_back(bench: Bench) -> None:
    await _headers_back(bench, {"content-type": ["application/json; charset=utf-8; odd=1"]})


async def the_providers_request_id_comes_back(bench: Bench) -> None:
    await _headers_back(bench, {"request-id": ["req_theirs"], "x-request-id": ["req_theirs_too"]})


async def rate_limit_headers_come_back(bench: Bench) -> None:
    told = {
        "anthropic-ratelimit-requests-remaining": ["5"],
        "anthropic-ratelimit-unified-5h-utilization": ["0.25"],
        "anthropic-ratelimit-unified-reset": ["1735689600"],
        "x-ratelimit-remaining-tokens": ["149984"],
        "x-ratelimit-reset-requests": ["6m0s"],
    }
    await _headers_back(bench, told)


async def unknown_headers_come_back(bench: Bench) -> None:
    told = {"x-odd": ['a  b;c="d"'], "anthropic-organization-id": ["o-1"], "openai-processing-ms": ["7"]}
    await _headers_back(bench, told)


async def a_repeated_header_comes_back_repeated(bench: Bench) -> None:
    await _headers_back(bench, {"set-cookie": ["a=b; Path=/", "c=d"]})


async def headers_of_the_other_hop_stay_there(bench: Bench) -> None:
    hop = ("connection: x-hop", "x-hop: 1", "keep-alive: timeout=1", "proxy-authenticate: Basic")
    answer = await bench.told(plays(json_answer(b"{}", "200 OK", *hop)))
    came = [name for name in ("x-hop", "proxy-authenticate") if answer.values(name)]
    came += [value for value in answer.values("keep-alive") if value == "timeout=1"]
    same(came, [], "headers of the hop behind that came")


async def an_early_hint_does_not_end_the_answer(bench: Bench) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n"
    answer = await bench.told(plays(hint + bench.plain()))
    same(answer.status, 200, "the status")
    alike(answer.body, bench.wire.answer, "the body")


async def redirects_are_not_followed(bench: Bench) -> None:
    where = "location: http://127.0.0.1:1/nowhere"
    answer = await bench.told(plays(json_answer(b"{}", "307 Temporary Redirect", where)))
    same(answer.status, 307, "the status")
    same(answer.values("location"), ["http://127.0.0.1:1/nowhere"], "the header 'location'")


async def _verbatim(bench: Bench, body: bytes) -> None:
    answer = await bench.told(plays(json_answer(body)))
    same(answer.status, 200, "the status")
    same(answer.body, body, "the body")


async def _headers_back(bench: Bench, told: dict[str, list[str]]) -> None:
    lines = [f"{name}: {value}" for name, values in told.items() for value in values]
    answer = await bench.told(plays(json_answer(b"{}", "200 OK", *lines)))
    for name, values in told.items():
        same(answer.values(name), values, f"the header '{name}'")


CASES: Final[tuple[Case, ...]] = (
    the_body_comes_back_as_it_is,
    bytes_that_are_no_text_come_back,
    an_empty_body_comes_back,
    a_large_body_comes_back,
    a_chunked_answer_arrives,
    an_answer_that_ends_with_the_connection_arrives,
    an_encoded_answer_comes_back_encoded,
    the_length_is_told,
    the_content_type_comes_back,
    the_providers_request_id_comes_back,
    rate_limit_headers_come_back,
    unknown_headers_come_back,
    a_repeated_header_comes_back_repeated,
    headers_of_the_other_hop_stay_there,
    an_early_hint_does_not_end_the_answer,
    redirects_are_not_followed,
)
