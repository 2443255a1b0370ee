"""A place with repositories, and operators that make agents of them, in the test's own event loop."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from gate import DOOR_KEY
from raworc.ids import WorkerId, new_id
from raworc.operator.building import BuildRules
from raworc.operator.builds import Builder
from raworc.sandbox.bubblewrap import Places
from raworc.sandbox.driver import Limits
from raworc.sandbox.spawner import Spawner
from raworc.sandbox.workbench import Workbench
from raworc.services.accounts import Accounts, Caller
from raworc.services.build_work import BuildWork
from raworc.services.builds import BuildRow, Builds
from raworc.services.code_agents import CodeAgent, CodeAgents
from raworc.services.tokens import Tokens
from raworc.settings import Settings
from raworc.store import accounts as account_rows
from raworc.store import built_agents
from raworc.store.built_agents import BuiltAgentRow
from raworc.store.database import Database
from raworc.store.notify import BUILDS, Listener
from waiting import until

SPACE = "default"
PYTHON = {"main.py": "def process_message(message, context):\n    return message.upper()\n"}
NODE = {"index.js": "exports.processMessage = async (message) => message\n"}
RULES = BuildRules("https://github.com", files=True, clone_timeout_s=20, timeout_s=60, limits=Limits(disk_mb=64))
BRIEF = replace(RULES, timeout_s=4, limits=Limits(disk_mb=64, pids=64, cpus=0.5))


@dataclass
class Yard:
    """Where repositories lie and what builds them."""

    settings: Settings
    db: Database
    workbench: Workbench
    admin: Caller
    repos: Path

    @property
    def agents(self) -> CodeAgents:
        return CodeAgents(self.db, files=True)

    @property
    def folder(self) -> Path:
        return self.settings.builds_dir

    def repo(self, files: dict[str, str], name: str = "repo") -> Path:
        """A repository with one commit."""
        return repository(self.repos / name, files)

    def commit(self, folder: Path, files: dict[str, str]) -> Path:
        return repository(folder, files)

    async def add(self, folder: Path, name: str = "agent", **fields: str) -> None:
        await self.agents.create(self.admin, SPACE, CodeAgent(name, source_repo=f"file://{folder}", **fields))

    async def latest(self) -> BuildRow:
        return await Builds(self.db).latest(self.admin, SPACE)

    async def built(self) -> list[BuiltAgentRow]:
        async with self.db.reading() as conn:
            return await built_agents.of_space(conn, SPACE)

    @asynccontextmanager
    async def builder(self, rules: BuildRules = RULES, worker: WorkerId | None = None) -> AsyncIterator[Builder]:
        """One that builds until the block ends."""
        stop = asyncio.Event()
        work = BuildWork(self.db, worker or WorkerId(new_id()), "here", lambda _: True)
        async with Listener(self.db.url, [BUILDS]) as listener:
            made = Builder(work, self.workbench, rules, listener, keep_s=0)
            running = asyncio.create_task(made.run(stop))
            try:
                yield made
            finally:
                stop.set()
                await running

    async def settled(self) -> BuildRow:
        async def is_settled() -> bool:
            return (await self.latest()).status in {"completed", "failed"}

        await until(is_settled, limit_s=60)
        return await self.latest()

    async def built_once(self, folder: Path, rules: BuildRules = RULES) -> BuildRow:
        """What comes of one agent's repository; nothing of the making is left."""
        await self.add(folder)
        async with self.builder(rules):
            build = await self.settled()
        left = list((self.folder / "work").iterdir()) if (self.folder / "work").is_dir() else []
        assert left == []
        assert not list(self.folder.glob(".*"))
        return build


def repository(folder: Path, files: dict[str, str]) -> Path:
    """A repository there, with one more commit."""
    if not folder.exists():
        folder.mkdir(parents=True)
        git(folder, "init", "--quiet", "--initial-branch", "main")
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "m")
    return folder


def git(folder: Path, *arguments: str) -> str:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    whom = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-c", "protocol.file.allow=always", "-C", str(folder), *arguments]
    return subprocess.run(command, env=env | whom, check=True, capture_output=True, text=True).stdout


@asynccontextmanager
async def building(settings: Settings, db: Database) -> AsyncIterator[Yard]:
    async with AsyncExitStack() as stack:
        spawner = Spawner.fork(settings.run_dir)
        stack.callback(spawner.close)
        tokens = Tokens(b"k" * 32)
        accounts = Accounts(db, tokens)
        stack.callback(accounts.close)
        async with db.reading() as conn:
            account = await account_rows.by_name(conn, "admin")
        token, _ = tokens.login(account.id, account.version, "spaces", ttl_s=600)
        bench = Workbench(Places.of(settings), spawner, DOOR_KEY, settings.builds_dir)
        yield Yard(settings, db, bench, await accounts.authenticate(token), settings.home / "repos")
