"""Secrets, passwords and tokens go in by every path, and are then searched for wherever anything is kept.

What the owner has a command print is his own output: it stays in what shows and repeats that output, which is his
alone (segments, steps), and is nowhere else. What is said in the body of a model call, keys and secrets included,
is spooled as it came, in files that only the server reads, for as long as it takes to record it struck out.
"""

import json
import time
import uuid
from collections.abc import Iterator

import httpx2
import psycopg
import pytest
from psycopg import sql

from e2e.plain import ask, bash, recorded, wait_state
from stack import Stack

OUTPUT = {"segments", "steps", "turns"}
"""What holds what a command printed, as its owner is shown it."""
JSON = {"content-type": "application/json"}
_RECORDED_S = 15.0


def canary(kind: str) -> str:
    return f"canary-{kind}-{uuid.uuid4().hex}"


def places(stack: Stack, words: list[str]) -> set[tuple[str, str]]:
    """(table or file, word) of every hit: all tables, text and binary, and all files but workspaces and keys."""
    found: set[tuple[str, str]] = set()
    with psycopg.connect(str(stack.settings.database_url)) as conn:
        tables = conn.execute(
            "SELECT schemaname, tablename FROM pg_tables"
            " WHERE schemaname NOT LIKE 'pg\\_%' AND schemaname != 'information_schema'"
        ).fetchall()
        for schema, table in tables:
            query = sql.SQL("SELECT count(*) FROM {} t WHERE strpos(t::text, %s) > 0 OR strpos(t::text, %s) > 0")
            name = sql.Identifier(schema, table)
            for word in words:
                row = conn.execute(query.format(name), (word, word.encode().hex())).fetchone()
                if row and row[0]:
                    found.add((table, word))
    home = stack.settings.home
    for folder in (stack.settings.logs_dir, stack.settings.spool_dir, stack.settings.run_dir):
        for path in (path for path in folder.rglob("*") if path.is_file()):
            content = path.read_bytes()
            found |= {(str(path.relative_to(home)), word) for word in words if word.encode() in content}
    return found


class Listening:
    """A client that keeps every answer whole, head and body."""

    def __init__(self, url: str) -> None:
        self.heard: list[bytes] = []
        self.http = httpx2.Client(base_url=url, timeout=60, trust_env=False, event_hooks={"response": [self._hear]})

    def _hear(self, answer: httpx2.Response) -> None:
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self.heard.append(head.encode() + answer.read())

    def echoes(self, words: list[str]) -> list[str]:
        return [word for word in words if any(word.encode() in answer for answer in self.heard)]


@pytest.fixture
def person(steady_stack: Stack, login: str) -> Iterator[Listening]:
    listening = Listening(steady_stack.url)
    listening.http.headers["authorization"] = f"Bearer {login}"
    yield listening
    listening.http.close()


def use_secrets(http: httpx2.Client, agent: str, words: dict[str, str]) -> None:
    """Agents' secrets, and a space's: taken, refused, used by setup and commands without being printed."""
    secrets = {"CANARY": words["secret"]}
    shared = a_space(http, agent, words["shared"])
    assert http.put(f"{shared}/SHARED", json={"value": words["refused"] * 2000}).status_code == 400
    assert http.get(f"{shared}?show_values=maybe").status_code == 400
    setup = 'test "$CANARY" && printf %s "$CANARY$SHARED" | sha256sum'
    made = {"name": agent, "secrets": secrets, "setup": setup, "space": agent}
    assert http.post("/api/v0/agents", json=made).status_code == 200
    assert http.post("/api/v0/agents", json={"name": agent, "secrets": secrets}).status_code == 409
    for bad in ({"1x": words["refused"]}, {"X": [words["refused"]]}, {"X": words["refused"] * 2000}, words["refused"]):
        assert http.post("/api/v0/agents", json={"name": f"{agent}-x", "secrets": bad}).status_code == 400
    wait_state(http, agent, "idle")
    said = ask(
        http, agent, bash('test "$SHARED" && echo there; echo "$CANARY$SHARED" | wc -c; cat /proc/1/environ | wc -c')
    )
    assert "there" in json.dumps(said)


def a_space(http: httpx2.Client, name: str, value: str) -> str:
    """The path of a new space's secrets, of which `SHARED` is one."""
    path = f"/spaces/api/v0/spaces/{name}/secrets"
    assert http.post("/spaces/api/v0/spaces", json={"name": name}).status_code == 200
    assert http.post(path, json={"key_name": "SHARED", "value": value}).status_code == 200
    assert http.post(path, json={"key_name": "SHARED", "value": value}).status_code == 409
    return path


