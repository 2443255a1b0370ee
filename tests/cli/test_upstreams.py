"""Providers' accounts on the command line: what is typed in secret is shown nowhere."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import psycopg
import pytest

from cluster import clone, drop
from conftest import short_home
from raworc.client import Raworc
from raworc.settings import DEFAULT_PASSWORD, Settings
from raworc.supervisor.cluster import Cluster
from stack import Stack
from terminal import Shell
from threaded import Asked, Said, threaded
from waiting import until_sync

KEY = "sk-ant-canary-5512"
PROVIDED = "sk-ant-canary-of-the-environment"


@pytest.fixture(scope="module")
def person(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Logged in to a server of its own: which upstreams there are decides whom everybody's calls go to."""
    name, path = clone(postgres), tmp_path_factory.mktemp("person") / "credentials.json"
    person = Shell({"PATH": os.environ["PATH"], "RAWORC_CREDENTIALS": str(path)})
    with short_home() as folder:
        chosen = Settings(
            home=folder,
            database_url=postgres.url(name),
            anthropic_api_key=PROVIDED,
            ollama_host="127.0.0.1:11434",
        )
        running = Stack(chosen)
        try:
            running.start("server", "server-2")
            person.here("login", "--url", running.url, "--password-stdin", typed=f"{DEFAULT_PASSWORD}\n")
            person.env |= {"RAWORC_URL": running.url, "RAWORC_DATABASE_URL": chosen.database_url}
            yield person
            assert PROVIDED not in "".join(log.read_text() for log in Path(folder).rglob("*.log"))
        finally:
            running.close()
            drop(postgres, name)


def test_those_of_the_environment_are_listed_and_stay_as_they_are(person: Shell):
    listed = {item["name"]: item for item in json.loads(person.here("upstreams", "list", "--json"))}
    assert {name: item["provider"] for name, item in listed.items()} == {"anthropic": "anthropic", "ollama": "custom"}
    assert "11434" in listed["ollama"]["base_url"]
    assert PROVIDED not in person.here("upstreams", "list")
    assert "raworc: " in person.here("upstreams", "delete", "anthropic", code=1)


def test_one_is_made_shown_changed_and_deleted(person: Shell):
    made = person.here(
        *("upstreams", "create", "team", "--provider", "anthropic", "--model", "claude-*", "--space", "default"),
        "--credential-stdin",
        typed=f"{KEY}\n",
    )
    shown = json.loads(person.here("upstreams", "show", "team", "--json"))
    assert (shown["models"], shown["spaces"]) == (["claude-*"], ["default"])
    changed = person.here("upstreams", "update", "team", "--every-model", "--every-space", "--default")
    after = json.loads(person.here("upstreams", "show", "team", "--json"))
    assert (after["models"], after["spaces"], after["default"]) == ([], None, True)
    told = made + changed + str(shown) + str(after) + person.here("upstreams", "list")
    assert KEY not in told
    assert "team" in told
    assert "raworc: " in person.here("upstreams", "refresh", "team", code=1), "a key is no OAuth token"
    assert person.here("upstreams", "delete", "team") == "Deleted upstream 'team'.\n"
    assert "team" not in person.here("upstreams", "list")


def test_what_cannot_be_is_told(person: Shell):
    assert "nothing to change" in person.here("upstreams", "update", "anthropic", code=1)
    create = ("upstreams", "create", "other", "--provider", "openai")
    assert "use '--credential-stdin' or '--no-credential'" in person.here(*create, code=1)
    assert "raworc: " in person.here(*create, "--no-credential", "--base-url", "ftp://x", code=1)


def test_two_servers_renew_oauth_tokens_once(person: Shell):
    """Many token endpoints take a refresh token once: the second server must wait for what the first is given."""

    def another_waits() -> bool:
        with psycopg.connect(person.env["RAWORC_DATABASE_URL"]) as conn:
            found = conn.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone()
        return found[0] > 0

    def answer(asked: Asked) -> Said:
        if asked.path == "/token":
            until_sync(another_waits)
            return "application/json", b'{"access_token": "access-1", "refresh_token": "refresh-1", "expires_in": 3600}'
        return "application/json", b'{"choices": []}'

    url = person.env["RAWORC_URL"]
    with threaded(answer) as provider, Raworc(url) as client, ThreadPoolExecutor(12) as threads:
        headers = {"authorization": f"Bearer {client.login('admin', DEFAULT_PASSWORD).token}"}
        tokens = {"refresh_token": "refresh-0", "token_url": f"{provider.url}/token", "client_id": "c"}
        upstream = client.upstreams.create(
            "pool", "custom", base_url=provider.url, models=["pool-*"], credential={"type": "oauth", **tokens}
        )

        def call(_: int) -> int:
            body = {"model": "pool-1", "messages": []}
            return httpx2.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=30).status_code

        until_sync(lambda: call(0) == 200)
        assert set(threads.map(call, range(24))) == {200}
        client.upstreams.delete(upstream.id)
    assert len(provider.at("/token")) == 1
    assert {asked.headers["authorization"] for asked in provider.at("/v1/chat/completions")} == {"Bearer access-1"}
