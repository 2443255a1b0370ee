"""Whom calls go to: accounts of a pool, retries before the first byte, and what the record says of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gate import Gate, gate
from raworc.domain.credentials import ApiKey, OAuth, RenewalFailed
from raworc.domain.upstreams import Offer, in_order
from raworc.services.client_keys import KeyUse
from raworc.services.upstream_uses import Use
from raworc.wire.client import Reach, Timeouts
from raworc.wire.frames import AnswerHead, CallEnd, Kind, unpack_start, unpack_struct
from standin import Script, Standin, answers, json_answer, standin
from waiting import until

pytestmark = pytest.mark.anyio

ASKED = {"model": "claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
OK = json_answer(b'{"id":"theirs"}')
BUSY = json_answer(
    b'{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}', "429 Too Many", b"retry-after: 50"
)


def use(upstream: Standin | str, name: str, **more: Any) -> Use:
    """An upstream at a stand-in; its key is its name."""
    url = upstream if isinstance(upstream, str) else upstream.url
    path, version = more.pop("path", ""), more.pop("version", 1)
    offer = Offer(name, more.pop("provider", "anthropic"), **more)
    return Use(name, version, offer, url + path, ApiKey(f"key-of-{name}"))


def one_after_the_other(*scripts: Script) -> Script:
    """Each request gets the next answer, the last one for good."""
    left = list(scripts)

    async def play(writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(writer)

    return play


def keys_seen(upstream: Standin) -> list[str]:
    return [seen.header(b"x-api-key")[0].decode() for seen in upstream.seen]


async def ask(at: Gate, path: str = "/v1/messages", body: Any = ASKED, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    credential = {} if "authorization" in named else {"x-api-key": at.login()}
    async with httpx2.AsyncClient(trust_env=False) as http:
        return await http.post(f"{at.url}{path}", json=body, headers={**credential, **named})


async def last_record(at: Gate) -> tuple[str | None, AnswerHead, CallEnd]:
    """Of the newest call: whom it went to first, its head and its end."""
    await until(lambda: bool(at.frames()) and at.frames()[-1].kind is Kind.END)
    frames = at.frames()
    mine = [frame for frame in frames if frame.key == frames[-1].key]
    (head,) = [unpack_struct(frame.data, AnswerHead) for frame in mine if frame.kind is Kind.HEAD]
    return unpack_start(mine[0].data)[0].account_id, head, unpack_struct(mine[-1].data, CallEnd)


@pytest.fixture
async def provider() -> AsyncIterator[Standin]:
    async with standin(answers(OK)) as upstream:
        yield upstream


async def test_a_train_stays_with_its_account(home: Path, provider: Standin) -> None:
    uses = [use(provider, name) for name in "abc"]
    async with gate(home, uses=uses) as at:
        for train in ("t1", "t2", "t3", "t1", "t2", "t3"):
            await ask(at, msl_train_id=train)
    wanted = [in_order([item.offer for item in uses], train)[0].name for train in ("t1", "t2", "t3")]
    assert keys_seen(provider) == [f"key-of-{name}" for name in [*wanted, *wanted]]


async def test_after_a_429_the_next_account_answers_and_the_first_is_spared(home: Path, provider: Standin) -> None:
    async with standin(answers(BUSY)) as busy:
        uses = [use(busy, "busy", is_default=True), use(provider, "free")]
        async with gate(home, uses=uses) as at:
            assert (await ask(at)).json() == {"id": "theirs"}
            first, head, end = await last_record(at)
            assert (first, head.account_id, end.account_id) == ("busy", "free", "free")
            assert [(tried.account_id, tried.status) for tried in end.attempts] == [("busy", 429)]
            assert (await ask(at)).status_code == 200
            assert (await last_record(at))[0] == "free"
    assert (len(busy.seen), len(provider.seen)) == (1, 2)


async def test_an_account_that_another_server_found_busy_is_spared(home: Path, provider: Standin) -> None:
    async with standin(answers(BUSY)) as busy, standin(answers(BUSY)) as other:
        uses = [use(busy, "busy", is_default=True), use(provider, "free"), use(other, "elsewhere", is_default=True)]
        async with gate(home, uses=uses) as at:
            at.directory.cool["elsewhere"] = 50.0
            await at.routing.look()
            at.directory.away = True
            assert (await ask(at)).json() == {"id": "theirs"}
            await at.routing.look()
            assert "busy" not in at.directory.cool
            at.directory.away = False
            await at.routing.look()
            assert 40 < at.directory.cool["busy"] <= 50
    assert (len(busy.seen), len(other.seen)) == (1, 0)


async def test_the_last_account_is_asked_though_it_cools_down_and_its_429_is_passed_on(home: Path) -> None:
    async with standin(answers(BUSY)) as busy, gate(home, uses=[use(busy, "only")]) as at:
        for _ in range(2):
            answer = await ask(at)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "50")
            assert answer.json()["error"]["message"] == "slow"
    assert len(busy.seen) == 2


async def test_what_fails_is_tried_again_before_the_client_sees_any_of_it(home: Path) -> None:
    play = one_after_the_other(answers(abort=True), answers(json_answer(b"{}", "529 Overloaded")), answers(OK))
    async with standin(play) as upstream, gate(home, uses=[use(upstream, "a")]) as at:
        assert (await ask(at)).json() == {"id": "theirs"}
        _, head, end = await last_record(at)
    assert [tried.status for tried in end.attempts] == [None, 529]
    assert "ended" in str(end.attempts[0].error)
    assert (head.status, head.account_id, end.account_id) == (200, None, None)
    assert len({seen.body for seen in upstream.seen}) == 1


async def test_who_cannot_be_connected_to_in_time_is_tried_again_and_who_does_not_answer_is_not(home: Path) -> None:
    async with standin(answers(b"", delay_s=60)) as silent:
        for url, asked in ((silent.url.replace("http:", "https:"), 3), (silent.url, 1)):  # the first speaks no TLS
            folder = home / str(asked)
            folder.mkdir()
            reach = Reach(Timeouts(connect_s=0.2, first_byte_s=0.2))
            async with gate(folder, uses=[use(url, "a")], reach=reach) as at:
                assert (await ask(at)).status_code == 504
                assert len((await last_record(at))[2].attempts) == asked - 1


async def test_the_third_failure_is_passed_on_as_it_is(home: Path) -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"full"}}'
    play = answers(json_answer(body, "529 Overloaded"))
    async with standin(play) as upstream, gate(home, uses=[use(upstream, "a")]) as at:
        answer = await ask(at)
        assert (answer.status_code, answer.content) == (529, body)
        assert len((await last_record(at))[2].attempts) == 2
    assert len(upstream.seen) == 3


async def test_a_client_that_leaves_ends_the_waiting(home: Path) -> None:
    wait = json_answer(b"{}", "503 Service Unavailable", b"retry-after: 29")
    async with standin(answers(wait)) as upstream, gate(home, uses=[use(upstream, "a")]) as at:
        asking = asyncio.create_task(ask(at))
        await until(lambda: bool(upstream.seen))
        asking.cancel()
        await until(lambda: bool(at.frames()) and at.frames()[-1].kind is Kind.END)
        end = unpack_struct(at.frames()[-1].data, CallEnd)
    assert (end.error_type, [tried.status for tried in end.attempts]) == ("client_disconnected", [503])
    assert len(upstream.seen) == 1


async def test_an_account_is_named_by_those_who_may_use_it(home: Path, provider: Standin) -> None:
    uses = [use(provider, "all", is_default=True), use(provider, "theirs", spaces=frozenset({"theirs"}))]
    async with gate(home, uses=uses) as at:
        key = "rwk_" + "a" * 46
        at.keys.known[key] = KeyUse(at.worker_id, "theirs", None, (), None)
        assert (await ask(at, msl_account="theirs", authorization=f"Bearer {key}")).status_code == 200
        assert (await ask(at, msl_account="all")).status_code == 200
        for account in ("theirs", "nobody", "passthrough", "scripted"):
            refusal = await ask(at, msl_account=account)
            assert (refusal.status_code, refusal.json()["error"]["type"]) == (403, "permission_error")
    assert keys_seen(provider) == ["key-of-theirs", "key-of-all"]
    assert not provider.seen[0].header(b"msl-account")


async def test_a_call_that_nobody_serves_is_refused_in_its_wires_shape(home: Path, provider: Standin) -> None:
    async with gate(home, uses=[use(provider, "a", models=("claude-*",))]) as at:
        refusal = await ask(at, body={**ASKED, "model": "other"})
        assert (refusal.status_code, refusal.json()["error"]["type"]) == (404, "not_found_error")
        assert "'other'" in refusal.json()["error"]["message"]
        refusal = await ask(at, "/v1/chat/completions")
        assert (refusal.status_code, refusal.json()["error"].keys()) == (404, {"message", "type", "param", "code"})
        assert (await ask(at, body={**ASKED, "model": "scripted"})).headers["x-raworc-provider"] == "scripted"


async def test_scripted_serves_every_name_until_somebody_is_set_up(home: Path, provider: Standin) -> None:
    """Set up by administrators, for whatever space: nowhere any more. A space's own credential: not there any more."""
    for is_own, status in ((True, 200), (False, 404)):
        folder = home / str(status)
        folder.mkdir()
        uses = [use(provider, "lab", spaces=frozenset({"lab"}), is_own=is_own)]
        async with gate(folder, uses=uses) as at:
            key = "rwk_" + "a" * 46
            at.keys.known[key] = KeyUse(at.worker_id, "lab", None, (), None)
            assert (await ask(at, authorization=f"Bearer {key}")).json() == {"id": "theirs"}
            answer = await ask(at)
            assert (answer.status_code, "x-raworc-provider" in answer.headers) == (status, is_own)
            for space in ({}, {"authorization": f"Bearer {key}"}):
                answer = await ask(at, body={**ASKED, "model": "scripted-x"}, **space)
                assert answer.headers["x-raworc-provider"] == "scripted"


