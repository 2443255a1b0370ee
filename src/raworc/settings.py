"""Every setting, read once from the environment and frozen. No other module reads the environment."""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from raworc.errors import BadRequest

DEFAULT_PASSWORD = "admin"  # noqa: S105  the documented first password, refused off loopback


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
    anthropic_base_url: str = "https://api.anthropic.com"
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
    def gateway_socket(self) -> Path:
        """Where sandboxes' doors lead: ``/v1/*`` for sandbox tokens only."""
        return self.run_dir / "gateway.sock"

    @property
    def model_socket(self) -> Path:
        """Where operators make model calls: ``/v1/*`` for turn tokens only."""
        return self.run_dir / "model.sock"

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
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")


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
    return replace(settings, **given)  # pyright: ignore[reportArgumentType]


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
