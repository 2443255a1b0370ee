"""One code agent, made from its repository: clone, read what it says of itself, install, keep what came of it.

Everything that touches the repository runs in a sandbox without secrets. Whatever goes wrong there is a reason in
the build's log.
"""

import asyncio
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from raworc.domain.builds import LOG_HALF, Origin, origin_of
from raworc.domain.egress import Reach
from raworc.domain.manifests import MANIFEST, PACKAGE, PYPROJECT, Manifest, Step, Unbuildable, read_manifest, steps
from raworc.ids import SessionId
from raworc.sandbox.driver import (
    Command,
    Exit,
    FileError,
    Limits,
    NoSuchFile,
    Output,
    SandboxDied,
    SandboxError,
    SandboxSpec,
    Workspace,
)
from raworc.sandbox.egress import PROXY_URL
from raworc.sandbox.results import Kept, Unkeepable
from raworc.sandbox.workbench import Bench, Workbench
from raworc.services.build_work import BuildHold, BuiltAgent, CodeAgentRow

CODE: Final = "code"
_ORIGIN: Final = "origin"
_GIT: Final = ".git"
_MAX_NAMES: Final = 10_000
_MAX_READ_BYTES: Final = 1_048_576
_ENV: Final = {
    "HOME": "/agent/home",
    "NO_COLOR": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), PROXY_URL),
    "NODE_EXTRA_CA_CERTS": "/etc/ssl/certs/ca-certificates.crt",
}
_GIT_ENV: Final = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/agent/gitconfig",  # an environment of options would not reach what reads the repository
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "GIT_ALLOW_PROTOCOL": "file:https:http",
    "GIT_LFS_SKIP_SMUDGE": "1",
}
_GIT_CONFIG: Final = """\
[safe]
directory = *
[core]
hooksPath = /dev/null
fsmonitor = false
[submodule]
recurse = false
[gc]
auto = 0
[advice]
detachedHead = false
[http]
lowSpeedLimit = 1
lowSpeedTime = 30
"""


@dataclass(frozen=True)
class BuildRules:
    """How code agents are built here. ``files``: folders of this machine may be cloned.

    ``reach``: hosts of packages and of ``git_base``; ``env``: where pip and npm find their packages.
    """

    git_base: str
    files: bool
    clone_timeout_s: float
    timeout_s: float
    limits: Limits
    reach: Reach = field(default_factory=Reach)
    env: Mapping[str, str] = field(default_factory=dict[str, str])


class BuildLog:
    """What a build says, its beginning and its end where it says much. ``changed`` since somebody kept it last."""

    def __init__(self) -> None:
        self._head = ""
        self._tail = ""
        self._left_out = 0
        self.changed = False

    @property
    def text(self) -> str:
        """All of it that is kept."""
        gap = f"\n[... {self._left_out} characters left out ...]\n" if self._left_out else ""
        return self._head + gap + self._tail

    def say(self, line: str) -> None:
        """One line, that begins a line."""
        self.add(f"{line}\n" if not (self._tail or self._head) or self._ends else f"\n{line}\n")

    def add(self, text: str) -> None:
        """More of the present line, or lines."""
        room = LOG_HALF - len(self._head) if not self._tail else 0
        self._head += text[:room]
        self._tail += text[room:]
        self._left_out += max(0, len(self._tail) - LOG_HALF)
        self._tail = self._tail[-LOG_HALF:]
        self.changed = True

    @property
    def _ends(self) -> bool:
        return (self._tail or self._head).endswith("\n")


