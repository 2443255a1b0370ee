"""Disks that are really full, in a whole installation: clean refusals, nothing acknowledged lost, back by itself.

Database, spool and workspaces each lie on a small file system of their own. As an ordinary user, who may mount
nothing, none of this runs.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import httpx2
import psycopg
import pytest

from conftest import short_home
from disks import fill, small_disk
from faults.installation import raworc_up
from faults.ledger import Ledger, settle, violations
from faults.load import Load, working
from raworc.client import Raworc
from raworc.client.errors import Unavailable, Unreachable
from raworc.settings import Settings
from raworc.supervisor.cluster import url_at

MARK_MB = 24
AGENTS = [f"crowded-{number}" for number in range(2)]
MEBIBYTE = 1_048_576
_BACK_S = 30.0
_SETTLE_S = 60.0

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def installed() -> Iterator[tuple[Raworc, Settings]]:
    with short_home() as home, ExitStack() as stack:
        for name, size_mb, mode in (("pg", 224, 0o711), ("spool", 64, 0o700), ("sessions", 96, 0o711)):
            (home / name).mkdir(mode=mode)
            (home / name).chmod(mode)
            stack.enter_context(small_disk(size_mb, home / name))
        settings = Settings(home=home, disk_free_mb=MARK_MB, ballast_mb=16)
        client = stack.enter_context(raworc_up(settings))
        for agent in AGENTS:
            client.agents.create(agent)
        yield client, settings


def until(holds: Callable[[], bool], what: str, *, deadline_s: float = _BACK_S) -> None:
    ends = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < ends, what
        time.sleep(0.05)


def is_refused(client: Raworc) -> bool:
    try:
        client.agents.create("one-more")
    except (Unavailable, Unreachable):
        return True
    client.agents.delete("one-more")
    return False


def is_served(client: Raworc) -> bool:
    with suppress(Unavailable, Unreachable):
        return client.health().storage == "ok"
    return False


def test_workspaces_that_fill_their_disk(installed: tuple[Raworc, Settings]) -> None:
    client, settings = installed
    agent = AGENTS[0]
    greedy = "```bash\ni=0; while head -c 1M /dev/zero > fill$i; do i=$((i+1)); sleep 0.02; done; echo over\n```"
    said = client.responses.ask(agent, greedy).output_content[0]["content"]
    assert "out of disk space" in said
    assert os.statvfs(settings.sessions_dir).f_bavail > 0
    with pytest.raises(Unavailable, match=r"disk has \d+ MiB left and new work needs 24"):
        client.responses.create(agent, "more")
    for refused in (
        lambda: client.files.write(agent, "more", b"more"),
        lambda: client.agents.remix(agent, "one-more"),
    ):
        with pytest.raises(Unavailable, match="new work needs 24"):
            refused()
    assert client.health().storage == "low"
    filler = fill(settings.sessions_dir)
    assert client.agents.get(agent).name == agent
    for entry in client.files.list(agent, limit=1000).entries:
        client.files.delete(agent, entry.name)
    filler.unlink()
    assert client.responses.ask(agent, "```bash\necho fine > x; cat x\n```").output_content[0]["content"] == "fine"
    assert is_served(client)


def test_a_spool_that_is_full(installed: tuple[Raworc, Settings]) -> None:
    client, settings = installed
    turn = client.responses.create(AGENTS[0], "```bash\nsleep 1; echo one\n```\n```bash\necho two\n```")
    filler = fill(settings.spool_dir)
    call = {"model": "scripted", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}
    headers = {"authorization": f"Bearer {client.login('admin', 'admin').token}", "anthropic-version": "2023-06-01"}

    def status() -> int:
        return httpx2.post(f"{client.base_url}/v1/messages", json=call, headers=headers).status_code

    until(lambda: status() == 529, "a model call that cannot be recorded is refused")
    assert is_refused(client)
    until(lambda: len(client.responses.get(AGENTS[0], turn.id).segments) > 1, "the running tool ends")
    assert not client.responses.get(AGENTS[0], turn.id).is_settled
    filler.unlink()
    until(lambda: status() == 200, "model calls are served again")
    until(lambda: client.responses.get(AGENTS[0], turn.id).is_settled, "the turn goes on")
    assert client.responses.get(AGENTS[0], turn.id).status == "completed"
    until(lambda: len(client.requests.of_response(AGENTS[0], turn.id).requests) >= 3, "its calls are recorded")


def test_a_database_that_cannot_write_its_log(installed: tuple[Raworc, Settings], tmp_path: Path) -> None:
    client, settings = installed
    pg = settings.home / "pg"
    until((pg / "ballast").exists, "the ballast is made")
    with closing(Ledger(tmp_path / "acknowledged")) as ledger:
        load = Load(ledger)
        with working(load, client, AGENTS):
            assert load.wait_for_progress(deadline_s=_BACK_S)
            fillers = [fill(pg, name="one")]
            until(lambda: not (pg / "ballast").exists(), "the ballast is let go")
            assert is_refused(client)
            assert client.health().database == "connected"
            until(lambda: load.refused > 0, "those who work are refused, once what they asked for before is done")
            fillers.append(fill(pg, name="two"))
            exhaust(url_at(settings.postgres_socket_dir))
            until(lambda: is_refused(client), "a database without room is said to be away")
            assert httpx2.get(f"{client.base_url}/livez").status_code == 200
            for filler in fillers:
                filler.unlink()
            until(lambda: is_served(client), "the database comes back by itself")
            done = load.completed
            while load.completed < done + len(AGENTS):
                assert load.wait_for_progress(deadline_s=_BACK_S), "work goes on"
        settle(client, ledger, deadline_s=_SETTLE_S)
        assert load.refusals == []
        assert load.refused
        assert violations(client, ledger) == []
        assert ledger.promises()
    assert "PANIC" in (settings.logs_dir / "postgres.log").read_text(errors="replace")
    until((pg / "ballast").exists, "the ballast is made again")


def exhaust(url: str) -> None:
    """Write to Postgres' log until it has no room, which makes it stop."""
    with pytest.raises(psycopg.Error), psycopg.connect(url, autocommit=True) as conn:
        for _ in range(100):
            conn.execute("SELECT pg_logical_emit_message(false, 'fault', repeat('x', 4 * 1024 * 1024))")
