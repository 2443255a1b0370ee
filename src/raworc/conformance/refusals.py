"""What the client gets when the provider refuses or fails: its status, its words, when to come back.

They come last: some gateways spare a provider for a while that has failed.
"""

from typing import Final

from raworc.conformance.bench import Bench, Case, described, holds, same
from raworc.conformance.standin import json_answer, plays

_REFUSALS: Final = ("400 Bad Request", "402 Payment Required", "403 Forbidden", "404 Not Found", "409 Conflict")
_REFUSALS_TOO: Final = ("413 Content Too Large", "422 Unprocessable Content", "429 Too Many Requests")
_FAILURES: Final = ("500 Internal Server Error", "503 Service Unavailable", "529 Overloaded")


async def an_error_that_is_no_json_comes_back(bench: Bench) -> None:
    body = b"<html>\xff bad gateway</html>"
    answer = await bench.told(plays(json_answer(body, "400 Bad Request", "content-type: text/html")))
    same((answer.status, answer.values("content-type")), (400, ["text/html"]), "status and type")
    same(answer.body, body, "the body")


async def a_rate_limit_says_when_to_come_back(bench: Bench) -> None:
    told = ("retry-after: 61", "x-should-retry: true", "anthropic-ratelimit-unified-status: rejected")
    answer = await bench.told(plays(json_answer(bench.wire.error, "429 Too Many Requests", *told)))
    same(answer.status, 429, "the status")
    same(answer.body, bench.wire.error, "the body")
    for name, _, value in (line.partition(": ") for line in told):
        same(answer.values(name), [value], f"the header '{name}'")


def _status(status: str) -> Case:
    async def case(bench: Bench) -> None:
        told = json_answer(bench.wire.error, status, "x-should-retry: false", "retry-after: 61")
        answer = await bench.told(plays(told))
        holds(answer.status == int(status[:3]), f"the status {status[:3]}", described(answer))
        same(answer.body, bench.wire.error, "the body")

    case.__name__ = f"the_status_{status[:3]}_comes_back_with_its_body"
    return case


CASES: Final[tuple[Case, ...]] = (
    an_error_that_is_no_json_comes_back,
    *map(_status, _REFUSALS),
    *map(_status, _REFUSALS_TOO),
    a_rate_limit_says_when_to_come_back,
    *map(_status, _FAILURES),
)
