"""Every setting, read once from the environment and frozen. No other module reads the environment."""

import hashlib
import ipaddress
import os
import pwd
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from raworc.errors import BadRequest

DEFAULT_PASSWORD = "admin"  # noqa: S105  the documented first password, refused off loopback
_LONGEST_SOCKET_DIR = 80  # bytes; a socket's whole path has 107


@dataclass(frozen=True)
class Settings:
    """The parts list's numbers and names. Units stand in the names."""

    home: Path
    host: str = "127.0.0.1"
    port: int = 9000
    workers: int = 1
    database_url: str | None = None
    admin_password: str = field(default=DEFAULT_PASSWORD, repr=False)
    jwt_secret: str | None = field(default=None, repr=False)
    master_key: str | None = field(default=None, repr=False)
    contract: str = "agents"
    default_model: str | None = None
    model_url: str | None = None
    anthropic_api_key: str | None = field(default=None, repr=False)
    anthropic_base_url: str | None = None  # None: the provider's own
    passthrough: bool = True
    record_sync: str = "background"
    uid_base: int = 1_900_000_000
    log_level: str = "info"
    log_format: str = "auto"
    pool_size: int = 8
    body_limit_bytes: int = 1_048_576
    gateway_body_limit_bytes: int = 33_554_432
    header_timeout_s: float = 10.0
    body_idle_timeout_s: float = 60.0
    blocking_timeout_s: float = 900.0
    max_pending_turns: int = 64
    max_queued_per_space: int = 1000
    max_model_calls: int = 200
    drain_timeout_s: float = 30.0
    context_soft_limit_tokens: int = 100_000

    @property
    def run_dir(self) -> Path:
        """Sockets and lock files."""
        return self.home / "run"

    @property
    def socket_dir(self) -> Path:
        """``run_dir``; where its path would make a socket's too long for the kernel, a short one in its place."""
        if len(os.fsencode(self.run_dir)) <= _LONGEST_SOCKET_DIR:
            return self.run_dir
        base = Path("/run") if os.geteuid() == 0 else Path("/tmp")  # noqa: S108  the supervisor makes it safely
        return base / f"raworc-{os.geteuid()}-{hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]}"

    @property
    def postgres_socket_dir(self) -> Path:
        """Where the embedded Postgres, which may be another user, puts its socket."""
        return self.home / "pg" / "socket" if self.socket_dir == self.run_dir else self.socket_dir / "pg"

    @property
    def gateway_socket(self) -> Path:
        """Where sandboxes' doors lead: ``/v1/*`` for sandbox tokens only."""
        return self.socket_dir / "gateway.sock"

    @property
    def model_socket(self) -> Path:
        """Where operators make model calls: ``/v1/*`` for turn tokens only."""
        return self.socket_dir / "model.sock"

    @property
    def node(self) -> str:
        """Names this home on this machine: sessions whose workspace lies here belong to it."""
        return f"{socket.gethostname()}:{self.home}"

    @property
    def logs_dir(self) -> Path:
        """One file a process."""
        return self.home / "logs"

    @property
    def spool_dir(self) -> Path:
        """Write-ahead files of recorded calls."""
        return self.home / "spool"

    @property
    def sessions_dir(self) -> Path:
        """Workspaces, one folder a session."""
        return self.home / "sessions"

    @property
    def is_loopback(self) -> bool:
        """True while only this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


_TEXT = {
    "RAWORC_HOST": "host",
    "RAWORC_DATABASE_URL": "database_url",
    "RAWORC_ADMIN_PASSWORD": "admin_password",
    "RAWORC_JWT_SECRET": "jwt_secret",
    "RAWORC_MASTER_KEY": "master_key",
    "RAWORC_CONTRACT": "contract",
    "RAWORC_DEFAULT_MODEL": "default_model",
    "RAWORC_MODEL_URL": "model_url",
    "RAWORC_RECORD_SYNC": "record_sync",
    "RAWORC_LOG_LEVEL": "log_level",
    "RAWORC_LOG_FORMAT": "log_format",
    "ANTHROPIC_API_KEY": "anthropic_api_key",
    "ANTHROPIC_BASE_URL": "anthropic_base_url",
}
_WHOLE = {
    "RAWORC_PORT": "port",
    "RAWORC_WORKERS": "workers",
    "RAWORC_UID_BASE": "uid_base",
    "RAWORC_POOL_SIZE": "pool_size",
    "RAWORC_MAX_MODEL_CALLS": "max_model_calls",
    "RAWORC_CONTEXT_SOFT_LIMIT_TOKENS": "context_soft_limit_tokens",
    "RAWORC_MAX_PENDING_TURNS": "max_pending_turns",
    "RAWORC_MAX_QUEUED_PER_SPACE": "max_queued_per_space",
}
_SECONDS = {
    "RAWORC_HEADER_TIMEOUT_S": "header_timeout_s",
    "RAWORC_BODY_IDLE_TIMEOUT_S": "body_idle_timeout_s",
    "RAWORC_BLOCKING_TIMEOUT_S": "blocking_timeout_s",
    "RAWORC_DRAIN_TIMEOUT_S": "drain_timeout_s",
}
_SWITCHES = {"RAWORC_PASSTHROUGH": "passthrough"}


@dataclass(frozen=True)
class ClientSettings:
    """What the command line knows before it talks to a server. None: as the credentials file says."""

    credentials: Path
    url: str | None = None
    token: str | None = field(default=None, repr=False)


def read_client_settings(environ: Mapping[str, str] | None = None) -> ClientSettings:
    """``RAWORC_URL``, ``RAWORC_TOKEN`` and ``RAWORC_CREDENTIALS`` (a file, by default below ``~/.config``)."""
    env = os.environ if environ is None else environ
    folder = Path(env.get("XDG_CONFIG_HOME") or Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".config")
    return ClientSettings(
        credentials=Path(env.get("RAWORC_CREDENTIALS") or folder / "raworc" / "credentials.json"),
        url=env.get("RAWORC_URL") or None,
        token=env.get("RAWORC_TOKEN") or None,
    )


def default_home() -> Path:
    """``/var/lib/raworc`` for root, ``~/.raworc`` for everyone else."""
    if os.geteuid() == 0:
        return Path("/var/lib/raworc")
    return Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".raworc"


def read_settings(environ: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """The environment, then ``overrides`` that are not None (the command line's).

    Raises:
        BadRequest: a variable that cannot be read; the message names it.
    """
    env = os.environ if environ is None else environ
    values: dict[str, object] = {name: env[key] for key, name in _TEXT.items() if env.get(key)}
    values |= {name: _number(env[key], key, int) for key, name in _WHOLE.items() if env.get(key)}
    values |= {name: _number(env[key], key, float) for key, name in _SECONDS.items() if env.get(key)}
    values |= {name: _switch(env[key], key) for key, name in _SWITCHES.items() if env.get(key)}
    home = Path(env["RAWORC_HOME"]) if env.get("RAWORC_HOME") else default_home()
    given = {key: value for key, value in overrides.items() if value is not None}
    settings = replace(Settings(home=home), **values)  # pyright: ignore[reportArgumentType]
    settings = replace(settings, **given)  # pyright: ignore[reportArgumentType]
    return replace(settings, home=settings.home.absolute())


def child_environ(settings: Settings) -> dict[str, str]:
    """Our environment for a process of the same installation, so that it reads the same settings.

    The administrator's first password is not passed on: nobody but the start itself needs it.
    """
    spelled = {key: getattr(settings, name) for key, name in (_TEXT | _WHOLE | _SECONDS | _SWITCHES).items()}
    spelled["RAWORC_HOME"] = settings.home
    spelled["RAWORC_ADMIN_PASSWORD"] = None
    ours = {key: str(value) for key, value in spelled.items() if value is not None}
    return {key: value for key, value in os.environ.items() if key not in spelled} | ours


def _number(raw: str, key: str, kind: type[int] | type[float]) -> float:
    try:
        return kind(raw)
    except ValueError:
        raise BadRequest(f"'{key}' must be a number, not '{raw}'") from None


def _switch(raw: str, key: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if raw.lower() not in words:
        raise BadRequest(f"'{key}' must be on or off, not '{raw}'")
    return words[raw.lower()]
