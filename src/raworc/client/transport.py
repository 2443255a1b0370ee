"""One connection pool to one server: paths in, decoded answers or exceptions out."""

import re
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx2
import msgspec

from raworc.client.errors import BadAnswer, ClientError, Unreachable, from_answer

PREFIX = "/agents/api/v0"
"""Names the contract in every path, so that no setting of the server changes what a call means."""

BLOCKING_S = 930.0
"""How long to wait for an answer that comes when work is done: the server's own limit of 15 minutes ends first."""

T = TypeVar("T")
Query = dict[str, str | int]
_CA_NAMES = "'ca_file'; for commands '--ca-file' at login, or RAWORC_CA_FILE"
_FROM_ROOT = re.compile(
    r"/((agents|spaces|organizations)/)?api/|/(api-docs|swagger-ui|v1|livez|readyz|metrics|token-stats)(/|\?|$)"
)
_OF_TRAIN = re.compile(r"/api/(?!v0/)|/token-stats(\?|$)")
_AS_IT_STANDS = re.compile(rf"{_OF_TRAIN.pattern}|/(spaces|organizations)/api/v0/")
_LOCAL = {"localhost", "127.0.0.1", "::1"}


class Transport:
    """Sends requests to ``base_url`` with ``token``, which may be set later. ``ca_file`` is trusted, too."""

    def __init__(self, base_url: str, token: str | None, *, timeout_s: float, ca_file: Path | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self.token = token
        # A proxy from the environment is for other machines' addresses.
        is_local = urlsplit(self.base_url).hostname in _LOCAL
        self._http = httpx2.Client(timeout=timeout_s, trust_env=not is_local, verify=_trusting(ca_file))

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def get(self, path: str, kind: type[T], query: Query | None = None) -> T:
        """GET, decoded as ``kind``."""
        return _decoded(self.send("GET", path, query=query).content, kind)

    def call(
        self,
        method: str,
        path: str,
        kind: type[T],
        body: object = None,
        *,
        key: str | None = None,
        timeout_s: float | None = None,
    ) -> T:
        """A request with a body (see :meth:`send`), its answer decoded as ``kind``."""
        return _decoded(self.send(method, path, body=body, key=key, timeout_s=timeout_s).content, kind)

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
        key: str | None = None,
        timeout_s: float | None = None,
    ) -> httpx2.Response:
        """The plain answer. ``body`` is sent as JSON, or as it is when it is bytes; a POST with ``key`` is done once.

        Raises :class:`ClientError` for statuses of 400 and above, and for none.
        """
        content = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        timeout = httpx2.USE_CLIENT_DEFAULT if timeout_s is None else httpx2.Timeout(10, read=timeout_s)
        try:
            answer = self._http.request(
                method,
                self._url(path),
                params=query,
                content=content,
                headers=self._headers(json=content is not None and content is not body) | _once(key),
                timeout=timeout,
            )
        except (httpx2.TransportError, httpx2.InvalidURL, httpx2.DecodingError) as error:
            raise self._unreachable(error) from error
        if answer.status_code >= httpx2.codes.BAD_REQUEST:
            raise from_answer(answer.status_code, answer.headers, answer.content)
        return answer

    @contextmanager
    def stream(
        self, path: str, *, headers: dict[str, str], read_timeout_s: float, query: Query | None = None
    ) -> Generator[httpx2.Response, None, None]:
        """An answer whose body is read as it comes. Raises like :meth:`send`, also while reading."""
        with self.open("GET", self._url(path), headers=headers, query=query, read_timeout_s=read_timeout_s) as answer:
            if answer.status_code >= httpx2.codes.BAD_REQUEST:
                raise from_answer(answer.status_code, answer.headers, answer.read())
            yield answer

    @contextmanager
    def open(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str],
        query: Query | None = None,
        content: bytes | None = None,
        read_timeout_s: float = BLOCKING_S,
    ) -> Generator[httpx2.Response, None, None]:
        """Whatever is answered, errors included, its body still to be read. Raises for having no answer only."""
        try:
            with self._http.stream(
                method,
                url,
                params=query,
                content=content,
                headers={**self._headers(json=content is not None), **headers},
                timeout=httpx2.Timeout(10, read=read_timeout_s),
            ) as answer:
                yield answer
        except (httpx2.TransportError, httpx2.InvalidURL, httpx2.DecodingError) as error:
            raise self._unreachable(error) from error

    def _url(self, path: str) -> str:
        return self.base_url + (path if _AS_IT_STANDS.match(path) else PREFIX + path)

    def _headers(self, *, json: bool) -> dict[str, str]:
        headers = {"accept": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        if json:
            headers["content-type"] = "application/json"
        return headers

    def _unreachable(self, error: Exception) -> ClientError:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return Unreachable(f"the certificate of {self.base_url} is not trusted: name its CA's file ({_CA_NAMES})")
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return Unreachable(f"no server at {self.base_url}")
        return Unreachable(f"the connection to {self.base_url} broke: {error or type(error).__name__}")


def _trusting(ca_file: Path | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    try:
        context = ssl.create_default_context()
        context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ClientError(f"'{ca_file}' is no file of certificates (PEM): {error}") from error
    return context


def full_path(path: str, contract: str = "agents") -> str:
    """Where a documented path is served: as it stands when it begins at the root, else below its contract's prefix."""
    path = "/" + path.lstrip("/")
    return path if _FROM_ROOT.match(path) else f"/{contract}/api/v0{path}"


def _once(key: str | None) -> dict[str, str]:
    return {} if key is None else {"idempotency-key": key}


def segment(name: str) -> str:
    """One path segment from any text."""
    return quote(name, safe="")


def path_below(path: str) -> str:
    """A relative file path with its slashes kept."""
    return quote(path, safe="/")


def without_none(fields: Any) -> dict[str, Any]:  # noqa: ANN401  any TypedDict of ours
    """The given fields that are not None: absent means the server's default."""
    return {key: value for key, value in dict(fields).items() if value is not None}


def _decoded(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise BadAnswer(f"the answer is not one of a Raworc server ({error})") from error
