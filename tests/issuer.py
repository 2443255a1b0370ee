"""A local identity provider that speaks the real protocols: OpenID Connect's discovery and keys, introspection."""

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

CLIENT, SECRET = "raworc", "the-client's secret:%"
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(key: Key) -> bytes:
    """The public half, as an attacker would use it for a shared secret."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def jwk_of(key: Key, **more: Any) -> dict[str, Any]:
    kind = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    return {**kind.to_jwk(key.public_key(), as_dict=True), "use": "sig", **more}


@dataclass
class Issuer:
    """``keys``: what is published, by id. ``tokens``: what introspection says of each.

    ``asked`` counts by path. ``answer``: what is said instead of everything, as status, headers and body.
    """

    keys: dict[str, Key]
    url: str = ""
    published: list[dict[str, Any]] | None = None
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    answer: tuple[int, dict[str, str], bytes] | None = None
    discovery: dict[str, Any] = field(default_factory=dict)
    forms: list[tuple[str | None, dict[str, list[str]]]] = field(default_factory=list)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of a good token; None removes one."""
        now = int(time.time())
        given = {"iss": self.url, "aud": CLIENT, "sub": "subject-1", "iat": now, "exp": now + 300} | changes
        return {key: value for key, value in given.items() if value is not None}

    def token(self, kid: str | None = "first", algorithm: str = "RS256", **changes: Any) -> str:
        headers = changes.pop("headers", {})
        key = changes.pop("key", None) or self.keys[kid or "first"]
        return jwt.encode(self.claims(**changes), key, algorithm, headers=headers | ({"kid": kid} if kid else {}))

    def key_set(self) -> dict[str, Any]:
        published = self.published
        return {"keys": [jwk_of(key, kid=kid) for kid, key in self.keys.items()] if published is None else published}

    def said(self, path: str, authorization: str | None, body: bytes) -> object:
        self.asked[path] = self.asked.get(path, 0) + 1
        match path:
            case "/.well-known/openid-configuration":
                return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"} | self.discovery
            case "/keys":
                return self.key_set()
            case "/introspect":
                form = parse_qs(body.decode())
                self.forms.append((authorization, form))
                return self.tokens.get(form["token"][0], {"active": False})
            case _:
                return None


def _handler(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            said = issuer.said(self.path, self.headers.get("authorization"), body)
            status, headers, text = issuer.answer or (200 if said is not None else 404, {}, json.dumps(said).encode())
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET  # noqa: N815  as http.server names it

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def running_issuer(tls: ssl.SSLContext | None = None) -> Iterator[Issuer]:
    issuer = Issuer(keys={"first": rsa_key()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(issuer))
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    issuer.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
