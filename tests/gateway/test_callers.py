"""Which credential counts on which listener, and what a call is booked under."""

import base64
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest

from gate import Gate, gate
from raworc.domain.client_keys import new_key
from raworc.services.client_keys import KeyUse
from raworc.services.tokens import Tokens
from raworc.wire.client import Client, Target
from raworc.wire.frames import CallStart, Kind, unpack_start
from served import Answer, Wire

pytestmark = pytest.mark.anyio

Headers = dict[str, str]
SESSION, OTHER, TURN = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()


@pytest.fixture
async def at(home: Path) -> AsyncIterator[Gate]:
    async with gate(home) as running:
        running.turns.known[SESSION, 3] = TURN
        yield running


def request(headers: Headers, method: str = "GET", path: str = "/v1/models") -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: x",
        "anthropic-version: 2023-06-01",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def public(at: Gate, **headers: str) -> Answer:
    return await at.served.ask(request({name.replace("_", "-"): value for name, value in headers.items()}))


async def by(wire: Wire, token: str) -> int:
    await wire.send(request({"authorization": f"Bearer {token}"}))
    return (await wire.answer()).status


def starts(at: Gate) -> list[CallStart]:
    return [unpack_start(frame.data)[0] for frame in at.frames() if frame.kind is Kind.START]


async def test_a_login_counts_as_bearer_and_as_key(at: Gate) -> None:
    token = at.login()
    assert (await public(at, authorization=f"Bearer {token}")).status == 200
    assert (await public(at, authorization=f"bearer  {token} ")).status == 200
    assert (await public(at, x_api_key=token)).status == 200
    assert (await public(at, x_api_key=token, authorization="Bearer their-own")).status == 200
    assert {start.caller for start in starts(at)} == {"login"}
    assert {start.caller_id for start in starts(at)} == at.accounts.ids


async def test_what_is_refused_on_the_port(at: Gate) -> None:
    token = at.login()
    foreign = Tokens(b"other" * 8).login(uuid.uuid4(), 1, "agents", ttl_s=60)[0]
    unknown = at.tokens.login(uuid.uuid4(), 1, "agents", ttl_s=60)[0]
    expired = at.tokens.login(next(iter(at.accounts.ids)), 1, "agents", ttl_s=-120)[0]
    unsigned = jwt.encode({"iss": "raworc", "sub": str(uuid.uuid4()), "typ": "login", "exp": 2**33}, "", "none")
    refused: list[Headers] = [
        {},
        {"authorization": "Basic abc"},
        {"authorization": "Bearer "},
        {"authorization": f"Bearer {foreign}"},
        {"authorization": f"Bearer {unknown}"},
        {"authorization": f"Bearer {expired}"},
        {"authorization": f"Bearer {unsigned}"},
        {"authorization": f"Bearer {token[:-3]}abc"},
        {"authorization": "Bearer rwk_" + "a" * 46},
        {"authorization": f"Bearer {at.turn_token(SESSION, TURN)}"},
        {"authorization": f"Bearer {at.sandbox_token(SESSION, 3)}"},
        {"x-api-key": "sk-ant-unknown"},
        {"x-api-key": "rwk_" + "a" * 46},
        {"x-api-key": "sk-ant-unknown", "authorization": "Basic abc"},
    ]
    for headers in refused:
        answer = await at.served.ask(request(headers))
        assert answer.status == 401, headers
        assert json.loads(answer.body)["error"]["type"] == "authentication_error"
        assert answer.headers["www-authenticate"] == "Bearer"
    assert {start.caller for start in starts(at)} == {"none"}
    assert len(starts(at)) == len(refused)


