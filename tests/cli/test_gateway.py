"""``raworc gateway conformance`` as a person or a pipeline runs it."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from gate import Gate, gate
from served import free_port
from terminal import Shell

pytestmark = pytest.mark.anyio


async def run(at: Gate, port: int, *arguments: str, key: str | None = None) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "raworc", "gateway", "conformance", at.url, "--listen", f"127.0.0.1:{port}", "--key", "-", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    )
    out, err = await process.communicate(f"{key or at.login()}\n".encode())
    return process.returncode or 0, out.decode(), err.decode()


async def test_it_counts_what_holds_and_says_what_does_not(home: Path) -> None:
    port = free_port()
    async with gate(home, base_url=f"http://127.0.0.1:{port}", api_key="theirs") as at:
        code, out, err = await run(at, port, "--wire", "messages", "--only", "query", "--own")
        assert (code, err) == (0, "")
        assert out.splitlines()[-1] == "All 2 checks hold."
        assert "ok   messages  the-query-is-kept-as-it-is" in out

        wrong = ("--wire", "messages", "--only", "the-providers-key-takes", "--provider-key", "another")
        code, out, err = await run(at, port, *wrong)
        assert code == 1
        assert "FAIL messages  the-providers-key-takes-its-place" in out
        assert "expected  'x-api-key' at the provider: ['another']" in out
        assert "came      ['theirs']" in out
        assert "1 of 2 checks do not hold" in err

        code, out, _ = await run(at, port, *wrong, "--json")
        told = json.loads(out)
        assert (code, told["passed"], told["failed"]) == (1, 1, 1)
        assert [check["outcome"] for check in told["checks"]] == ["ok", "failed"]


async def test_it_says_how_to_point_a_gateway_at_it(home: Path) -> None:
    async with gate(home) as at:
        code, out, err = await run(at, free_port(), "--wire", "messages")
    assert (code, out) == (1, "")
    assert "no call through the gateway reached the stand-in" in err
    assert "/v1/messages: 200 with" in err
    assert "ANTHROPIC_BASE_URL=http://127.0.0.1:" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--wire", "smtp"), "there is no wire 'smtp'"),
        (("--only", "nonsense"), "no check has 'nonsense' in its name"),
        (("--header", "nonsense"), "'nonsense' is no header"),
        (("--listen", "nowhere"), "cannot listen on 'nowhere'"),
    ],
)
def test_what_makes_no_sense_is_said(arguments: tuple[str, ...], said: str) -> None:
    assert said in Shell({}).here("gateway", "conformance", "http://127.0.0.1:9", *arguments, code=1)


@pytest.mark.parametrize("url", ["127.0.0.1:9", "http://", "ftp://x", "http://x/?q=1", "http://x:port"])
def test_what_is_no_address_is_said(url: str) -> None:
    assert "is not an address such as" in Shell({}).here("gateway", "conformance", url, code=1)
