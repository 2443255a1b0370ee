"""Passing on, byte for byte, and what happens when either side goes away."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import anthropic
import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gate import Gate, gate
from raworc.gateway.spool import SpoolLimits
from raworc.wire.client import Client, Reach, Target, Timeouts
from raworc.wire.frames import AnswerHead, CallEnd, Kind, unpack_start, unpack_struct
from standin import Standin, answers, chunk, json_answer, standin, stream_head
from waiting import until

pytestmark = pytest.mark.anyio

KEY = "sk-ant-server-key"
BODY = b'{"model": "claude-x",  "z":1, "stream":true,\n"messages":[{"role":"user","content":"\\u00e9"}]}'


def routed(upstream: Standin, home: Path, **more: object):
    return gate(home, base_url=upstream.url, api_key=KEY, **more)


async def ends(at: Gate) -> CallEnd:
    """The newest call's end, once it is over."""
    await until(lambda: bool(at.frames()) and at.frames()[-1].kind is Kind.END)
    return unpack_struct(at.frames()[-1].data, CallEnd)


def recorded(at: Gate) -> tuple[bytes, AnswerHead, bytes]:
    """Request body, head and answer body of the only call."""
    frames = at.frames()
    body = unpack_start(frames[0].data)[1]
    (head,) = [unpack_struct(frame.data, AnswerHead) for frame in frames if frame.kind is Kind.HEAD]
    return body, head, b"".join(frame.data for frame in frames if frame.kind is Kind.CHUNK)


ODD = b'{"odd" :\xff\x00 1}'
BACK = [
    b"Request-Id: req_theirs",
    b"anthropic-ratelimit-requests-remaining: 5",
    b"set-cookie: a=b",
    b"X-Odd: one",
    b"x-odd: two",
    b"connection: x-hop",
    b"x-hop: 1",
]
SENT = [
    (b"anthropic-beta", b"one"),
    (b"anthropic-beta", b"two,three"),
    (b"user-agent", b"odd/1 (x)"),
    (b"accept-encoding", b"gzip, br"),
    (b"msl-train-id", b"t"),
    (b"x-stainless-retry-count", b"0"),
    (b"connection", b"x-mine"),
    (b"x-mine", b"1"),
]


async def test_a_request_goes_out_as_it_came(home: Path) -> None:
    async with standin(answers(json_answer(b"{}"))) as upstream, routed(upstream, home) as at:
        client = Client(Target.parse(at.url))
        headers = [(b"x-api-key", at.login().encode()), *SENT]
        response = await client.open("POST", "/v1/messages?beta=true&q=%2F%20", headers, BODY)
        await response.read()
        await response.close()
        await client.close()
        await ends(at)
        assert recorded(at)[0] == BODY
    (seen,) = upstream.seen
    assert seen.line == b"POST /v1/messages?beta=true&q=%2F%20 HTTP/1.1"
    assert seen.body == BODY
    assert seen.header(b"x-api-key") == [KEY.encode()]
    assert seen.header(b"anthropic-beta") == [b"one", b"two,three"]
    assert seen.header(b"accept-encoding") == [b"identity"]
    assert seen.header(b"user-agent") == [b"odd/1 (x)"]
    assert seen.header(b"host") == [upstream.url.removeprefix("http://").encode()]
    named = {name.lower() for name, _ in seen.headers}
    assert not named & {b"msl-train-id", b"authorization", b"x-mine", b"connection", b"x-raworc-request-id"}


async def test_headers_are_recorded_as_they_came_with_and_without_a_length(home: Path) -> None:
    async with standin(answers(json_answer(b"{}"))) as upstream, routed(upstream, home) as at:
        client = Client(Target.parse(at.url))
        asked, token = [("GET", b""), ("POST", b"{}"), ("POST", b'{"a":1}'), ("GET", b"")], at.login().encode()
        for method, body in asked:
            response = await client.open(method, "/v1/models", [(b"x-api-key", token), *SENT], body)
            await response.read()
            await response.close()
            await ends(at)
        await client.close()
        starts = [unpack_start(frame.data)[0] for frame in at.frames() if frame.kind is Kind.START]
    for (method, body), start in zip(asked, starts, strict=True):
        length = [(b"content-length", b"%d" % len(body))] if method == "POST" else []
        assert start.headers == [(b"host", at.url.removeprefix("http://").encode()), *SENT, *length]
    assert len({start.id for start in starts}) == len(asked)


