"""What only the clients of the responses wire rely on."""

from typing import Final

from raworc.conformance.bench import Bench, Case, described, holds
from raworc.conformance.standin import json_answer, plays

_SWITCHED: Final = 101


async def a_socket_is_opened_or_refused_at_once(bench: Bench) -> None:
    """Codex asks for one first and falls back when it is refused; a gateway that says nothing keeps it waiting."""
    asked = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("openai-beta", "responses_websockets=2026-02-06"),
    ]
    refused = plays(json_answer(bench.wire.error, "426 Upgrade Required"))
    async with bench.staged(refused), bench.line() as line:
        await line.send(bench.head(asked, method="GET") + b"\r\n\r\n")
        answer = await bench.soon(line.head(), "101, or a refusal")
    holds(answer.status == _SWITCHED or 400 <= answer.status < 500, "101, or a status of 400 to 499", described(answer))


CASES: Final[tuple[Case, ...]] = (a_socket_is_opened_or_refused_at_once,)