async def test_a_refusal_has_the_shape_of_the_wire_that_was_called(at: Gate) -> None:
    plain = await at.served.ask(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
    assert json.loads(plain.body)["error"].keys() == {"message", "type", "param", "code"}
    assert (json.loads(plain.body)["error"]["code"], plain.status) == ("invalid_api_key", 401)
    assert plain.headers["x-request-id"].startswith("req_")
    at.accounts.away = True
    away = f"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {at.login()}\r\n\r\n"
    answer = await at.served.ask(away.encode())
    assert (answer.status, json.loads(answer.body)["error"]["type"]) == (503, "server_error")
    assert answer.headers["retry-after"] == "1"


async def test_a_foreign_bearer_passes_on_loopback(at: Gate) -> None:
    theirs = jwt.encode({"iss": "https://idp.example", "sub": "me"}, "x" * 32, "HS256")
    odd = ".".join(["a", base64.urlsafe_b64encode(b"nonsense").decode(), "b"])
    for bearer in (theirs, odd, "a.b.c"):
        assert (await public(at, authorization=f"Bearer {bearer}")).status == 200
    assert (await public(at, authorization="Bearer sk-ant-oat01-abc")).status == 502  # a provider's: it goes out
    assert {start.caller for start in starts(at)} == {"passthrough"}


async def test_no_passthrough_where_it_is_off(home: Path) -> None:
    async with gate(home, passthrough=False) as at:
        assert (await public(at, authorization="Bearer sk-ant-oat01-abc")).status == 401


async def test_the_operators_socket_takes_turn_tokens_only(at: Gate) -> None:
    chosen = uuid.uuid4()
    async with at.served.wire("model.sock") as wire:
        for token in (at.login(), at.sandbox_token(SESSION, 3), "sk-ant-x"):
            assert await by(wire, token) == 401
        headers = {"authorization": f"Bearer {at.turn_token(SESSION, TURN)}", "x-raworc-request-id": str(chosen)}
        await wire.send(request({**headers, "msl-train-id": "another"}))
        answer = await wire.answer()
        assert (answer.status, answer.headers["x-raworc-request-id"]) == (200, str(chosen))
        await wire.send(request({**headers, "x-raworc-request-id": "nonsense"}))
        assert (await wire.answer()).status == 400
    booked = starts(at)[-2]
    assert (booked.id, booked.caller, booked.session_id, booked.turn_id) == (chosen, "turn", SESSION, TURN)
    assert (booked.space, booked.train_id) == ("default", "default.agent")


async def test_only_operators_choose_ids(at: Gate) -> None:
    answer = await public(at, authorization=f"Bearer {at.login()}", x_raworc_request_id=str(TURN))
    assert answer.headers["x-raworc-request-id"] != str(TURN)


async def test_a_door_takes_the_token_of_its_own_sandbox(at: Gate) -> None:
    async with at.door(SESSION, 3) as wire:
        assert await by(wire, at.sandbox_token(SESSION, 3)) == 200
        for token in (
            at.sandbox_token(OTHER, 3),
            at.sandbox_token(SESSION, 2),
            at.turn_token(SESSION, TURN),
            at.login(),
            "sk-ant-oat01-abc",
        ):
            assert await by(wire, token) == 401, token
    booked = starts(at)[0]
    assert (booked.caller, booked.session_id, booked.turn_id) == ("sandbox", SESSION, TURN)


async def test_a_call_from_a_sandbox_belongs_to_a_turn_or_is_refused(at: Gate) -> None:
    at.turns.known.clear()
    async with at.door(SESSION, 3) as wire:
        assert await by(wire, at.sandbox_token(SESSION, 3)) == 403
        at.turns.known[SESSION, 3] = TURN
        assert await by(wire, at.sandbox_token(SESSION, 3)) == 200


async def test_a_deployed_handler_may_call_between_turns(at: Gate) -> None:
    at.turns.known.clear()
    agent_id = uuid.uuid4()
    own = at.sandbox_token(SESSION, 3, agent_id)
    async with at.door(SESSION, 3) as wire:
        assert await by(wire, own) == 403
        at.turns.warm.add((SESSION, 3, agent_id))
        assert await by(wire, own) == 200
        assert await by(wire, at.sandbox_token(SESSION, 3)) == 403, "the sandbox's own token is no handler's"
        assert await by(wire, at.sandbox_token(SESSION, 3, uuid.uuid4())) == 403
        at.turns.known[SESSION, 3] = TURN
        assert await by(wire, own) == 200
    booked = [(start.session_id, start.turn_id) for start in starts(at) if start.session_id]
    assert {(SESSION, None), (SESSION, TURN)} <= set(booked)


async def test_a_sandbox_reaches_models_and_not_what_else_an_account_holds(at: Gate) -> None:
    headers = {"authorization": f"Bearer {at.sandbox_token(SESSION, 3)}"}
    asked = {"/v1/models": 200, "/v1/files": 403, "/v1/responses/resp_1": 403, "/v1/messages/batches": 403}
    async with at.door(SESSION, 3) as wire:
        for path, status in asked.items():
            await wire.send(request(headers, "GET", path))
            assert (await wire.answer()).status == status, path


@pytest.mark.parametrize("header", ["msl-train-id", "raworc-train-id", "msl-project-id"])
async def test_the_train_is_named_by_a_header(at: Gate, header: str) -> None:
    login = {"authorization": f"Bearer {at.login()}"}
    assert (await at.served.ask(request({**login, header: "team.x:1_a-b"}))).status == 200
    for bad in ("a b", "ä", "x" * 256, ""):
        answer = await at.served.ask(request({**login, header: bad}))
        assert answer.status == 400, bad
    assert (await at.served.ask(request(login))).status == 200
    assert [start.train_id for start in starts(at)] == ["team.x:1_a-b", *["default"] * 5]


@pytest.fixture
async def clock(home: Path) -> AsyncIterator[tuple[Gate, list[float]]]:
    """A gateway and its clock, in seconds."""
    now = [0.0]
    async with gate(home, clock_s=lambda: now[0]) as running:
        yield running, now


async def test_a_verdict_holds_while_the_database_is_away(clock: tuple[Gate, list[float]]) -> None:
    at, now = clock
    token, late = at.login(), at.login()
    for _ in range(3):
        assert (await public(at, x_api_key=token)).status == 200
    assert at.accounts.asked == 1  # the answer is fresh for a second
    at.accounts.away = True
    now[0] += 599
    assert (await public(at, x_api_key=token)).status == 200
    answer = await public(at, x_api_key=late)
    assert (answer.status, json.loads(answer.body)["error"]["type"]) == (529, "overloaded_error")
    assert answer.headers["retry-after"] == "1"
    now[0] += 2
    assert (await public(at, x_api_key=token)).status == 529
    at.accounts.away = False
    at.accounts.ids.clear()
    assert (await public(at, x_api_key=token)).status == 401


async def test_a_revoked_login_ends_within_a_second(clock: tuple[Gate, list[float]]) -> None:
    at, now = clock
    token = at.login()
    assert (await public(at, x_api_key=token)).status == 200
    at.accounts.ids.clear()
    now[0] += 1.01
    assert (await public(at, x_api_key=token)).status == 401


async def test_credentials_are_never_spooled(at: Gate) -> None:
    token = at.login()
    await public(at, x_api_key=token, authorization=f"Bearer {token}", cookie=f"a={token}")
    await public(at, authorization="Bearer sk-ant-oat01-canary")
    spooled = b"".join(path.read_bytes() for path in (at.home / "spool").iterdir())
    assert token.encode() not in spooled
    assert b"canary" not in spooled


async def test_routes(at: Gate) -> None:
    client = Client(Target.parse(at.url))
    headers = [(b"authorization", b"Bearer " + at.login().encode()), (b"anthropic-version", b"2023-06-01")]
    routes = {
        ("GET", "/v1/models"): 200,
        ("GET", "/v1/models/x"): 200,
        ("POST", "/v1/models"): 404,
        ("GET", "/v1/messages"): 404,
        ("GET", "/v1/models/"): 404,
        ("POST", "/v1/complete"): 404,
        ("DELETE", "/v1/files/f1"): 404,
        ("GET", "/v1/../api/v0/agents"): 404,
        ("GET", "/v1/files/%2e%2e/%2E%2e/admin"): 404,
        ("GET", "/v1/%252e%252e/admin"): 404,
        ("GET", "/v1/..%5cadmin"): 404,
        ("POST", "/api/event_logging/batch"): 200,
    }
    for (method, path), status in routes.items():
        response = await client.open(method, path, headers, b"{}" if method == "POST" else b"")
        body = json.loads(await response.read())
        assert response.status == status, path
        assert status == 200 or body["type"] == "error"
        await response.close()
    await client.close()
    async with at.served.wire() as wire:
        await wire.send(request({}, "HEAD", "/"))
        head = await wire.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")


async def test_a_known_key_serves_on_while_the_database_is_away(clock: tuple[Gate, list[float]]) -> None:
    at, now = clock
    key, other = new_key(), new_key()
    at.keys.known[key] = KeyUse(uuid.uuid4(), "default", "its.train", (), None)
    headers = {"x_api_key": key, "msl_train_id": "another"}
    assert (await public(at, **headers)).status == 200
    at.keys.away = True
    now[0] += 599
    assert (await public(at, **headers)).status == 200
    assert (await public(at, x_api_key=other)).status == 529
    now[0] += 2
    assert (await public(at, **headers)).status == 529

    found = [start for start in starts(at) if start.caller == "key"]
    assert [(start.train_id, start.space) for start in found] == [("its.train", "default")] * 2


@pytest.mark.parametrize("name", ["x-api-key", "authorization"])
async def test_a_credential_that_is_sent_twice_is_refused(at: Gate, name: str) -> None:
    """One that is ours would be passed on to the provider beside the one that counts."""
    twice = request({name: f"Bearer {at.login()}"}).replace(b"\r\n\r\n", b"\r\n%b: foreign\r\n\r\n" % name.encode(), 1)
    answer = await at.served.ask(twice)
    assert (answer.status, name in json.loads(answer.body)["error"]["message"]) == (400, True)


async def test_of_several_headers_that_name_a_train_the_documented_one_counts(at: Gate) -> None:
    named = {"msl-project-id": "third", "raworc-train-id": "second", "msl-train-id": "first"}
    login = {"authorization": f"Bearer {at.login()}"}
    while named:
        assert (await at.served.ask(request({**login, **named}))).status == 200
        named.popitem()
    assert [start.train_id for start in starts(at)] == ["first", "second", "third"]


async def test_a_key_ends_when_it_was_to_end_although_nobody_can_be_asked(at: Gate) -> None:
    key, ended = new_key(), new_key()
    for name, ends_in in ((key, 3600), (ended, -1)):
        ends_at = datetime.now(UTC) + timedelta(seconds=ends_in)
        at.keys.known[name] = KeyUse(uuid.uuid4(), "default", None, (), ends_at)
    assert (await public(at, x_api_key=key)).status == 200
    answer = await public(at, x_api_key=ended)
    assert (answer.status, json.loads(answer.body)["error"]["type"]) == (401, "authentication_error")