async def test_an_answer_comes_back_as_it_is(home: Path) -> None:
    async with standin(answers(json_answer(ODD, "200 OK", *BACK))) as upstream, routed(upstream, home) as at:
        client = Client(Target.parse(at.url))
        response = await client.open("POST", "/v1/messages", [(b"x-api-key", at.login().encode())], BODY)
        assert await response.read() == ODD
        headers = [(name, value) for name, value in response.headers if name not in {b"date", b"server"}]
        await response.close()
        await client.close()
        assert (await ends(at)).error_type is None
        _, head, answered = recorded(at)
    assert headers[:7] == [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(ODD)),
        (b"request-id", b"req_theirs"),
        (b"anthropic-ratelimit-requests-remaining", b"5"),
        (b"set-cookie", b"a=b"),
        (b"x-odd", b"one"),
        (b"x-odd", b"two"),
    ]
    assert [name for name, _ in headers[7:]] == [b"x-raworc-request-id"]
    assert answered == ODD
    assert (b"set-cookie", b"a=b") not in head.headers


@pytest.fixture
async def echo(home: Path) -> AsyncIterator[tuple[Gate, list[bytes]]]:
    """A gateway to a provider that streams these pieces."""
    pieces: list[bytes] = []

    async def play(writer: asyncio.StreamWriter) -> None:
        await answers(stream_head(), *map(chunk, pieces), chunk(b""))(writer)

    async with standin(play) as upstream, routed(upstream, home) as at:
        yield at, pieces


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_stream_of_bytes_passes_unchanged(echo: tuple[Gate, list[bytes]], pieces: list[bytes]) -> None:
    at, played = echo
    played[:] = pieces
    before = len(at.frames())
    client = Client(Target.parse(at.url))
    response = await client.open("POST", "/v1/messages", [(b"x-api-key", at.login().encode())], BODY)
    assert await response.read() == b"".join(pieces)
    await response.close()
    await client.close()
    await ends(at)
    frames = at.frames()[before:]
    assert b"".join(frame.data for frame in frames if frame.kind is Kind.CHUNK) == b"".join(pieces)


async def test_chunks_are_not_held_back(home: Path) -> None:
    go = asyncio.Event()

    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(stream_head())
        writer.write(chunk(b"event: ping\ndata: {}\n\n"))
        await go.wait()
        writer.write(chunk(b"half a li") + chunk(b""))

    async with standin(play) as upstream, routed(upstream, home) as at:
        client = Client(Target.parse(at.url))
        response = await client.open("POST", "/v1/messages", [(b"x-api-key", at.login().encode())], BODY)
        chunks = response.chunks()
        assert await anext(chunks) == b"event: ping\ndata: {}\n\n"
        assert at.frames()[-1].data == b"event: ping\ndata: {}\n\n"  # on file before it was seen
        go.set()
        assert await anext(chunks) == b"half a li"
        await response.close()
        await client.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, anthropic.BadRequestError), (429, anthropic.RateLimitError), (529, anthropic.InternalServerError)],
)
async def test_the_providers_errors_come_back_as_they_are(
    home: Path, status: int, error: type[anthropic.APIStatusError]
) -> None:
    body = b'{"type":"error","error":{"type":"odd_error","message":"no"},"request_id":"req_1"}'
    play = answers(json_answer(body, f"{status} Odd", b"retry-after: 7", b"x-should-retry: false"))
    async with standin(play) as upstream, routed(upstream, home) as at:
        async with anthropic.AsyncAnthropic(base_url=at.url, api_key=at.login(), max_retries=2) as sdk:
            with pytest.raises(error) as failed:
                await sdk.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}])
        assert failed.value.body == json.loads(body)
        assert failed.value.response.headers["retry-after"] == "7"
        assert (await ends(at)).error_type is None  # the answer speaks for itself
    assert len(upstream.seen) == 1


async def test_a_client_that_hangs_up_ends_the_providers_call(home: Path) -> None:
    play = answers(stream_head() + chunk(b"data: 1\n\n"), b"", delay_s=60)
    async with standin(play) as upstream, routed(upstream, home) as at:
        client = Client(Target.parse(at.url))
        response = await client.open("POST", "/v1/messages", [(b"x-api-key", at.login().encode())], BODY)
        assert await anext(response.chunks()) == b"data: 1\n\n"
        await response.close()
        await asyncio.wait_for(upstream.gone.wait(), 60)
        assert (await ends(at)).error_type == "client_disconnected"
        assert recorded(at)[2] == b"data: 1\n\n"