async def test_scripted_is_never_spared(home: Path) -> None:
    fault = '```fault\n{"status": 429, "times": 1}\n```'
    async with gate(home) as at:
        answer = await ask(at, body={**ASKED, "messages": [{"role": "user", "content": fault}]})
        assert answer.status_code == 429
        await at.routing.look()
        assert at.directory.cool == {}


async def test_headers_of_ours_go_no_further(home: Path, provider: Standin) -> None:
    async with gate(home, uses=[use(provider, "a")]) as at:
        await ask(at, raworc_train_id="t", msl_project_id="t", raworc_any="1", x_raworc_request_id="x", x_odd="1")
    named = {name.lower() for name, _ in provider.seen[0].headers}
    assert [name for name in named if b"raworc" in name or name.startswith(b"msl-")] == []
    assert b"x-odd" in named


@pytest.mark.parametrize(
    ("provider_name", "path", "asked", "arrived"),
    [
        ("anthropic", "", "/v1/messages?beta=true", "/v1/messages?beta=true"),
        ("anthropic", "/proxy/", "/v1/messages", "/proxy/v1/messages"),
        ("anthropic", "/proxy/v1", "/v1/messages", "/proxy/v1/messages"),
        ("openai", "", "/v1/chat/completions", "/v1/chat/completions"),
        ("openai", "/v1", "/v1/chat/completions", "/v1/chat/completions"),
        ("openai", "/v1beta/openai/", "/v1/chat/completions", "/v1beta/openai/chat/completions"),
        ("custom", "/v1", "/v1/chat/completions", "/v1/chat/completions"),
    ],
)
async def test_addresses_are_read_as_the_providers_sdks_read_them(
    home: Path, provider: Standin, provider_name: str, path: str, asked: str, arrived: str
) -> None:
    async with gate(home, uses=[use(provider, "a", provider=provider_name, path=path)]) as at:
        assert (await ask(at, asked)).status_code == 200
    assert provider.seen[0].line == f"POST {arrived} HTTP/1.1".encode()
    if "chat" in asked:
        assert provider.seen[0].header(b"authorization") == [b"Bearer key-of-a"]