class Building:
    """The making of one agent."""

    def __init__(self, workbench: Workbench, rules: BuildRules, hold: BuildHold, log: BuildLog) -> None:
        self._workbench = workbench
        self._rules = rules
        self._hold = hold
        self._log = log
        self._latest = 0.0

    async def run(self, agent: CodeAgentRow) -> tuple[BuiltAgent, Kept]:
        """What came of it, and a lock on its files that the caller closes.

        Raises:
            Unbuildable: the repository, or what it asks for, does not do.
            SandboxError: a failure of our own.
        """
        origin = self._origin(agent)
        self._latest = time.monotonic() + self._rules.timeout_s
        try:
            async with self._workbench.opened(self._spec(origin)) as bench:
                commit = await self._clone(bench, origin, agent.source_branch)
                manifest = await self._install(bench)
                await bench.close()
                kept = await bench.keep(CODE, self._workbench.results, (_GIT,))
        except (Unkeepable, SandboxDied) as error:
            raise Unbuildable(str(error)) from error
        made = BuiltAgent(
            agent_id=agent.id,
            digest=kept.digest,
            runtime=manifest.runtime,
            handler=manifest.handler,
            description=manifest.description,
            purpose=manifest.purpose,
            commit=commit,
        )
        return made, kept

    def _origin(self, agent: CodeAgentRow) -> Origin:
        origin = origin_of(agent.source_repo, self._rules.git_base)
        if origin is None:
            raise Unbuildable(f"'{agent.source_repo}' takes a key, which builds do not have: use an https address")
        if origin.folder is not None and not self._rules.files:
            raise Unbuildable("Folders of this machine may not be cloned: see RAWORC_ALLOW_FILE_REPOS")
        return origin

    def _spec(self, origin: Origin) -> SandboxSpec:
        held, limits = self._hold.held, self._rules.limits
        workspace = Workspace(SessionId(held.id), self._hold.number, limits.disk_mb)  # no session has this id
        reach = self._rules.reach.and_public(origin.host, origin.port)
        return SandboxSpec(workspace, held.epoch, limits=limits, reach=reach)

    async def _clone(self, bench: Bench, origin: Origin, branch: str | None) -> str:
        """Have the code in ``/agent/code``; its commit."""
        url = origin.url
        if origin.folder is not None:
            await bench.bring(await asyncio.to_thread(_repository, Path(origin.folder)), _ORIGIN)
            url = f"file:///agent/{_ORIGIN}"
        self._log.say(f"Cloning {origin.url}{f' ({branch})' if branch else ''}")
        wanted = f"--branch {shlex.quote(branch)} " if branch else ""
        clone = f"git clone --quiet --depth 1 --no-tags --template= {wanted}-- {shlex.quote(url)} {CODE}"
        has_git = "command -v git > /dev/null || { echo 'git is not installed on the server: install it'; exit 127; }"
        script = f"{has_git}\nmkdir -p home && printf %s {shlex.quote(_GIT_CONFIG)} > gitconfig && {clone}"
        await self._run(bench, Command(script, self._left(self._rules.clone_timeout_s), env=_ENV | _GIT_ENV), "clone")
        asked = Command(f"git -C {CODE} rev-parse HEAD", self._left(30.0), env=_ENV | _GIT_ENV)
        said, end = await _captured(bench, asked)
        if end.code != 0 or end.reason != "exited":
            raise Unbuildable("The repository is empty: it has no commit")
        return said.strip()[:64]

    async def _install(self, bench: Bench) -> Manifest:
        files = await asyncio.to_thread(_Read, bench)
        manifest = read_manifest(files.content(MANIFEST), files.exists)
        self._log.say(f"Runtime {manifest.runtime}, handler {manifest.handler}")
        for step in steps(manifest, files.names, files.content(PYPROJECT), files.content(PACKAGE)):
            self._log.say(f"Running: {step.title}")
            await self._step(bench, step)
        return manifest

    async def _step(self, bench: Bench, step: Step) -> None:
        script = f"cd {CODE} || exit\n{step.script}"
        await self._run(bench, Command(script, self._left(), env={**_ENV, **self._rules.env}), step.title)

    async def _run(self, bench: Bench, command: Command, title: str) -> None:
        """Run it, its output into the log.

        Raises:
            Unbuildable: it did not do what it should.
        """
        async for event in bench.sandbox.run(command):
            if isinstance(event, Output):
                self._log.add(event.data.decode("utf-8", "replace"))
                continue
            reason = _failure(event, command, self._rules.limits)
            if reason is not None:
                for host in bench.sandbox.refused_hosts:
                    self._log.say(f"Not reached: {host}")
                raise Unbuildable(f"'{title}' {reason}")

    def _left(self, most: float = float("inf")) -> float:
        left = self._latest - time.monotonic()
        if left <= 0:
            raise Unbuildable(f"It was not built within {self._rules.timeout_s:g} s")
        return min(left, most)


class _Read:
    """The root of the code as it was cloned. Blocking."""

    def __init__(self, bench: Bench) -> None:
        self._files = bench.files
        self.names = {entry.name for entry in self._files.list(CODE, 0, _MAX_NAMES).entries}

    def exists(self, path: str) -> bool:
        """Whether a file of this path is there."""
        try:
            return self._files.stat(f"{CODE}/{path}").kind in {"file", "symlink"}
        except FileError:
            return False

    def content(self, name: str) -> bytes | None:
        """A small file's bytes; None where it is not there."""
        try:
            if self._files.stat(f"{CODE}/{name}").size_bytes > _MAX_READ_BYTES:
                raise Unbuildable(f"'{name}' has more than {_MAX_READ_BYTES} bytes")
            return self._files.read(f"{CODE}/{name}")
        except NoSuchFile:
            return None
        except FileError as error:
            raise Unbuildable(f"'{name}' cannot be read: {error}") from error


async def _captured(bench: Bench, command: Command) -> tuple[str, Exit]:
    said = bytearray()
    async for event in bench.sandbox.run(command):
        if isinstance(event, Exit):
            return said.decode("utf-8", "replace"), event
        said += event.data
    raise SandboxError("The command has no end")


def _repository(folder: Path) -> Path:
    """Where a folder of this machine has its repository.

    Raises:
        Unbuildable: it has none.
    """
    found = folder.resolve()
    inside = found / _GIT
    place = inside if inside.is_dir() else found
    if not ((place / "HEAD").is_file() and (place / "objects").is_dir()):
        raise Unbuildable(f"'{folder}' is no git repository on this machine")
    return place


def _failure(end: Exit, command: Command, limits: Limits) -> str | None:
    match end.reason:
        case "timeout":
            return f"did not end within {command.timeout_s:.0f} s"
        case "disk":
            return f"needs more than {limits.disk_mb} MiB of disk"
        case "memory":
            return f"needs more than {limits.memory_mb} MiB of memory"
        case _:
            met = f" ({end.met})" if end.met else ""
            return None if end.code == 0 else f"ended with status {end.code}{met}"
