"""Other gateways in front of the same provider, each as its makers run it, without a record of what passes.

nginx comes from the system, Portkey from npm and LiteLLM from PyPI, the last two into a cache folder; a peer that
cannot be had is left out, with a line that says why.
"""

import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "raworc-bench"
PORTKEY = "1.15.2"
LITELLM = "litellm[proxy]==1.106.0"
_PORTKEY_PACKAGE = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": PORTKEY},
    # Of the web server that it asks for, every release since 1.14 refuses it: its streams end with status 500.
    "overrides": {"@hono/node-server": "~1.13.8"},
}
_MODEL = "claude-sonnet-4-20250514"
_READY_S = 120.0
_NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; client_max_body_size 32m; client_body_buffer_size 1m;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  upstream provider {{ server 127.0.0.1:{provider}; keepalive 512; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off;
    }}
  }}
}}
"""
_LITELLM = """
model_list:
  - model_name: {model}
    litellm_params: {{model: anthropic/{model}, api_base: "http://127.0.0.1:{provider}", api_key: sk-provider}}
litellm_settings: {{set_verbose: false, telemetry: false}}
general_settings: {{master_key: sk-bench-0123456789}}
"""


class Absent(Exception):
    """A peer that cannot be had here; the message says why."""


@dataclass(frozen=True)
class System:
    """What is measured: where it listens, what a call needs, and whose processor time and memory count."""

    name: str
    port: int
    headers: Sequence[str] = ()
    pids: Callable[[], list[int]] = field(default=list)


@contextmanager
def nginx(folder: Path, core: int, provider: int) -> Iterator[System]:
    """Passes everything through: what is possible."""
    if shutil.which("nginx") is None:
        raise Absent("nginx is not installed: apt-get install nginx-light")
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, provider=provider, port=8101))
    with _running(["nginx", "-c", str(config)], System("nginx", 8101), folder, core) as system:
        yield system


@contextmanager
def portkey(folder: Path, core: int, provider: int) -> Iterator[System]:
    """Portkey's gateway."""
    if shutil.which("npm") is None:
        raise Absent("npm is not installed: apt-get install npm")
    home = CACHE / f"portkey-{PORTKEY}"
    program = home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    if not program.exists():
        home.mkdir(parents=True, exist_ok=True)
        (home / "package.json").write_text(json.dumps(_PORTKEY_PACKAGE))
        _install(["npm", "install", "--prefix", str(home), "--no-audit", "--no-fund"])
    headers = (
        "x-portkey-provider: anthropic",
        f"x-portkey-custom-host: http://127.0.0.1:{provider}/v1",
        "x-api-key: sk-provider",
        "authorization: Bearer sk-provider",
        "anthropic-version: 2023-06-01",
    )
    environ = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    command = ["node", str(program), "--headless", "--port=8102"]
    with _running(command, System("Portkey", 8102, headers), folder, core, environ) as system:
        yield system


@contextmanager
def litellm(folder: Path, core: int, provider: int) -> Iterator[System]:
    """LiteLLM's proxy, its own route for the Messages wire."""
    home = CACHE / "litellm"
    if not (home / "bin" / "litellm").exists():
        _install([sys.executable, "-m", "venv", str(home)])
        _install([str(home / "bin" / "pip"), "install", "--quiet", LITELLM])
    config = folder / "litellm.yaml"
    config.write_text(_LITELLM.format(model=_MODEL, provider=provider))
    environ = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    command = [str(home / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", "8103"]
    headers = ("x-api-key: sk-bench-0123456789", "anthropic-version: 2023-06-01")
    with _running([*command, "--num_workers", "1"], System("LiteLLM", 8103, headers), folder, core, environ) as system:
        yield system


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def wait_ready(system: System, body: bytes, failed: Callable[[], str | None]) -> None:
    """Return when a call is answered; ``failed`` says why that will never be."""
    ends, said = time.monotonic() + _READY_S, ""
    headers = {"content-type": "application/json", **dict(line.split(": ", 1) for line in system.headers)}
    while time.monotonic() < ends:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", system.port, timeout=10)
            connection.request("POST", "/v1/messages", body, headers)
            answer = connection.getresponse()
            said = answer.read().decode(errors="replace")[:300]
            if answer.status == http.client.OK:
                return
        except OSError as error:
            said = str(error)
        if (reason := failed()) is not None:
            raise Absent(f"{system.name} ended: {reason}")
        time.sleep(0.2)
    raise Absent(f"{system.name} did not answer: {said}")


@contextmanager
def _running(
    command: list[str], system: System, folder: Path, core: int, environ: dict[str, str] | None = None
) -> Iterator[System]:
    log = folder / f"{system.name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command], stdout=out, stderr=out, env={**os.environ, **(environ or {})}
        )

    def failed() -> str | None:
        return log.read_text(errors="replace")[-500:] if process.poll() is not None else None

    try:
        body = b'{"model": "%b", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}' % _MODEL.encode()
        wait_ready(system, body, failed)
        yield System(system.name, system.port, system.headers, lambda: family(process.pid))
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _install(command: list[str]) -> None:
    print(f"installing: {' '.join(command)}", file=sys.stderr)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Absent(f"'{' '.join(command)}' failed: {done.stderr.strip()[-300:]}")
