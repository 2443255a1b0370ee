"""The checks are worth something: gateways that are broken in the ways that gateways are get caught.

Each one is ours with one thing spoiled around it; a whole naive proxy stands at the end.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from conformance.judging import PROVIDER_KEY, judged
from raworc.conformance.wires import MESSAGES

pytestmark = pytest.mark.anyio

Headers = list[tuple[bytes, bytes]]


def with_scope(change: Callable[[MutableMapping[str, Any]], object]) -> Callable[[ASGIApp], ASGIApp]:
    """Requests whose head is changed."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def spoiled(scope: Scope, receive: Receive, send: Send) -> None:
            changed = dict(scope)
            change(changed)
            await app(changed, receive, send)

        return spoiled

    return wrap


def with_body(change: Callable[[bytes], bytes]) -> Callable[[ASGIApp], ASGIApp]:
    """Requests whose body is read whole and changed."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def spoiled(scope: Scope, receive: Receive, send: Send) -> None:
            body = change(await Request(scope, receive).body())
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"content-length"]}
            waiting = [{"type": "http.request", "body": body, "more_body": False}]

            async def again() -> Message:
                return waiting.pop() if waiting else await receive()

            await app(scope, again, send)

        return spoiled

    return wrap


def with_answer(change: Callable[[Message, list[Message]], Message | None]) -> Callable[[ASGIApp], ASGIApp]:
    """Answers whose messages are changed; ``change`` also gets those that came before. None keeps one back."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def spoiled(scope: Scope, receive: Receive, send: Send) -> None:
            before: list[Message] = []

            async def spoil(message: Message) -> None:
                changed = change(dict(message), before)
                before.append(message)
                if changed is not None:
                    await send(changed)

            await app(scope, receive, spoil)

        return spoiled

    return wrap


def deaf(app: ASGIApp) -> ASGIApp:
    """Does not notice that its client has left."""

    async def spoiled(scope: Scope, receive: Receive, send: Send) -> None:
        async def deaf_receive() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                await asyncio.Event().wait()
            return message

        await app(dict(scope), deaf_receive, send)  # a copy: in the other one nobody asks to be told

    return spoiled


def no_query(scope: MutableMapping[str, Any]) -> None:
    scope["query_string"] = b""


def known_headers_only(scope: MutableMapping[str, Any]) -> None:
    known = {b"host", b"content-length", b"content-type", b"x-api-key", b"authorization", b"anthropic-version"}
    scope["headers"] = [pair for pair in scope["headers"] if pair[0] in known]


def key_told(scope: MutableMapping[str, Any]) -> None:
    keys = [value for name, value in scope["headers"] if name == b"x-api-key"]
    scope["headers"] = [*scope["headers"], *((b"x-forwarded-key", key) for key in keys)]


def last_header_wins(scope: MutableMapping[str, Any]) -> None:
    scope["headers"] = list(dict(scope["headers"]).items())


def rewritten(body: bytes) -> bytes:
    try:
        return json.dumps(json.loads(body)).encode()
    except ValueError:
        return body


def kept_together(message: Message, before: list[Message]) -> Message | None:
    if message["type"] == "http.response.start":
        return message
    if message["more_body"]:
        return None
    message["body"] = b"".join(part.get("body", b"") for part in before) + message["body"]
    return message


def by_line(message: Message, before: list[Message]) -> Message | None:
    """Passes on whole lines only, as relays that parse events do."""
    if message["type"] == "http.response.start":
        return message
    whole = b"".join(part.get("body", b"") for part in before)
    sent = whole.rpartition(b"\n")[0]
    now = whole + message["body"]
    upto = now if not message["more_body"] else now[: now.rfind(b"\n") + 1]
    message["body"] = upto[len(sent) + 1 if sent else 0 :]
    return message


def on_bodies(change: Callable[[bytes], bytes]) -> Callable[[Message, list[Message]], Message | None]:
    def apply(message: Message, _before: list[Message]) -> Message | None:
        if message["type"] == "http.response.body":
            message["body"] = change(message["body"])
        return message

    return apply


def on_head(change: Callable[[Message], object]) -> Callable[[Message, list[Message]], Message | None]:
    def apply(message: Message, _before: list[Message]) -> Message | None:
        if message["type"] == "http.response.start":
            change(message)
        return message

    return apply


def every_error_is_500(message: Message) -> None:
    if message["status"] >= 400:
        message["status"] = 500


def plain_headers_only(message: Message) -> None:
    message["headers"] = [pair for pair in message["headers"] if pair[0] in {b"content-type", b"content-length"}]


def provider_key_told(message: Message) -> None:
    message["headers"] = [*message["headers"], (b"x-debug", PROVIDER_KEY.encode())]


def as_text(data: bytes) -> bytes:
    return data.decode(errors="ignore").encode()


def no_error_event(data: bytes) -> bytes:
    return b"" if b"upstream" in data or b"The provider" in data else data


def no_comments(data: bytes) -> bytes:
    return b"" if data.startswith(b":") else data


