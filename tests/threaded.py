"""A provider in a thread of its own, for tests that block: it answers what a function of the request says."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext

Said = tuple[str, bytes]
"""The content type of an answer, and its body."""


@dataclass(frozen=True)
class Asked:
    path: str
    headers: Message
    body: bytes


@dataclass
class Threaded:
    url: str
    seen: list[Asked] = field(default_factory=list)

    def at(self, path: str) -> list[Asked]:
        return [asked for asked in self.seen if asked.path == path]


@contextmanager
def threaded(answer: Callable[[Asked], Said], *, port: int = 0, tls: SSLContext | None = None) -> Iterator[Threaded]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = Asked(self.path, self.headers, self.rfile.read(int(self.headers["content-length"])))
            provider.seen.append(asked)
            kind, body = answer(asked)
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_args: object) -> None:  # noqa: A002  its base's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    provider = Threaded(f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