async def test_changes_are_seen_and_hold_while_the_database_is_away(home: Path, provider: Standin) -> None:
    async with gate(home) as at:
        assert (await ask(at)).headers["x-raworc-provider"] == "scripted"
        at.directory.uses = [use(provider, "a")]
        await at.routing.look()
        assert (await ask(at)).json() == {"id": "theirs"}
        at.directory.away = True
        await at.routing.look()
        assert (await ask(at)).json() == {"id": "theirs"}
        at.directory.away = False
        at.directory.uses = [use("http://127.0.0.1:1", "b")]
        await at.routing.look()
        assert (await ask(at)).status_code == 502
        at.directory.uses = []
        await at.routing.look()
        assert (await ask(at)).headers["x-raworc-provider"] == "scripted"


async def test_a_call_ends_well_although_its_upstream_is_taken_away(home: Path) -> None:
    go = asyncio.Event()

    async def play(writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(OK)

    async with standin(play) as upstream, gate(home, uses=[use(upstream, "a")]) as at:
        asking = asyncio.create_task(ask(at))
        await until(lambda: bool(upstream.seen))
        at.directory.uses = []
        await at.routing.look()
        go.set()
        assert (await asking).json() == {"id": "theirs"}
        await until(upstream.gone.is_set)  # and its connection is not kept


async def test_clients_own_credentials_go_to_the_provider_of_their_wire(home: Path, provider: Standin) -> None:
    async with gate(home, base_url=provider.url, uses=[use("http://127.0.0.1:1", "a")]) as at:
        await ask(at, "/v1/chat/completions", authorization="Bearer sk-own")
        assert (await last_record(at))[0] == "passthrough"
        refusal = await ask(at, authorization="Bearer sk-own", msl_account="a")
        assert refusal.status_code == 403
        spooled = b"".join(path.read_bytes() for path in (home / "spool").iterdir())
    assert provider.seen[0].header(b"authorization") == [b"Bearer sk-own"]
    assert b"sk-own" not in spooled


class Renews:
    """Gives these tokens, or fails with this."""

    def __init__(self, outcome: OAuth | RenewalFailed) -> None:
        self.outcome = outcome
        self.asked = 0

    async def renewed(self, _: str, __: OAuth) -> OAuth:
        self.asked += 1
        if isinstance(self.outcome, RenewalFailed):
            raise self.outcome
        return self.outcome


TOKENS = OAuth("refresh", "https://id.example/token", "client")


async def test_tokens_that_are_over_are_renewed_before_the_call(home: Path, provider: Standin) -> None:
    fresh = OAuth("r2", TOKENS.token_url, "client", None, "fresh-token", datetime.now(UTC) + timedelta(hours=1))
    renews = Renews(fresh)
    uses = [Use("a", 1, Offer("a", "anthropic"), provider.url, TOKENS)]
    async with gate(home, uses=uses, renewing=renews) as at:
        await until(lambda: renews.asked > 0)
        at.directory.away, before = True, renews.asked  # from now on only calls ask
        for _ in range(2):
            assert (await ask(at, anthropic_beta="one")).status_code == 200
        assert renews.asked == before + 1
    assert [seen.header(b"authorization") for seen in provider.seen] == [[b"Bearer fresh-token"]] * 2
    assert provider.seen[0].header(b"anthropic-beta") == [b"one", b"oauth-2025-04-20"]
    assert not provider.seen[0].header(b"x-api-key")


async def test_a_renewal_that_fails_is_401_in_the_wires_shape(home: Path, provider: Standin) -> None:
    failed = RenewalFailed("invalid_grant", "revoked", is_final=True)
    uses = [Use("a", 1, Offer("a", "anthropic"), provider.url, TOKENS)]
    async with gate(home, uses=uses, renewing=Renews(failed)) as at:
        refusal = await ask(at)
        assert (refusal.status_code, refusal.json()["error"]["type"]) == (401, "authentication_error")
        assert "invalid_grant" in refusal.json()["error"]["message"]
        assert (await last_record(at))[2].error_type == "authentication_error"
    assert json.dumps("refresh") not in refusal.text
    assert not provider.seen
