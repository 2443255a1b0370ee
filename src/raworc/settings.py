"""Every setting, read once from the environment and frozen. No other module reads the environment."""

import hashlib
import ipaddress
import math
import os
import pwd
import socket
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from raworc.errors import BadRequest

DEFAULT_PASSWORD = "admin"  # noqa: S105  the documented first password, refused off loopback
_LONGEST_SOCKET_DIR = 80  # bytes; a socket's whole path has 107


_VARIABLE = "variable"
_MAY_BE_ZERO = ("RAWORC_PORT", "RAWORC_DISK_FREE_MB", "RAWORC_BALLAST_MB")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Variable:
    """What an environment variable sets: its name, its meaning in one line, and what it may be."""

    key: str
    meaning: str
    choices: tuple[str, ...] = ()
    bounds: tuple[int, int] | None = None


def variable(
    key: str,
    default: _T,
    meaning: str,
    *,
    is_secret: bool = False,
    choices: tuple[str, ...] = (),
    most: int = 2**31 - 1,
) -> _T:
    """A field that the environment variable ``key`` sets. ``repr`` does not show secret ones."""
    bounds = (0 if isinstance(default, float) or key in _MAY_BE_ZERO else 1, most)
    told = Variable(key, meaning, choices, bounds)
    return field(default=default, repr=not is_secret, metadata={_VARIABLE: told})


@dataclass(frozen=True)
class Settings:
    """The parts list's numbers and names. Units stand in the names.

    A field's type says how its variable is read; a field without a variable is set by code alone.
    """

    home: Path = field(
        metadata={
            _VARIABLE: Variable("RAWORC_HOME", "Where everything is kept: /var/lib/raworc as root, else ~/.raworc.")
        }
    )
    host: str = variable("RAWORC_HOST", "127.0.0.1", "Address to listen on.")
    port: int = variable("RAWORC_PORT", 9000, "Port to listen on; 0 takes a free one.", most=65_535)
    workers: int = variable("RAWORC_WORKERS", 1, "Server processes of `raworc up`.")
    tls_cert: Path | None = variable(  # noqa: RUF009  paths do not change either
        "RAWORC_TLS_CERT", None, "Certificate chain (PEM) with which the port speaks TLS; renewed files are noticed."
    )
    tls_key: Path | None = variable(  # noqa: RUF009  paths do not change either
        "RAWORC_TLS_KEY", None, "The certificate's private key (PEM, no passphrase)."
    )
    proxy_headers: str = variable(
        "RAWORC_PROXY_HEADERS", "", "Proxies whose X-Forwarded-For and -Proto count: addresses, networks, commas."
    )
    metrics_token: str | None = variable(
        "RAWORC_METRICS_TOKEN", None, "Bearer token that reads /metrics from other machines.", is_secret=True
    )
    database_url: str | None = variable(
        "RAWORC_DATABASE_URL", None, "Postgres 16 or newer; without it `raworc up` runs the embedded one."
    )
    admin_password: str = variable(
        "RAWORC_ADMIN_PASSWORD", DEFAULT_PASSWORD, "Password of `admin`, read at a home's first start.", is_secret=True
    )
    jwt_secret: str | None = variable(
        "RAWORC_JWT_SECRET", None, "Signs tokens; without it a key is made and kept in the home.", is_secret=True
    )
    master_key: str | None = variable(
        "RAWORC_MASTER_KEY",
        None,
        "Opens stored secrets; without it a key is made and kept in the home.",
        is_secret=True,
    )
    master_key_former: str | None = variable(
        "RAWORC_MASTER_KEY_FORMER",
        None,
        "The former `RAWORC_MASTER_KEY`, until `raworc rotate-key` has run under the new one.",
        is_secret=True,
    )
    contract: str = variable(
        "RAWORC_CONTRACT", "agents", "Which documented API answers where a request names none.", choices=("agents",)
    )
    default_model: str | None = variable(
        "RAWORC_DEFAULT_MODEL", None, "Model of agents that name none; by default a Claude model, or `scripted`."
    )
    model_url: str | None = variable(
        "RAWORC_MODEL_URL", None, "Where operators make model calls; by default the server on this machine."
    )
    anthropic_api_key: str | None = variable(
        "ANTHROPIC_API_KEY",
        None,
        "The provider's key; without it every model name is served by `scripted`.",
        is_secret=True,
    )
    anthropic_base_url: str | None = variable(
        "ANTHROPIC_BASE_URL", None, "The provider's address; by default Anthropic's own."
    )
    passthrough: bool = variable(
        "RAWORC_PASSTHROUGH", default=True, meaning="On loopback, pass foreign bearer tokens on to the provider."
    )
    record_sync: str = variable(
        "RAWORC_RECORD_SYNC",
        "background",
        "Whether a model call waits until its record is on disk.",
        choices=("background", "strict"),
    )
    uid_base: int = variable(
        "RAWORC_UID_BASE", 1_900_000_000, "First host user id of sandboxes, when the operator runs as root."
    )
    log_level: str = variable(
        "RAWORC_LOG_LEVEL",
        "info",
        "What is logged: this level and above.",
        choices=("debug", "info", "warning", "error"),
    )
    log_format: str = variable(
        "RAWORC_LOG_FORMAT",
        "auto",
        "How lines are logged; auto: for people at a terminal, else JSON.",
        choices=("auto", "console", "json"),
    )
    pool_size: int = variable("RAWORC_POOL_SIZE", 8, "Database connections of one process.")
    body_limit_bytes: int = 1_048_576
    gateway_body_limit_bytes: int = 33_554_432
    header_timeout_s: float = variable("RAWORC_HEADER_TIMEOUT_S", 10.0, "How long a request's head may take to arrive.")
    body_idle_timeout_s: float = variable(
        "RAWORC_BODY_IDLE_TIMEOUT_S", 60.0, "How long a request's body may bring nothing."
    )
    blocking_timeout_s: float = variable(
        "RAWORC_BLOCKING_TIMEOUT_S", 900.0, "How long a request with `background: false` waits before 504."
    )
    max_pending_turns: int = variable("RAWORC_MAX_PENDING_TURNS", 64, "Responses that may wait for one agent.")
    max_queued_per_space: int = variable("RAWORC_MAX_QUEUED_PER_SPACE", 1000, "Responses that may wait in one space.")
    max_model_calls: int = variable("RAWORC_MAX_MODEL_CALLS", 200, "Model calls that one response may make.")
    drain_timeout_s: float = variable(
        "RAWORC_DRAIN_TIMEOUT_S", 30.0, "How long a process that was asked to stop may finish its work."
    )
    context_soft_limit_tokens: int = variable(
        "RAWORC_CONTEXT_SOFT_LIMIT_TOKENS", 100_000, "Size of a conversation that counts as full."
    )
    disk_free_mb: int = variable(
        "RAWORC_DISK_FREE_MB",
        512,
        "MiB a disk must have free for new work; below a quarter model calls are refused, too. 0: never refuse.",
    )
    ballast_mb: int = variable(
        "RAWORC_BALLAST_MB", 256, "Size of the file that is let go when the embedded Postgres' disk is full. 0: none."
    )

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


