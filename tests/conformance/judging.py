"""A gateway of ours with the stand-in behind it, and what the checks say of it or of one in front of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp

from conformance.messages import in_messages
from gate import DOOR_KEY, Gate, gate
from raworc.api.edge import EdgeOptions
from raworc.conformance import Address, Result, Standin, Subject, Wire, examine
from served import serve

PROVIDER_KEY = "sk-of-the-provider"


@dataclass
class Judged:
    at: Gate
    standin: Standin
    behind: str

    async def results(self, wire: Wire, *parts: str, own: bool = False, url: str | None = None) -> list[Result]:
        """Of the checks with one of ``parts`` in their names, or of all."""
        address = Address.parse(url or self.at.url)
        subject = Subject(address, self.at.login(), credential=PROVIDER_KEY, prompt_s=10 if url is None else 0.5)

        def chosen(check) -> bool:
            return (own or not check.own) and (not parts or any(part in check.name for part in parts))

        return [result async for result in examine(subject, [wire], self.standin, chosen)]

    @asynccontextmanager
    async def behind_a(self, wrap: Callable[[ASGIApp], ASGIApp]) -> AsyncIterator[str]:
        """The address of the same gateway with something around it that spoils it."""
        options = EdgeOptions(str(self.at.home / "run" / "none.sock"), str(self.at.home / "run" / "none"), DOOR_KEY)
        async with serve(wrap(in_messages(self.at.gateway)), options) as served:
            yield served.url


@asynccontextmanager
async def judged(home: Path) -> AsyncIterator[Judged]:
    standin = Standin()
    async with standin.listening("127.0.0.1", 0) as port:
        behind = f"http://127.0.0.1:{port}"
        async with gate(home, base_url=behind, api_key=PROVIDER_KEY) as at:
            yield Judged(at, standin, behind)
