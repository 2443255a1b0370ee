"""The client: one object for one server."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from raworc.client.agents import Agents
from raworc.client.approvals import Approvals
from raworc.client.audit import Audit
from raworc.client.builds import Builds
from raworc.client.code_agents import CodeAgents
from raworc.client.context import Context
from raworc.client.files import Files
from raworc.client.keys import Keys
from raworc.client.operators import Blocklist, Operators, Tokens
from raworc.client.requests import Requests
from raworc.client.responses import Responses
from raworc.client.roles import Bindings, Roles, ServiceAccounts
from raworc.client.sessions import Sessions
from raworc.client.shapes import Health, Login, Profile, Version
from raworc.client.spaces import Spaces
from raworc.client.train import Train
from raworc.client.transport import Transport, full_path, segment, without_none
from raworc.client.upstreams import Upstreams

DEFAULT_URL = "http://127.0.0.1:9000"


class Raworc:
    """A server, as one account sees it: ``with Raworc(url) as client: client.login("admin", password)``.

    Calls block. Every failure is a :class:`raworc.client.errors.ClientError`. ``ca_file`` (PEM) is
    trusted besides the certificates that this machine trusts. One object may be used by
    several threads.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        token: str | None = None,
        *,
        timeout_s: float = 30.0,
        ca_file: Path | None = None,
    ) -> None:
        self._transport = Transport(base_url, token, timeout_s=timeout_s, ca_file=ca_file)
        self.agents = Agents(self._transport)
        self.responses = Responses(self._transport)
        self.context = Context(self._transport)
        self.approvals = Approvals(self._transport)
        self.files = Files(self._transport)
        self.requests = Requests(self._transport)
        self.operators = Operators(self._transport)
        self.tokens = Tokens(self._transport)
        self.blocklist = Blocklist(self._transport)
        self.keys = Keys(self._transport)
        self.audit = Audit(self._transport)
        self.upstreams = Upstreams(self._transport)
        self.train = Train(self._transport)
        self.spaces = Spaces(self._transport)
        self.sessions = Sessions(self._transport)
        self.accounts = ServiceAccounts(self._transport)
        self.roles = Roles(self._transport)
        self.bindings = Bindings(self._transport)
        self.code_agents = CodeAgents(self._transport)
        self.builds = Builds(self._transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def base_url(self) -> str:
        """The server's address."""
        return self._transport.base_url

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def login(self, name: str, password: str, *, ttl_hours: float | None = None) -> Login:
        """Get a token and use it from now on. Raises Unauthorized when name and password do not match."""
        body = {"pass": password, **without_none({"ttl_hours": ttl_hours})}
        login = self._transport.call("POST", f"/operators/{segment(name)}/login", Login, body)
        self._transport.token = login.token
        return login

    def login_external(self, provider: str, token: str, *, ttl_hours: float | None = None) -> Login:
        """Get a token for what an identity provider gave, and use it from now on.

        Raises Unauthorized when ``provider`` does not vouch for it, Forbidden without an account for it.
        """
        body = {"provider": provider, "token": token, **without_none({"ttl_hours": ttl_hours})}
        login = self._transport.call("POST", "/auth/external", Login, body)
        self._transport.token = login.token
        return login

    def whoami(self) -> Profile:
        """Whom the token speaks for."""
        return self._transport.get("/auth", Profile)

    def health(self) -> Health:
        """Whether it serves and has room for new work. Needs no token. Raises Unavailable without a database."""
        return self._transport.get("/health", Health)

    def version(self) -> Version:
        """The server's version. Needs no token."""
        return self._transport.get("/version", Version)

    @contextmanager
    def raw(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Generator[httpx2.Response]:
        """Any request, for what has no method here: whatever is answered, its body still to be read.

        ``path`` is below ``/api/v0`` (``agents?limit=1``) or one from the root (``/livez``), never another
        server's. Raises Unreachable, and nothing for refusals.
        """
        url = self.base_url + full_path(path.removeprefix(self.base_url))
        with self._transport.open(method, url, content=content, headers=dict(headers or {})) as answer:
            yield answer