async def test_a_client_that_leaves_before_the_answer(home: Path) -> None:
    async with standin(answers(b"", delay_s=60)) as upstream, routed(upstream, home) as at:
        async with at.served.wire() as wire:
            head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {at.login()}\r\ncontent-length: 2\r\n\r\n{{}}"
            await wire.send(head.encode())
            await until(lambda: len(upstream.seen) == 1)
        await asyncio.wait_for(upstream.gone.wait(), 60)
        assert (await ends(at)).error_type == "client_disconnected"
        assert not [frame for frame in at.frames() if frame.kind is Kind.HEAD]


async def test_a_client_that_leaves_within_its_request(home: Path) -> None:
    async with gate(home) as at:
        async with at.served.wire() as wire:
            head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {at.login()}\r\ncontent-length: 9\r\n\r\n{{"
            await wire.send(head.encode())
        assert (await ends(at)).error_type == "client_disconnected"


@pytest.mark.parametrize(
    ("half", "told"),
    [
        (b'event: message_start\ndata: {"type":"message_start"}\n\n', b""),
        (b"event: ping\n", b"\n\n"),
        (b"", b""),
    ],
)
async def test_a_provider_that_breaks_off_is_told_by_the_wires_error_event(
    home: Path, half: bytes, told: bytes
) -> None:
    play = answers(stream_head(), *([chunk(half)] if half else []), abort=True)
    async with standin(play) as upstream, routed(upstream, home) as at:
        client = Client(Target.parse(at.url))
        response = await client.open("POST", "/v1/messages", [(b"x-api-key", at.login().encode())], BODY)
        body = await response.read()
        await response.close()
        await client.close()
        assert body.startswith(half + told + b"event: error\ndata: {")
        assert json.loads(body.split(b"data: ")[-1])["error"]["type"] == "api_error"
        assert (await ends(at)).error_type == "upstream_disconnected"
        assert recorded(at)[2] == body


async def test_a_break_after_the_last_event_breaks_nothing(home: Path) -> None:
    whole = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    async with standin(answers(stream_head(), chunk(whole), close=True)) as upstream, routed(upstream, home) as at:
        client = Client(Target.parse(at.url))
        response = await client.open("POST", "/v1/messages", [(b"x-api-key", at.login().encode())], BODY)
        assert await response.read() == whole
        await response.close()
        assert (await ends(at)).error_type is None


async def test_a_cut_json_answer_cuts_the_clients_connection(home: Path) -> None:
    play = answers(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\nhalf", close=True)
    async with standin(play) as upstream, routed(upstream, home) as at, httpx2.AsyncClient() as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.post(f"{at.url}/v1/messages", content=BODY, headers={"x-api-key": at.login()})
        assert (await ends(at)).error_type == "upstream_disconnected"


@pytest.mark.parametrize(
    ("play", "status", "error_type"),
    [
        (answers(abort=True), 502, "upstream_disconnected"),
        (answers(b"nonsense\r\n\r\n"), 502, "upstream_broken"),
        (answers(b"", delay_s=60), 504, "upstream_timeout"),
    ],
)
async def test_a_provider_that_does_not_answer(home: Path, play, status: int, error_type: str) -> None:
    timeouts = Timeouts(first_byte_s=0.2)
    async with (
        standin(play) as upstream,
        routed(upstream, home, reach=Reach(timeouts)) as at,
        httpx2.AsyncClient() as http,
    ):
        answer = await http.post(f"{at.url}/v1/messages", content=BODY, headers={"x-api-key": at.login()})
        assert answer.status_code == status
        assert answer.json()["error"]["type"] == ("timeout_error" if status == 504 else "api_error")
        assert (await ends(at)).error_type == error_type
        assert recorded(at)[1].own


async def test_nobody_there(home: Path) -> None:
    async with gate(home, base_url="http://127.0.0.1:1", api_key=KEY) as at, httpx2.AsyncClient() as http:
        answer = await http.post(f"{at.url}/v1/messages", content=BODY, headers={"x-api-key": at.login()})
        assert (answer.status_code, answer.json()["error"]["type"]) == (502, "api_error")
        assert (await ends(at)).error_type == "upstream_unreachable"


async def test_redirects_are_not_followed(home: Path) -> None:
    play = answers(json_answer(b"{}", "307 Temporary Redirect", b"location: http://127.0.0.1:1/"))
    async with standin(play) as upstream, routed(upstream, home) as at, httpx2.AsyncClient() as http:
        answer = await http.post(f"{at.url}/v1/messages", content=BODY, headers={"x-api-key": at.login()})
        assert (answer.status_code, answer.headers["location"]) == (307, "http://127.0.0.1:1/")
    assert len(upstream.seen) == 1


async def test_the_clients_own_credential_goes_along(home: Path) -> None:
    async with standin(answers(json_answer(b"{}"))) as upstream, routed(upstream, home) as at:
        async with httpx2.AsyncClient() as http:
            headers = {"authorization": "Bearer sk-ant-oat01-own"}
            await http.post(f"{at.url}/v1/messages", content=BODY, headers=headers)
        await ends(at)
        start, _ = unpack_start(at.frames()[0].data)
        assert (start.caller, start.account_id) == ("passthrough", "passthrough")
    assert upstream.seen[0].header(b"authorization") == [b"Bearer sk-ant-oat01-own"]
    assert upstream.seen[0].header(b"x-api-key") == []


async def test_scripted_names_stay_here_and_others_go_out(home: Path) -> None:
    play = answers(json_answer(b'{"id":"theirs"}'))
    async with standin(play) as upstream, routed(upstream, home) as at, httpx2.AsyncClient() as http:
        http.headers["x-api-key"] = at.login()
        body = {"model": "scripted-x", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
        here = await http.post(f"{at.url}/v1/messages", json=body)
        assert here.headers["x-raworc-provider"] == "scripted"
        assert (await http.post(f"{at.url}/v1/messages", json={**body, "model": "m"})).json() == {"id": "theirs"}
        assert (await http.get(f"{at.url}/v1/models")).json() == {"id": "theirs"}
    assert [seen.line.split()[1] for seen in upstream.seen] == [b"/v1/messages", b"/v1/models"]


async def test_an_address_without_a_key_serves_clients_with_their_own(home: Path) -> None:
    play = answers(json_answer(b'{"id":"theirs"}'))
    async with (
        standin(play) as upstream,
        gate(home, base_url=upstream.url) as at,
        httpx2.AsyncClient() as http,
    ):
        own = await http.get(f"{at.url}/v1/models", headers={"authorization": "Bearer own"})
        ours = await http.get(f"{at.url}/v1/models", headers={"x-api-key": at.login()})
    assert own.json() == {"id": "theirs"}
    assert ours.json()["data"][0]["id"] == "scripted"


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_too_large(home: Path, *, chunked: bool) -> None:
    async with gate(home, body_bytes=1000) as at, httpx2.AsyncClient(headers={"x-api-key": at.login()}) as http:

        async def pieces():
            for _ in range(20):
                yield b"x" * 100

        content = pieces() if chunked else b"x" * 2000
        answer = await http.post(f"{at.url}/v1/messages", content=content)
        assert answer.status_code == 413
        assert answer.json()["error"]["type"] == "request_too_large"
        assert (await ends(at)).error_type == "request_too_large"


async def test_no_room_to_record_refuses_new_calls(home: Path) -> None:
    async with gate(home, limits=SpoolLimits(total_bytes=0, free_bytes=0)) as at, httpx2.AsyncClient() as http:
        headers = {"x-api-key": at.login()}
        first = await http.get(f"{at.url}/v1/models", headers=headers)
        at.spool._looked_at = 0  # a second later
        full = await http.get(f"{at.url}/v1/models", headers=headers)
        assert (first.status_code, full.status_code) == (200, 529)
        assert full.json()["error"]["type"] == "overloaded_error"
        assert full.headers["retry-after"]


async def test_a_slow_client_slows_the_provider(home: Path) -> None:
    sent = 0

    async def play(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(stream_head())
        for _ in range(1000):
            writer.write(chunk(b"x" * 65536))
            await writer.drain()
            sent += 65536
        writer.write(chunk(b""))

    async with standin(play) as upstream, routed(upstream, home) as at:
        client = Client(Target.parse(at.url))
        response = await client.open("POST", "/v1/messages", [(b"x-api-key", at.login().encode())], BODY)
        before = -1
        while before != sent:  # until it is stuck
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 1000 * 65536
        assert len(await response.read()) == 1000 * 65536
        await response.close()
        await client.close()
