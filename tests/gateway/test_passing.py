"""Everything else below ``/v1/`` passes as it is and is recorded without what was said."""

import asyncio
import gzip
import json
import socket
from pathlib import Path

import httpx2
import pytest
import zstandard

from certificates import Authority, serving
from gate import DOOR_KEY, Gate, gate
from raworc.api.edge import EdgeOptions
from raworc.domain.wires import may_tell_usage
from raworc.wire.client import Client, Reach, Target, trusting
from raworc.wire.frames import AnswerHead, CallEnd, CallStart, Kind, unpack_start, unpack_struct
from served import serve
from standin import Standin, answers, chunk, json_answer, standin, stream_head
from waiting import until

pytestmark = pytest.mark.anyio

KEY = "sk-server-key"
PART = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n\xff\x00\r\n--b--\r\n'
CALLS = [
    ("GET", "/v1/responses/resp_1?include[]=x&stream=false", b""),
    ("DELETE", "/v1/responses/resp_1", b""),
    ("POST", "/v1/responses/resp_1/cancel", b"{}"),
    ("GET", "/v1/responses/resp_1/input_items?limit=2", b""),
    ("POST", "/v1/embeddings", b'{"model": "text-embedding-3-small",  "input":"\\u00e9"}'),
    ("POST", "/v1/files", PART),
    ("GET", "/v1/files/f%2F1/content", b""),
    ("PUT", "/v1/uploads/u1", b"\xff\xfe"),
    ("PATCH", "/v1/evals/e1", b'{"a":1}'),
    ("POST", "/v1/messages/batches", b'{"requests":[]}'),
    ("GET", "/v1/messages/batches/b1/results", b""),
    ("OPTIONS", "/v1/chat/completions", b""),
]


def routed(upstream: Standin, home: Path, **more: object):
    return gate(home, base_url=upstream.url, api_key=KEY, **more)


async def ended(at: Gate, calls: int = 1) -> list[CallEnd]:
    def ends() -> list[CallEnd]:
        return [unpack_struct(frame.data, CallEnd) for frame in at.frames() if frame.kind is Kind.END]

    await until(lambda: len(ends()) == calls)
    return ends()


def starts(at: Gate) -> list[tuple[CallStart, bytes]]:
    return [unpack_start(frame.data) for frame in at.frames() if frame.kind is Kind.START]


def chunks(at: Gate) -> bytes:
    return b"".join(frame.data for frame in at.frames() if frame.kind is Kind.CHUNK)


async def test_calls_of_one_connection_keep_their_own_headers_and_lengths(home: Path) -> None:
    sent = [("a", "1"), ("a", "22"), ("b", "22"), ("b", "22"), ("a", "333")]
    async with standin(answers(json_answer(b"{}"))) as upstream, routed(upstream, home) as at:
        token = at.login()
        async with at.served.wire() as wire:
            for tag, body in sent:
                lines = (
                    f"POST /v1/messages HTTP/1.1\r\nx-api-key: {token}\r\nContent-Length: {len(body)}\r\nx-tag: {tag}"
                )
                await wire.send(f"{lines}\r\n\r\n{body}".encode())
                assert (await wire.answer(30)).status == 200
        passed = [(one.header(b"x-tag")[0].decode(), one.body.decode()) for one in upstream.seen]
        assert passed == sent
        assert {one.header(b"x-api-key")[0] for one in upstream.seen} == {KEY.encode()}
        kept = [(start.headers, body.decode()) for start, body in starts(at)]
        assert kept == [
            ([(b"content-length", b"%d" % len(body)), (b"x-tag", tag.encode())], body) for tag, body in sent
        ]


async def test_any_call_passes_as_it_came_and_of_what_was_said_only_what_may_tell_usage_is_spooled(home: Path) -> None:
    said = b'{"odd" :\xff\x00 "answer"}'
    async with standin(answers(json_answer(said))) as upstream, routed(upstream, home) as at:
        client = Client(Target.parse(at.url))
        headers = [(b"authorization", b"Bearer " + at.login().encode()), (b"content-type", b"multipart/x; boundary=b")]
        for method, path, body in CALLS:
            response = await client.open(method, path, headers, body)
            assert (response.status, await response.read()) == (200, said)
            await response.close()
        await client.close()
        seen = [(one.line.decode(), one.body) for one in upstream.seen]
        assert seen == [(f"{method} {path} HTTP/1.1", body) for method, path, body in CALLS]
        assert {one.header(b"content-type")[0] for one in upstream.seen} == {b"multipart/x; boundary=b"}
        assert [end.error_type for end in await ended(at, len(CALLS))] == [None] * len(CALLS)
        assert [(start.method, start.bodies, body) for start, body in starts(at)] == [
            (method, False, b"") for method, _, _ in CALLS
        ]
        assert [start.model for start, _ in starts(at)] == [None] * 4 + ["text-embedding-3-small"] + [None] * 7
        telling = [(method, path) for method, path, _ in CALLS if may_tell_usage(method, path.partition("?")[0])]
        assert telling == [
            ("GET", "/v1/responses/resp_1?include[]=x&stream=false"),
            ("POST", "/v1/responses/resp_1/cancel"),
            *[("POST", f"/v1/{path}") for path in ("embeddings", "files", "messages/batches")],
        ]
        assert chunks(at) == said * len(telling)