BROKEN: dict[str, tuple[Callable[[ASGIApp], ASGIApp], set[str]]] = {
    "drops the query": (with_scope(no_query), {"the-query-is-kept-as-it-is", "tokens-can-be-counted"}),
    "allows known headers only": (
        with_scope(known_headers_only),
        {"unknown-headers-pass", "the-user-agent-passes", "version-and-betas-pass-unread", "session-headers-pass"},
    ),
    "tells the key to the provider": (with_scope(key_told), {"the-clients-key-stays-here"}),
    "keeps one of a repeated header": (with_scope(last_header_wins), {"a-repeated-header-keeps-all-its-values"}),
    "rewrites requests": (
        with_body(rewritten),
        {"the-body-is-not-rewritten", "unescaped-unicode-stays", "system-blocks-keep-their-order"},
    ),
    "rewrites answers": (with_answer(on_bodies(rewritten)), {"the-body-comes-back-as-it-is"}),
    "waits for whole answers": (
        with_answer(kept_together),
        {"each-event-comes-at-once", "a-comment-comes-at-once", "a-part-of-an-event-comes-at-once"},
    ),
    "waits for whole lines": (with_answer(by_line), {"a-part-of-an-event-comes-at-once"}),
    "takes bytes for text": (
        with_answer(on_bodies(as_text)),
        {"characters-may-be-cut-anywhere", "bytes-that-are-no-text-stay", "an-encoded-answer-comes-back-encoded"},
    ),
    "makes line ends alike": (
        with_answer(on_bodies(lambda data: data.replace(b"\r\n", b"\n"))),
        {"other-line-ends-stay"},
    ),
    "drops comments": (with_answer(on_bodies(no_comments)), {"comments-stay"}),
    "says 500 to everything": (
        with_answer(on_head(every_error_is_500)),
        {"the-status-400-comes-back-with-its-body", "a-rate-limit-says-when-to-come-back", "a-wrong-key-is-refused"},
    ),
    "drops the provider's headers": (
        with_answer(on_head(plain_headers_only)),
        {"rate-limit-headers-come-back", "the-providers-request-id-comes-back", "redirects-are-not-followed"},
    ),
    "tells the provider's key": (
        with_answer(on_head(provider_key_told)),
        {"the-providers-key-is-told-to-nobody"},
    ),
    "ends broken streams quietly": (
        with_answer(on_bodies(no_error_event)),
        {"a-stream-that-breaks-off-ends-with-an-error-event", "an-event-that-breaks-off-does-not-swallow-the-error"},
    ),
    "does not notice that clients leave": (deaf, {"a-client-that-hangs-up-before-the-answer-ends-the-call"}),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_gateway_is_caught(home: Path, name: str) -> None:
    wrap, caught = BROKEN[name]
    async with judged(home) as judge, judge.behind_a(wrap) as url:
        results = await judge.results(MESSAGES, *caught, "method-and-path-stay", url=url)
    failed = {result.name for result in results if result.outcome == "failed"}
    assert failed == caught
    assert all(result.expected and result.came for result in results if result.outcome == "failed")


async def test_what_is_around_a_gateway_spoils_nothing_by_itself(home: Path) -> None:
    every = {part for _, caught in BROKEN.values() for part in caught}
    async with judged(home) as judge, judge.behind_a(lambda app: app) as url:
        results = await judge.results(MESSAGES, *every, url=url)
    assert [result for result in results if result.outcome != "ok"] == []


async def test_a_proxy_as_it_is_written_in_an_afternoon(home: Path) -> None:
    async with judged(home) as judge, httpx2.AsyncClient(base_url=judge.behind) as client:

        def naive(_app: ASGIApp) -> ASGIApp:
            async def forward(request: Request) -> Response:
                answer = await client.post(
                    request.url.path, json=await request.json(), headers={"x-api-key": PROVIDER_KEY}
                )
                return JSONResponse(answer.json(), answer.status_code)

            async def app(scope: Scope, receive: Receive, send: Send) -> Awaitable[None] | None:
                response = await forward(Request(scope, receive))
                return await response(scope, receive, send)

            return app

        async with judge.behind_a(naive) as url:
            results = await judge.results(MESSAGES, "body", "query", "header", "status", "key", url=url)
    failed = {result.name for result in results if result.outcome == "failed"}
    assert {"the-body-is-not-rewritten", "the-query-is-kept-as-it-is", "a-wrong-key-is-refused"} < failed
    assert len(failed) > 15


async def test_without_the_provider_nothing_is_checked(home: Path) -> None:
    def elsewhere(_app: ASGIApp) -> ASGIApp:
        return JSONResponse({"error": "who are you?"}, 418)

    async with judged(home) as judge, judge.behind_a(elsewhere) as url:
        first, *others = await judge.results(MESSAGES, url=url)
    assert (first.outcome, first.name) == ("failed", "the-provider-is-reached")
    assert "418" in (first.came or "")
    assert {result.outcome for result in others} == {"not run"}
