"""With `RAWORC_RECORD_SYNC=strict`: no client has the end of an answer whose record is not on disk."""

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from gate import Gate, gate
from raworc.domain.credentials import ApiKey
from raworc.domain.upstreams import Offer
from raworc.gateway.spool import SpoolLimits
from raworc.services.upstream_uses import Use
from standin import Script, answers, chunk, json_answer, standin, stream_head

pytestmark = pytest.mark.anyio

WHOLE = json_answer(b'{"id": "theirs"}')
STREAM = stream_head(), chunk(b"data: first\n\n"), chunk(b"data: second\n\n")
ANSWERS: dict[str, Script] = {
    "whole": answers(WHOLE),
    "a stream": answers(*STREAM, chunk(b"")),
    "a stream that breaks off": answers(*STREAM, close=True),
    "a stream that breaks off after its last event": answers(stream_head(), chunk(b"data: [DONE]\n\n"), close=True),
    "an error": answers(json_answer(b'{"error": {}}', "400 Bad Request")),
    "none": answers(abort=True),
}


@dataclass
class Disk:
    """A slow one: it has ``size`` bytes of the spool, but those of which a client was answered while it was asked."""

    size: int = 0
    answered: threading.Event = field(default_factory=threading.Event)

    def sync(self, fd: int) -> None:
        size = os.fstat(fd).st_size
        if not self.answered.wait(0.2):
            self.size = size


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(os, "fdatasync", made.sync)
    return made


async def ask(at: Gate, disk: Disk, model: str) -> bytes:
    disk.answered.clear()
    async with httpx2.AsyncClient(headers={"x-api-key": at.login()}, trust_env=False) as http:
        answer = await http.post(f"{at.url}/v1/chat/completions", json={"model": model, "messages": []})
    disk.answered.set()
    return answer.content


@pytest.mark.parametrize("play", ANSWERS.values(), ids=ANSWERS)
async def test_the_end_of_an_answer_is_on_disk_before_a_client_has_it(home: Path, disk: Disk, play: Script) -> None:
    async with standin(play) as upstream:
        uses = [Use("a", 1, Offer("a", "openai", models=("gpt*",)), upstream.url, ApiKey("k"))]
        async with gate(home, uses=uses, limits=SpoolLimits(strict=True, free_bytes=0)) as at:
            for model in ("gpt-5", "nobody-s"):  # the second one is refused
                said = await ask(at, disk, model)
                (spool,) = (home / "spool").iterdir()
                assert said[-9:] in spool.read_bytes()[: disk.size]