async def test_answers_that_are_no_json_are_spooled_of_no_other_call(home: Path) -> None:
    play = answers(json_answer(b"RIFF").replace(b"application/json", b"audio/wav"))
    async with standin(play) as upstream, routed(upstream, home) as at:
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {at.login()}"}) as http:
            assert (await http.post(f"{at.url}/v1/audio/speech", json={"model": "m"})).content == b"RIFF"
        await ended(at)
        assert chunks(at) == b""


async def test_a_head_has_no_body_and_does_not_wait_for_one(home: Path) -> None:
    play = answers(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n")
    async with standin(play) as upstream, routed(upstream, home) as at:
        for _ in range(2):
            ask = f"HEAD /v1/files/f1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {at.login()}\r\n\r\n"
            async with at.served.wire() as wire:
                await wire.send(ask.encode())
                head = await wire.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert b"content-length: 999" in head
        assert [end.error_type for end in await ended(at, 2)] == [None, None]


async def test_of_an_error_its_words_are_kept(home: Path) -> None:
    said = b'{"error":{"message":"No such file","type":"invalid_request_error","param":"id","code":null}}'
    async with standin(answers(json_answer(said, "404 Not Found"))) as upstream, routed(upstream, home) as at:
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {at.login()}"}) as http:
            assert (await http.get(f"{at.url}/v1/files/f1")).content == said
        await ended(at)
        assert chunks(at) == said


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_too_large_is_refused_in_the_wires_shape(home: Path, *, chunked: bool) -> None:
    async with gate(home, body_bytes=1000) as at, httpx2.AsyncClient() as http:
        headers = {"authorization": f"Bearer {at.login()}"}

        async def pieces():
            for _ in range(20):
                yield b"x" * 100

        content = pieces() if chunked else b"x" * 2000
        answer = await http.post(f"{at.url}/v1/responses", content=content, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
        assert (await ended(at))[0].error_type == "request_too_large"


@pytest.mark.parametrize(
    ("path", "kind"), [("/v1/messages", "timeout_error"), ("/v1/chat/completions", "invalid_request_error")]
)
async def test_a_body_that_stalls_is_refused_in_the_wires_shape_and_recorded(home: Path, path: str, kind: str) -> None:
    run = home / "run"
    options = EdgeOptions(str(run / "door.sock"), str(run / "m.sock"), DOOR_KEY, body_idle_timeout_s=0.2)
    async with gate(home) as at, serve(at.app, options) as served:
        ask = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {at.login()}\r\ncontent-length: 9\r\n\r\n{{"
        answer = await served.ask(ask.encode())
        assert (answer.status, answer.closed) == (408, True)
        assert json.loads(answer.body)["error"]["type"] == kind
        assert answer.headers["request-id" if path == "/v1/messages" else "x-request-id"].startswith("req_")
        assert (await ended(at))[0].error_type == "request_timeout"
        (head,) = [unpack_struct(frame.data, AnswerHead) for frame in at.frames() if frame.kind is Kind.HEAD]
        assert (head.status, head.own) == (408, True)


async def test_a_head_that_stalls_is_refused_in_the_wires_shape(home: Path) -> None:
    run = home / "run"
    options = EdgeOptions(str(run / "door.sock"), str(run / "m.sock"), DOOR_KEY, header_timeout_s=0.2)
    async with gate(home) as at, serve(at.app, options) as served:
        answer = await served.ask(b"POST /v1/messages?beta=true HTTP/1.1\r\nhost: x\r\nx-api")
        assert (answer.status, json.loads(answer.body)["error"]["type"]) == (408, "timeout_error")
        answer = await served.ask(b"POST /v1/responses HTTP/1.1\r\nhost: x\r\n")
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (408, "request_timeout")
        assert at.frames() == []


@pytest.mark.parametrize("length", ["abc", "-1", "+5", "1_0", "99999999999999999999999", "5, 6"])
async def test_a_length_that_is_none_is_the_clients_mistake(home: Path, length: str) -> None:
    async with gate(home) as at:
        ask = (
            f"POST /v1/responses HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {at.login()}\r\ncontent-length: {length}"
        )
        answer = await at.served.ask(f"{ask}\r\n\r\n{{}}".encode())
        assert answer.status in {400, 413}
        assert json.loads(answer.body)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "half", "code"),
    [
        ("/v1/chat/completions", b'data: {"id":"c1","choices":[]}\n\n', "bad_gateway"),
        ("/v1/responses", b'event: response.created\ndata: {"sequence_number":0}\n\n', "bad_gateway"),
    ],
)
async def test_a_stream_that_breaks_off_ends_with_the_wires_own_error(
    home: Path, path: str, half: bytes, code: str
) -> None:
    play = answers(stream_head(), chunk(half), abort=True)
    async with standin(play) as upstream, routed(upstream, home) as at:
        client = Client(Target.parse(at.url))
        response = await client.open("POST", path, [(b"authorization", b"Bearer " + at.login().encode())], b"{}")
        body = await response.read()
        await response.close()
        await client.close()
        assert body.startswith(half)
        told = json.loads(body.rpartition(b"data: ")[2])
        assert told.get("error", told)["code"] == code
        assert (await ended(at))[0].error_type == "upstream_disconnected"
        assert chunks(at) == body


@pytest.mark.parametrize(("encoding", "encode"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
async def test_an_encoded_request_passes_as_it_came_and_is_understood(home: Path, encoding: str, encode) -> None:
    body = encode(b'{"model":"scripted","input":"hi"}')
    answered = encode(b'{"id":"resp_1"}')
    play = answers(json_answer(answered, "200 OK", b"content-encoding: " + encoding.encode()))
    async with standin(play) as upstream, routed(upstream, home) as at:
        headers = {"authorization": f"Bearer {at.login()}", "content-encoding": encoding}
        async with httpx2.AsyncClient(headers=headers) as http:
            ours = await http.post(f"{at.url}/v1/responses", content=body)
            assert ours.json()["output"][0]["content"][0]["text"] == "You said: hi"
            theirs = encode(b'{"model":"gpt-x","input":"hi"}')
            async with http.stream("POST", f"{at.url}/v1/responses", content=theirs) as answer:
                assert b"".join([piece async for piece in answer.aiter_raw()]) == answered
        (seen,) = upstream.seen
        assert (seen.body, seen.header(b"content-encoding")) == (theirs, [encoding.encode()])


async def test_a_provider_whose_certificate_does_not_count_is_not_called(home: Path) -> None:
    authority = Authority(home / "ca.pem")
    async with standin(answers(json_answer(b"{}")), serving(authority)) as upstream:
        for trust, status in ((None, 502), (trusting(authority.file), 200)):
            (folder := home / str(status)).mkdir()
            async with routed(upstream, folder, reach=Reach(trust=trust)) as at:
                async with httpx2.AsyncClient(headers={"authorization": f"Bearer {at.login()}"}) as http:
                    answer = await http.post(f"{at.url}/v1/responses", json={"model": "gpt-x", "input": "hi"})
                assert answer.status_code == status
                if status != 200:
                    assert "its certificate does not count" in answer.json()["error"]["message"]
    assert len(upstream.seen) == 1


async def test_a_client_that_does_not_read_is_let_go_and_so_is_the_provider(home: Path) -> None:
    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(stream_head())
        while True:
            writer.write(chunk(b"x" * 65536))
            await writer.drain()

    run = home / "run"
    options = EdgeOptions(str(run / "door.sock"), str(run / "m.sock"), DOOR_KEY, write_timeout_s=0.2)
    async with standin(play) as upstream, routed(upstream, home) as at, serve(at.app, options) as served:
        named = f"host: x\r\nauthorization: Bearer {at.login()}\r\ncontent-length: 2"
        ask = f"POST /v1/responses HTTP/1.1\r\n{named}\r\n\r\n{{}}"
        with socket.create_connection(("127.0.0.1", served.port)) as idle:
            idle.sendall(ask.encode())
            async with asyncio.timeout(60):
                await upstream.gone.wait()
            assert (await ended(at))[0].error_type == "client_disconnected"
