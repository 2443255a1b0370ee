"""A logged-in client for a command, and the server's refusals as next steps."""

from collections.abc import Generator
from contextlib import contextmanager

from raworc.cli.credentials import load
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


@contextmanager
def connected() -> Generator[Raworc]:
    """A client with the token of the last login (or ``RAWORC_TOKEN``), for the length of a command."""
    settings = read_client_settings()
    saved = None if settings.token else load(settings.credentials)
    url = settings.url or (saved.url if saved else DEFAULT_URL)
    token = settings.token or (saved.token if saved and saved.url == url else None)
    if token is None:
        where = f" at {url}" if saved else ""
        raise Stop(f"not logged in{where}: run 'raworc login'")
    ca_file = settings.ca_file or (saved.trusts if saved else None)
    with refusals_explained(), Raworc(url, token, ca_file=ca_file) as client:
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
