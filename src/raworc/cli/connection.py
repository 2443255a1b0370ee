"""A logged-in client for a command, and the server's refusals as next steps."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from raworc.cli.credentials import Credentials, load
from raworc.cli.stop import Stop
from raworc.client import DEFAULT_URL, Raworc
from raworc.client.errors import (
    BadAnswer,
    ClientError,
    RateLimited,
    ServerError,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from raworc.settings import read_client_settings


@dataclass(frozen=True)
class Access:
    """The server this command line speaks to, and what it has for it; ``saved`` is the last login."""

    url: str
    token: str | None
    ca_file: Path | None
    saved: Credentials | None

    def client(self, *, timeout_s: float = 30.0) -> Raworc:
        """A client for that server, logged in where there is a token."""
        return Raworc(self.url, self.token, timeout_s=timeout_s, ca_file=self.ca_file)


def access(url: str | None = None) -> Access:
    """What is said here, else by the environment, else by the last login."""
    settings = read_client_settings()
    saved = None if settings.token and settings.url and settings.ca_file else load(settings.credentials)
    url = (url or settings.url or (saved.url if saved else DEFAULT_URL)).rstrip("/")
    for_it = saved if saved and saved.url == url else None
    return Access(
        url,
        token=settings.token or (for_it.token if for_it else None),
        ca_file=settings.ca_file or (for_it.trusts if for_it else None),
        saved=saved,
    )


@contextmanager
def connected() -> Generator[Raworc]:
    """A client with the token of the last login (or ``RAWORC_TOKEN``), for the length of a command."""
    known = access()
    if known.token is None:
        where = f" at {known.url}" if known.saved else ""
        raise Stop(f"not logged in{where}: run 'raworc login'")
    with refusals_explained(), known.client() as client:
        yield client


@contextmanager
def refusals_explained() -> Generator[None]:
    """Turn the client's exceptions into :class:`Stop` with what to do next."""
    try:
        yield
    except ClientError as error:
        raise Stop(explain(error)) from error


def explain(error: ClientError) -> str:
    """The server's words, and the next step where there is one."""
    match error:
        case Unauthorized():
            return f"{error}: run 'raworc login'"
        case Unreachable() if str(error).startswith("no server at "):
            return f"{error}: start one with 'raworc up', or name another with 'raworc login --url'"
        case Unavailable() | RateLimited() if error.retry_after_s:
            return f"{error} (try again in {error.retry_after_s:.0f} s)"
        case BadAnswer():
            return f"{error}; check the address with 'raworc status'"
        case ServerError():
            told = str(error)
            return told + "".join(
                f"\n  {item.field}: {item.message}" for item in error.details if item.message not in told
            )
        case _:
            return str(error)
