"""A git server, an index of Python's packages and a registry of Node's, all in one small server of the test's own."""

import base64
import hashlib
import io
import json
import os
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Shelf:
    """What is served: files by path, and repositories below ``/git/``. ``hangs``: nothing is ever answered."""

    repos: Path
    files: dict[str, bytes] = field(default_factory=dict)
    url: str = ""
    hangs: bool = False
    asked: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def add_wheel(self, name: str, code: str) -> None:
        """A package of Python's with one module of its name."""
        content, wheel = io.BytesIO(), f"{name}-1.0-py3-none-any.whl"
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr(f"{name}.py", code)
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        self.files[f"/files/{wheel}"] = content.getvalue()
        self.files[f"/simple/{name}/"] = f'<a href="{self.url}/files/{wheel}">{wheel}</a>'.encode()

    def add_package(self, name: str, code: str) -> None:
        """A package of Node's."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as archive:
            for path, text in (("package.json", json.dumps({"name": name, "version": "1.0.0"})), ("index.js", code)):
                member = tarfile.TarInfo(f"package/{path}")
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
        packed = content.getvalue()
        sum_ = "sha512-" + base64.b64encode(hashlib.sha512(packed).digest()).decode()
        dist = {"tarball": f"{self.url}/npm/{name}/-/{name}-1.0.0.tgz", "integrity": sum_}
        version = {"name": name, "version": "1.0.0", "dist": dist}
        told = {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        self.files[f"/npm/{name}"] = json.dumps(told).encode()
        self.files[f"/npm/{name}/-/{name}-1.0.0.tgz"] = packed


class _Handler(BaseHTTPRequestHandler):
    """Of one shelf, which the server made for it has."""

    @property
    def shelf(self) -> Shelf:
        return self.server.shelf  # pyright: ignore[reportAttributeAccessIssue]

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("content-length", 0))))

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self, body: bytes) -> None:
        self.shelf.asked.append(self.path)
        if self.shelf.hangs:
            self.shelf.released.wait(60)
            return
        path = self.path.partition("?")[0]
        if path.startswith("/git/"):
            self._git(body)
        else:
            content = self.shelf.files.get(path)
            kind = "application/json" if path.startswith("/npm/") else "text/html"
            self._answer(404 if content is None else 200, {"Content-Type": kind}, content or b"")

    def _git(self, body: bytes) -> None:
        """What git's own CGI program says."""
        path, _, query = self.path.removeprefix("/git").partition("?")
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.shelf.repos),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
        }
        done = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True, check=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self._answer(int(headers.pop("Status", "200").split()[0]), headers, content)

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def shelf(repos: Path) -> Iterator[Shelf]:
    served = Shelf(repos)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.shelf = served  # pyright: ignore[reportAttributeAccessIssue]
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield served
    finally:
        served.released.set()
        server.shutdown()
        server.server_close()