def use_passwords(http: httpx2.Client, account: str, words: dict[str, str]) -> tuple[str, str]:
    """Passwords: set, wrong, right, changed, typed where a name belongs, in bodies that cannot be read.

    A token that ended, and one that holds.
    """
    operator, login_path = f"/api/v0/operators/{account}", f"/api/v0/operators/{account}/login"
    assert http.post("/api/v0/operators", json={"user": account, "pass": words["pass"]}).status_code == 200
    assert http.post("/api/v0/operators", json={"user": account, "pass": words["pass"]}).status_code == 409
    assert http.post("/api/v0/operators", json={"user": "a b", "pass": words["pass"]}).status_code == 400
    assert http.post(login_path, json={"pass": words["wrong"]}).status_code == 401
    assert http.post("/api/v0/auth/login", json={"user": words["name"], "pass": words["wrong"]}).status_code == 401
    assert http.post(login_path, json={"pass": [words["wrong"]]}).status_code == 400
    token = http.post(login_path, json={"pass": words["pass"]}).json()["token"]
    broken = f'{{"pass": "{words["broken"]}", "ttl_hours": '
    for content in (broken, broken + "}", f'"{words["broken"]}"', words["broken"]):
        assert http.post(login_path, content=content, headers=JSON).status_code == 400
        assert http.post("/api/v0/agents", content=content, headers=JSON).status_code == 400
    change = {"current_password": words["wrong"], "new_password": words["next"]}
    assert http.put(f"{operator}/password", json=change).status_code == 401
    assert http.put(f"{operator}/password", json={**change, "current_password": words["pass"]}).status_code == 200
    minted = http.post("/api/v0/auth/token", json={"principal": account, "type": "User"}).json()["token"]
    return token, minted


def use_tokens(http: httpx2.Client, token: str, minted: str, words: dict[str, str]) -> None:
    """Tokens: where they belong, and where they do not."""
    assert http.get(f"/api/v0/agents?token={words['query']}").status_code == 200
    for spoilt in (token, f"{minted}x", words["wrong"]):
        assert http.get("/api/v0/auth", headers={"authorization": f"Bearer {spoilt}"}).status_code == 401
    call = {"model": "scripted", "max_tokens": 9, "messages": [{"role": "user", "content": f"a key: {minted}"}]}
    hidden = {"authorization": f"Bearer {minted}", "cookie": f"session={words['wrong']}", "x-api-key": minted}
    assert http.post("/v1/messages", json=call, headers=hidden).status_code == 200
    assert http.post("/v1/messages", json=call, headers={"authorization": f"Bearer {minted}x"}).status_code == 401


def test_what_is_secret_is_kept_nowhere(steady_stack: Stack, person: Listening, login: str):
    http, agent, account = person.http, f"canary-{uuid.uuid4().hex[:8]}", f"canary.{uuid.uuid4().hex[:8]}"
    words = {
        kind: canary(kind)
        for kind in ("secret", "shared", "refused", "pass", "next", "wrong", "name", "broken", "query")
    }

    use_secrets(http, agent, words)
    token, minted = use_passwords(http, account, words)
    use_tokens(http, token, minted, words)
    recorded(http, f"/api/v0/agents/{agent}/requests", at_least=1)
    for path in steady_stack.settings.spool_dir.iterdir():
        assert path.stat().st_mode & 0o077 == 0
    _all_recorded(steady_stack)
    assert places(steady_stack, [*words.values(), login, token, minted]) == set()
    assert person.echoes([*words.values(), login]) == []
    assert http.delete(f"/api/v0/agents/{agent}").status_code == 200
    assert http.delete(f"/api/v0/operators/{account}").status_code == 200


def test_what_its_owner_prints_is_where_he_sees_it_and_nowhere_else(
    steady_stack: Stack, person: Listening, public: httpx2.Client
):
    http, agent, word, shared = person.http, f"canary-{uuid.uuid4().hex[:8]}", canary("printed"), canary("shared")
    a_space(http, agent, shared)
    made = http.post("/api/v0/agents", json={"name": agent, "secrets": {"CANARY": word}, "space": agent})
    assert made.status_code == 200
    wait_state(http, agent, "idle")
    said = json.dumps(ask(http, agent, bash("echo $CANARY $SHARED")))
    assert word in said
    assert shared in said
    recorded(http, f"/api/v0/agents/{agent}/requests", at_least=2)
    _all_recorded(steady_stack)

    assert {place for place, _ in places(steady_stack, [word, shared])} <= OUTPUT
    assert not any(hidden in http.get(f"/api/v0/agents/{agent}/requests").text for hidden in (word, shared))
    assert word not in http.get("/api/v0/agents").text
    assert public.get(f"/api/v0/agents/{agent}/responses").status_code == 401
    assert http.delete(f"/api/v0/agents/{agent}").status_code == 200


def _all_recorded(stack: Stack) -> None:
    """Return when the files that the spool consists of now are gone: loaded, or empty and turned over."""
    spool = stack.settings.spool_dir
    used = {path for path in spool.iterdir() if path.stat().st_size}
    ends = time.monotonic() + _RECORDED_S
    while used & set(spool.iterdir()):
        assert time.monotonic() < ends
        time.sleep(0.05)
