"""TLS and trusted proxies, as a server process has them: one that a proxy on this machine stands before."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from certificates import Authority
from cluster import clone, drop
from conftest import short_home
from raworc.client import Raworc
from raworc.client.errors import Unreachable
from raworc.errors import BadRequest
from raworc.settings import Settings
from raworc.supervisor.cluster import Cluster
from raworc.supervisor.tls import Certificate
from stack import Stack
from waiting import until_sync

_PATIENCE_S = 1.0


class Site:
    """A server whose port speaks TLS and trusts a proxy on this machine."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.authority = Authority(folder / "ca.pem")
        self.certificate, self.key = folder / "server.pem", folder / "server.key"
        self.authority.issue(self.certificate, self.key)
        self.stack = Stack(
            Settings(
                home=folder / "home",
                database_url=database_url,
                tls_cert=self.certificate,
                tls_key=self.key,
                proxy_headers="127.0.0.1",
                metrics_token="for-prometheus",
                header_timeout_s=_PATIENCE_S,
                pool_size=4,
            )
        )
        self.trusting = ssl.create_default_context(cafile=str(self.authority.file))

    @property
    def place(self) -> tuple[str, int]:
        parts = urlsplit(self.stack.url)
        assert parts.scheme == "https"
        return str(parts.hostname), int(parts.port or 0)

    def ask(self, path: str, headers: dict[str, str] | None = None, body: object = None) -> httpx2.Response:
        with httpx2.Client(verify=self.trusting) as client:
            method = "GET" if body is None else "POST"
            return client.request(method, self.stack.url + path, headers=headers, json=body)

    @contextlib.contextmanager
    def connection(self) -> Iterator[ssl.SSLSocket]:
        with (
            socket.create_connection(self.place, timeout=10) as plain,
            self.trusting.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            yield connection

    def name(self) -> str:
        """Who the certificate of a new connection says it is."""
        with self.connection() as connection:
            return dict(pair[0] for pair in connection.getpeercert()["subject"])["commonName"]


@pytest.fixture(scope="module")
def site(postgres: Cluster) -> Iterator[Site]:
    name = clone(postgres)
    with short_home() as folder:
        made = Site(folder, postgres.url(name))
        try:
            made.stack.start("server")
            yield made
        finally:
            made.stack.close()
            drop(postgres, name)


def test_the_client_speaks_to_a_server_whose_authority_it_trusts(site: Site):
    with Raworc(site.stack.url, ca_file=site.authority.file) as client:
        assert client.login("admin", "admin").user == "admin"


def test_without_the_authority_it_says_what_to_name(site: Site):
    with Raworc(site.stack.url) as client, pytest.raises(Unreachable, match=r"is not trusted: name its CA's file"):
        client.version()


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"])
def test_whoever_does_not_agree_on_tls_is_cut(site: Site, said: bytes):
    with socket.create_connection(site.place, timeout=_PATIENCE_S * 10) as plain:
        plain.sendall(said)
        with contextlib.suppress(ConnectionError):
            while plain.recv(1000):
                pass


def test_the_private_sockets_stay_plain(site: Site):
    with socket.socket(socket.AF_UNIX) as model:
        model.connect(str(site.stack.settings.model_socket))
        model.sendall(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n")
        assert model.recv(1000).startswith(b"HTTP/1.1 404 ")


def _lives(connection: ssl.SSLSocket) -> bool:
    connection.sendall(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n")
    said = b""
    while not said.endswith(b"\r\n\r\nOK"):
        said += connection.recv(1000) or b"(closed)\r\n\r\nOK"
    return said.startswith(b"HTTP/1.1 200 ")


def test_a_renewed_certificate_is_served_while_open_connections_go_on(site: Site):
    with site.connection() as open_before:
        assert _lives(open_before)
        site.certificate.write_text("half")
        site.authority.issue(site.certificate, site.key, name="renewed")
        until_sync(lambda: site.name() == "renewed")
        assert _lives(open_before)


def test_what_cannot_be_used_is_told_and_the_old_one_stays(site: Site):
    before = site.name()
    kept = site.key.read_bytes()
    site.key.write_text("nonsense")
    until_sync(lambda: "renewed certificate cannot be used" in site.stack.logs("server"))
    assert site.name() == before
    site.key.write_bytes(kept)


def test_failed_logins_are_counted_for_whom_the_proxy_speaks_for(site: Site):
    with Raworc(site.stack.url, ca_file=site.authority.file) as client:

        def guess(address: str, account: str) -> int:
            return site.ask(
                f"/api/v0/operators/{account}/login", {"X-Forwarded-For": address}, {"pass": "wrong"}
            ).status_code

        assert [guess("1.1.1.1, 203.0.113.5", f"nobody-{number}") for number in range(11)][-1] == 429
        assert guess("203.0.113.5, 203.0.113.6", "nobody") == 401
        assert client.login("admin", "admin").user == "admin"


def test_a_foreign_credential_is_not_passed_on_for_a_proxys_client(site: Site):
    body = {"model": "scripted", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"Authorization": "Bearer sk-foreign", "X-Forwarded-For": "203.0.113.5"}
    assert site.ask("/v1/messages", headers, body).status_code == 401
    del headers["X-Forwarded-For"]
    assert site.ask("/v1/messages", headers, body).status_code == 401


@pytest.mark.parametrize(
    ("authorization", "status"), [(None, 401), ("Bearer for-prometheus", 200), ("Bearer for-prometheus2", 401)]
)
def test_metrics_take_their_token_where_a_proxy_stands_between(site: Site, authorization: str | None, status: int):
    headers = {"Authorization": authorization} if authorization else {}
    assert site.ask("/metrics", headers).status_code == status
    assert site.ask("/metrics", headers | {"X-Forwarded-For": "127.0.0.1"}).status_code == status


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    found = (tmp_path / "cert.pem", tmp_path / "key.pem")
    Authority(tmp_path / "ca.pem").issue(*found)
    return found


def _refusal(certificate: Path | None, key: Path | None) -> str:
    with pytest.raises(BadRequest) as refused:
        Certificate.of(Settings(home=Path("/nowhere"), tls_cert=certificate, tls_key=key))
    return refused.value.message


def test_a_pair_that_cannot_be_used_is_refused_by_name(files: tuple[Path, Path], tmp_path: Path):
    certificate, key = files
    other, locked = tmp_path / "other.key", tmp_path / "locked.key"
    Authority(tmp_path / "ca2.pem").issue(tmp_path / "other.pem", other)
    Authority(tmp_path / "ca3.pem").issue(tmp_path / "locked.pem", locked, passphrase=b"secret")
    assert Certificate.of(Settings(home=Path("/nowhere"))) is None
    assert "give '--tls-cert' and '--tls-key'" in _refusal(certificate, None)
    assert f"'--tls-key': '{tmp_path / 'none'}' cannot be read: No such file" in _refusal(
        certificate, tmp_path / "none"
    )
    assert f"'--tls-cert': '{tmp_path}' cannot be read: Is a directory" in _refusal(tmp_path, key)
    assert "is not the key of the certificate" in _refusal(certificate, other)
    assert "the key without a passphrase" in _refusal(tmp_path / "locked.pem", locked)
    assert "both must be PEM" in _refusal(key, certificate)


def test_old_versions_of_tls_are_not_spoken(files: tuple[Path, Path]):
    found = Certificate.of(Settings(home=Path("/nowhere"), tls_cert=files[0], tls_key=files[1]))
    assert found is not None
    assert found.context.minimum_version == ssl.TLSVersion.TLSv1_2