@dataclass(frozen=True)
class ClientSettings:
    """What the command line knows before it talks to a server. None: as the credentials file says."""

    credentials: Path = field(
        metadata={
            _VARIABLE: Variable("RAWORC_CREDENTIALS", "Keeps the login: ~/.config/raworc/credentials.json by default.")
        }
    )
    url: str | None = variable("RAWORC_URL", None, "The server; by default that of the last login.")
    token: str | None = variable("RAWORC_TOKEN", None, "A token to use instead of the last login's.", is_secret=True)
    ca_file: Path | None = variable(  # noqa: RUF009  paths do not change either
        "RAWORC_CA_FILE", None, "Authority (PEM) that is trusted besides the usual ones."
    )

    @property
    def history(self) -> Path:
        """What was typed at the shell."""
        return self.credentials.with_name("history")


def variables(kind: type[Settings | ClientSettings]) -> Iterator[tuple[Field[Any], Variable]]:
    """The fields of a kind of settings that variables set, in their order."""
    for item in fields(kind):
        if _VARIABLE in item.metadata:
            yield item, item.metadata[_VARIABLE]


def read_client_settings(environ: Mapping[str, str] | None = None) -> ClientSettings:
    """The environment of a command that talks to a server."""
    env = os.environ if environ is None else environ
    folder = Path(env.get("XDG_CONFIG_HOME") or Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".config")
    values: dict[str, Any] = {"credentials": folder / "raworc" / "credentials.json", **_given(ClientSettings, env)}
    return ClientSettings(**values)


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
    values: dict[str, Any] = {"home": default_home(), **_given(Settings, env)}
    values |= {key: value for key, value in overrides.items() if value is not None}
    settings = Settings(**values)
    paths = {name: path.absolute() for name in ("tls_cert", "tls_key") if (path := getattr(settings, name)) is not None}
    return replace(settings, home=settings.home.absolute(), **paths)


def child_environ(settings: Settings) -> dict[str, str]:
    """Our environment for a process of the same installation, so that it reads the same settings.

    The administrator's first password is not passed on: nobody but the start itself needs it.
    """
    spelled = {told.key: getattr(settings, item.name) for item, told in variables(Settings)}
    spelled["RAWORC_ADMIN_PASSWORD"] = None
    ours = {key: str(value) for key, value in spelled.items() if value is not None}
    return {key: value for key, value in os.environ.items() if key not in spelled} | ours


def _given(kind: type[Settings | ClientSettings], env: Mapping[str, str]) -> dict[str, Any]:
    """What the environment says, by field. An empty variable says nothing."""
    return {item.name: _read(item, told, env[told.key]) for item, told in variables(kind) if env.get(told.key)}


def _read(item: Field[Any], told: Variable, raw: str) -> object:
    if item.type is bool:
        return _switch(raw, told.key)
    if item.type is int or item.type is float:
        return _number(raw, told, item.type)
    if item.type in {Path, Path | None}:
        return Path(raw)
    if told.choices and raw not in told.choices:
        raise BadRequest(f"'{told.key}' must be one of {', '.join(told.choices)}, not '{raw}'")
    return raw


def _number(raw: str, told: Variable, kind: type[int] | type[float]) -> float:
    try:
        number = kind(raw)
    except ValueError:
        raise BadRequest(f"'{told.key}' must be a number, not '{raw}'") from None
    least, most = told.bounds or (-math.inf, math.inf)
    if not least <= number <= most:  # neither holds for 'nan'
        raise BadRequest(f"'{told.key}' must be {least} to {most}, not '{raw}'")
    return number


def _switch(raw: str, key: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if raw.lower() not in words:
        raise BadRequest(f"'{key}' must be on or off, not '{raw}'")
    return words[raw.lower()]
