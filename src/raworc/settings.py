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
from raworc.variables import VARIABLE, Variable, given, variable, variables

DEFAULT_PASSWORD = "admin"  # noqa: S105  the documented first password, refused off loopback
_LONGEST_SOCKET_DIR = 80  # bytes; a socket's whole path has 107

_OF_SERVICES = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}  # for the process that systemd started alone
_FILES = ("tls_cert", "tls_key", "identity_file", "upstream_ca_file")


@dataclass(frozen=True)
class Settings:
    """The parts list's numbers and names. Units stand in the names.

    A field's type says how its variable is read; a field without a variable is set by code alone.
    """

    home: Path = field(
        metadata={
            VARIABLE: Variable("RAWORC_HOME", "Where everything is kept: /var/lib/raworc as root, else ~/.raworc.")
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
    cors_origins: str = variable(
        "RAWORC_CORS_ORIGINS",
        "",
        "Origins whose pages may use the API (`https://app.example`), with commas; or `*`.",
    )
    requests_per_minute: int = variable(
        "RAWORC_REQUESTS_PER_MINUTE", 0, "What one account, or address, may ask of the API, by server process; 0: any."
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
    identity_file: Path | None = variable(  # noqa: RUF009  paths do not change either
        "RAWORC_IDENTITY_FILE", None, "Identity providers that people may log in with (TOML, see docs/identity.md)."
    )
    identity: str | None = variable("RAWORC_IDENTITY", None, "The same as text, instead of a file.", is_secret=True)
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
        "RAWORC_CONTRACT",
        "agents",
        "Which documented API answers where neither request nor token names one.",
        choices=("agents", "spaces", "organizations"),
    )
    default_model: str | None = variable(
        "RAWORC_DEFAULT_MODEL",
        None,
        "Model of agents that name none; by default a current Claude or GPT, else `scripted`.",
    )
    handler_timeout_s: float = variable(
        "RAWORC_HANDLER_TIMEOUT_S", 600.0, "How long a code agent's handler may take to answer one message."
    )
    model_url: str | None = variable(
        "RAWORC_MODEL_URL", None, "Where operators make model calls; by default the server on this machine."
    )
    anthropic_api_key: str | None = variable(
        "ANTHROPIC_API_KEY",
        None,
        "Key of the upstream `anthropic`; while there is no upstream, `scripted` serves every model.",
        is_secret=True,
    )
    anthropic_base_url: str | None = variable(
        "ANTHROPIC_BASE_URL", None, "Where Anthropic's wire is spoken; by default at Anthropic itself."
    )
    openai_api_key: str | None = variable("OPENAI_API_KEY", None, "Key of the upstream `openai`.", is_secret=True)
    openai_base_url: str | None = variable("OPENAI_BASE_URL", None, "OpenAI's address; by default its own.")
    ollama_host: str | None = variable(
        "OLLAMA_HOST", None, "Host and port of the upstream `ollama`, as Ollama reads it."
    )
    passthrough: bool = variable(
        "RAWORC_PASSTHROUGH", default=True, meaning="On loopback, pass foreign bearer tokens on to the provider."
    )
    upstream_connect_timeout_s: float = variable(
        "RAWORC_UPSTREAM_CONNECT_TIMEOUT_S", 10.0, "How long connecting to a provider may take."
    )
    upstream_first_byte_timeout_s: float = variable(
        "RAWORC_UPSTREAM_FIRST_BYTE_TIMEOUT_S", 600.0, "How long a provider may take to begin its answer."
    )
    upstream_idle_timeout_s: float = variable("RAWORC_UPSTREAM_IDLE_TIMEOUT_S", 300.0, "A provider's longest pause.")
    upstream_ca_file: Path | None = variable(  # noqa: RUF009  paths do not change
        "RAWORC_UPSTREAM_CA_FILE", None, "Authority (PEM) that is trusted for providers besides the usual ones."
    )
    record_sync: str = variable(
        "RAWORC_RECORD_SYNC",
        "background",
        "Whether a model call waits until its record is on disk.",
        choices=("background", "strict"),
    )
    record_full: str = variable(
        "RAWORC_RECORD_FULL",
        "refuse",
        "What becomes of model calls while the disk has no room for their record: refused (529), or made and counted.",
        choices=("refuse", "pass"),
    )
    spool_rotate_s: float = variable(
        "RAWORC_SPOOL_ROTATE_S",
        60.0,
        "How long a model call's body may lie in the spool as it was sent, once it is recorded.",
    )
    retention_days: int = variable(
        "RAWORC_RETENTION_DAYS",
        0,
        "Days before today whose recorded model calls are kept; older ones are dropped, their sums stay. 0: for ever.",
        most=36_500,
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
    write_timeout_s: float = variable(
        "RAWORC_WRITE_TIMEOUT_S", 30.0, "How long a client may read nothing of its answer before it is cut off."
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

    git_base: str = variable("RAWORC_GIT_BASE", "https://github.com", "Where a code agent's `owner/name` is cloned.")
    allow_file_repos: bool | None = variable(
        "RAWORC_ALLOW_FILE_REPOS", None, "Let code agents name folders, by `file://`; by default on loopback only."
    )
    build_hosts: str = variable(
        "RAWORC_BUILD_HOSTS",
        "pypi.org,files.pythonhosted.org,registry.npmjs.org",
        "Hosts (`host`, `host:port`) that builds may reach, beside those of repositories; private ones only if named.",
    )
    pip_index_url: str | None = variable("PIP_INDEX_URL", None, "Where builds find Python's packages.", is_secret=True)
    npm_registry: str | None = variable(
        "NPM_CONFIG_REGISTRY", None, "Where builds find Node's packages.", is_secret=True
    )
    clone_timeout_s: float = variable("RAWORC_CLONE_TIMEOUT_S", 120.0, "How long a repository may take to be cloned.")
    build_timeout_s: float = variable("RAWORC_BUILD_TIMEOUT_S", 900.0, "How long building one code agent may take.")
    build_memory_mb: int = variable("RAWORC_BUILD_MEMORY_MB", 2048, "MiB of memory that a build may use.")
    build_disk_mb: int = variable("RAWORC_BUILD_DISK_MB", 2048, "MiB that a code agent may have, packages included.")

    @property
    def files_allowed(self) -> bool:
        """Whether code agents may be cloned from folders of this machine."""
        return self.is_loopback if self.allow_file_repos is None else self.allow_file_repos

    @property
    def builds_dir(self) -> Path:
        """What builds made, one folder for each content."""
        return self.home / "builds"

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
            VARIABLE: Variable("RAWORC_CREDENTIALS", "Keeps the login: ~/.config/raworc/credentials.json by default.")
        }
    )
    url: str | None = variable("RAWORC_URL", None, "The server; by default that of the last login.")
    token: str | None = variable("RAWORC_TOKEN", None, "A token to use instead of the last login's.", is_secret=True)
    ca_file: Path | None = variable(  # noqa: RUF009  paths do not change either
        "RAWORC_CA_FILE", None, "Authority (PEM) that is trusted besides the usual ones."
    )

    contract: str = variable(
        "RAWORC_API", "agents", "Whose paths `raworc api` speaks.", choices=("agents", "spaces", "organizations")
    )

    @property
    def history(self) -> Path:
        """What was typed at the shell."""
        return self.credentials.with_name("history")

    @property
    def program_keys(self) -> Path:
        """The client keys of programs that the command line starts."""
        return self.credentials.with_name("program-keys.json")


@dataclass(frozen=True)
class ServiceSettings:
    """What systemd says to a process that it started; see sd_notify(3). None: it did not start us, or does not ask."""

    notify_socket: str | None = None
    watchdog_s: float | None = None


def read_service_settings(environ: Mapping[str, str] | None = None) -> ServiceSettings:
    """As systemd set them for this very process, and not for one that it started."""
    env = os.environ if environ is None else environ
    period, pid = env.get("WATCHDOG_USEC", ""), env.get("WATCHDOG_PID", str(os.getpid()))
    is_watched = period.isdecimal() and int(period) > 0 and pid == str(os.getpid())
    return ServiceSettings(env.get("NOTIFY_SOCKET") or None, int(period) / 1_000_000 if is_watched else None)


def read_client_settings(environ: Mapping[str, str] | None = None) -> ClientSettings:
    """The environment of a command that talks to a server."""
    env = os.environ if environ is None else environ
    values = given(ClientSettings, env)
    if "credentials" not in values:
        folder = env.get("XDG_CONFIG_HOME") or _user_folder(env, instead="'RAWORC_CREDENTIALS'") / ".config"
        values["credentials"] = Path(folder) / "raworc" / "credentials.json"
    return ClientSettings(**values)


def default_home(environ: Mapping[str, str] | None = None) -> Path:
    """``/var/lib/raworc`` for root, ``~/.raworc`` for everyone else.

    Raises:
        BadRequest: nobody knows where the user's files are.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/raworc")
    return _user_folder(os.environ if environ is None else environ, instead="'--home' or 'RAWORC_HOME'") / ".raworc"


def _user_folder(env: Mapping[str, str], *, instead: str) -> Path:
    """The account's own; of a user id without an account, as containers run, ``HOME``."""
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        given = Path(env.get("HOME", ""))
        if given.is_absolute() and given != Path("/"):
            return given
        raise BadRequest(f"User id {os.geteuid()} has no account and 'HOME' names no folder: give {instead}") from None


def read_settings(environ: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """The environment, then ``overrides`` that are not None (the command line's).

    Raises:
        BadRequest: a variable that cannot be read; the message names it.
    """
    env = os.environ if environ is None else environ
    values = given(Settings, env)
    values |= {key: value for key, value in overrides.items() if value is not None}
    if "home" not in values:
        values["home"] = default_home(env)
    settings = Settings(**values)
    paths = {name: path.absolute() for name in _FILES if (path := getattr(settings, name)) is not None}
    return replace(settings, home=settings.home.absolute(), **paths)


def child_environ(settings: Settings) -> dict[str, str]:
    """Our environment for a process of the same installation, so that it reads the same settings.

    The administrator's first password is not passed on: nobody but the start itself needs it.
    """
    spelled = {told.key: getattr(settings, item.name) for item, told in variables(Settings)}
    spelled["RAWORC_ADMIN_PASSWORD"] = None
    ours = {key: str(value) for key, value in spelled.items() if value is not None}
    kept = spelled.keys() | _OF_SERVICES
    return {key: value for key, value in os.environ.items() if key not in kept} | ours


def program_environ() -> dict[str, str]:
    """Our environment for somebody else's program: without our own secrets, but with the person's provider keys."""
    secret = {told.key for kind in (Settings, ClientSettings) for item, told in variables(kind) if not item.repr}
    return {key: value for key, value in os.environ.items() if key not in secret or not key.startswith("RAWORC_")}
