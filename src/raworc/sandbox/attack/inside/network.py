"""Probes of the ways out: addresses, names, sockets of the host, and everything that the door must not do."""

import errno
import http.client
import json
import os
import socket

from raworc.sandbox.attack.inside.verdict import Escape, denied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from raworc.sandbox.attack.inside.verdict import Probe

TIMEOUT_S = 5
DOOR = ("127.0.0.1", 8787)
ADDRESSES = (
    *(("1.1.1.1", 443), ("8.8.8.8", 53), ("169.254.169.254", 80), ("172.17.0.1", 22), ("10.0.0.1", 80)),
    *(("192.168.0.1", 80), ("127.0.0.1", 5432), ("127.0.0.1", 9000), ("127.0.0.53", 53), ("127.0.0.2", 22)),
    *(("::1", 5432), ("2606:4700:4700::1111", 443), ("fd00:ec2::254", 80), ("::ffff:169.254.169.254", 80)),
)
NOT_FOUND_PATHS = (
    *("/", "/api/v0/agents", "/agents/api/v0/agents", "/api/v0/auth", "/health", "/api-docs/openapi.json"),
    *("/v1", "/v1/../api/v0/agents", "//api/v0/agents", "/v1/%2e%2e/api/v0/agents", "/V1/messages"),
    *("/api/v0/operators", "/metrics", "/.env"),
)


def probes(context: "dict[str, Any]") -> "Iterator[Probe]":
    """All of them."""
    for host, port in (*ADDRESSES, ("127.0.0.1", context["host_port"])):
        yield f"connecting to {host} port {port}", lambda _, to=(host, port): denied(lambda: _connect(*to))
    for path in NOT_FOUND_PATHS:
        statuses = (400, 401, 404) if path.startswith("/v1/") else (400, 404, 405)
        yield f"door: GET {path}", lambda _, path=path, statuses=statuses: _expect("GET", path, statuses)
    yield from OTHERS


def _connect(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as tried:
        tried.settimeout(TIMEOUT_S)
        tried.connect((host, port))


def _ask(method: str, path: str, body: "object" = None, headers: "dict[str, str] | None" = None) -> "tuple[int, str]":
    connection = http.client.HTTPConnection(*DOOR, timeout=TIMEOUT_S * 2)
    try:
        sent = None if body is None else json.dumps(body)
        connection.putrequest(method, path, skip_host=False, skip_accept_encoding=True)
        for name, value in {"content-length": str(len(sent or "")), **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders(sent.encode() if sent else None)
        answer = connection.getresponse()
        return answer.status, answer.read(4096).decode("utf-8", "replace")
    finally:
        connection.close()


def _expect(method: str, path: str, statuses: "tuple[int, ...]", body: "object" = None, key: str = "") -> None:
    headers = {"x-api-key": key, "authorization": "Bearer " + key} if key else {}
    status, text = _ask(method, path, body, headers)
    if status not in statuses:
        raise Escape(f"{method} {path} is answered {status}: {text[:100]}")


def log_in(_: "dict[str, Any]") -> None:
    for path in ("/api/v0/auth/login", "/agents/api/v0/auth/login", "/api/v0/operators/admin/login"):
        _expect("POST", path, (404,), {"user": "admin", "pass": "admin"})


def foreign_key(_: "dict[str, Any]") -> None:
    """A provider's key, a forged token and none at all spend nothing here."""
    body = {"model": "scripted", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhZG1pbiJ9."
    for key in ("", "sk-ant-api03-foreign", unsigned):
        _expect("POST", "/v1/messages", (401, 403), body, key)


def other_methods(_: "dict[str, Any]") -> None:
    for method in ("CONNECT", "TRACE", "DELETE", "PUT"):
        _expect(method, "/v1/agents", (400, 401, 403, 404, 405, 501))


def absolute_address(_: "dict[str, Any]") -> None:
    _expect("GET", "http://127.0.0.1:9000/api/v0/agents", (400, 404))
    _expect("GET", "http://169.254.169.254/latest/meta-data", (400, 404))


def speaking_for_another_door(_: "dict[str, Any]") -> None:
    """A door line of our own comes after the true one: it is a bad request, not an identity."""
    line = "RAWORC-DOOR 1 00000000-0000-4000-8000-000000000000 1 " + "0" * 64 + "\n"
    with socket.create_connection(DOOR, timeout=TIMEOUT_S * 2) as connection:
        connection.sendall(line.encode() + b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = connection.recv(4096)
    if answer and not answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 401")):
        raise Escape(f"it is answered {answer[:60]!r}")


def taking_the_door(_: "dict[str, Any]") -> None:
    """Nobody inside may listen in its place."""

    def bind() -> None:
        with socket.socket() as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            own.bind(DOOR)
            own.listen()

    denied(bind, errno.EADDRINUSE)


def flooding_the_door(_: "dict[str, Any]") -> None:
    """Two hundred connections; the door still answers afterwards."""
    opened: list[socket.socket] = []
    for _number in range(200):
        connection = socket.socket()
        connection.settimeout(0.2)
        try:
            connection.connect(DOOR)
        except OSError:
            connection.close()
            break
        opened.append(connection)
    for connection in opened:
        connection.close()
    _expect("GET", "/flooded", (404,))


def names(_: "dict[str, Any]") -> None:
    denied(lambda: socket.getaddrinfo("example.com", 443))


def datagrams(_: "dict[str, Any]") -> None:
    for address in (("8.8.8.8", 53), ("255.255.255.255", 67), ("224.0.0.251", 5353)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            denied(lambda address=address: sender.sendto(b"x", address))


def interfaces(_: "dict[str, Any]") -> None:
    found = [name for _, name in socket.if_nameindex()]
    if found != ["lo"]:
        raise Escape("interfaces: " + " ".join(found))


def abstract_sockets(context: "dict[str, Any]") -> None:
    """A socket without a file, which the host listens on, belongs to the host's network namespace."""
    with socket.socket(socket.AF_UNIX) as own:
        denied(lambda: own.connect("\0" + context["abstract_name"]), errno.ECONNREFUSED)


def host_sockets(context: "dict[str, Any]") -> None:
    for path in context["host_sockets"]:
        with socket.socket(socket.AF_UNIX) as own:
            denied(lambda path=path: own.connect(path))


def own_interfaces(_: "dict[str, Any]") -> None:
    if os.path.exists("/sys/class/net"):
        raise Escape("/sys/class/net is there")


OTHERS: "list[Probe]" = [
    ("door: logging in", log_in),
    ("door: a foreign key on /v1/messages", foreign_key),
    ("door: other methods", other_methods),
    ("door: absolute addresses", absolute_address),
    ("door: speaking for another sandbox", speaking_for_another_door),
    ("door: listening in its place", taking_the_door),
    ("door: flooding it", flooding_the_door),
    ("resolving names", names),
    ("sending datagrams", datagrams),
    ("network interfaces", interfaces),
    ("network devices in /sys", own_interfaces),
    ("abstract sockets of the host", abstract_sockets),
    ("sockets of the host by path", host_sockets),
]
