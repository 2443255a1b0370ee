"""What a check works with: a gateway, the provider behind it, one wire, and ways to say what does not hold."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from raworc.conformance.caller import Address, Answer, Line, connected
from raworc.conformance.standin import Script, Seen, Stage, Standin, plays
from raworc.conformance.wires import Told, Wire, read_object

PROMPT_S: Final = 3.0
"""How long a gateway may keep what it could pass on: generous, because machines are busy."""
_SHOWN_BYTES: Final = 60
_LEAD_BYTES: Final = 12

T = TypeVar("T")
Extra = Sequence[tuple[str, str]]


class Failure(Exception):
    """A check does not hold."""

    def __init__(self, expected: str, came: str) -> None:
        super().__init__(f"expected {expected}; came {came}")
        self.expected = expected
        self.came = came


@dataclass(frozen=True)
class Subject:
    """The gateway under test.

    ``limit_bytes`` is the largest request that it has to take, ``prompt_s`` how long it may keep what it could pass
    on, ``credential`` what it has to say to its provider, ``headers`` what it wants besides the key.
    """

    address: Address
    key: str
    model: str = "conformance"
    limit_bytes: int = 32 * 1024 * 1024
    credential: str | None = None
    prompt_s: float = PROMPT_S
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Bench:
    """One wire of one gateway."""

    subject: Subject
    wire: Wire
    standin: Standin

    def body(self, *, stream: bool = False, text: str = "hello") -> bytes:
        """The wire's odd request."""
        return self.wire.body(self.subject.model, stream=stream, text=text)

    def head(
        self, extra: Extra = (), *, target: str | None = None, method: str = "POST", credential: Extra | None = None
    ) -> bytes:
        """A request's head without its last, empty line. ``target`` is below the gateway's address."""
        address = self.subject.address
        who = [self.wire.credential(self.subject.key)] if credential is None else credential
        lines = [f"{method} {address.prefix}{target or self.wire.path} HTTP/1.1", f"host: {address.authority}"]
        lines += [f"{name}: {value}" for name, value in (*who, *self.subject.headers, *extra)]
        return "\r\n".join(lines).encode("latin-1")

    def request(
        self,
        body: bytes | None = None,
        extra: Extra = (),
        *,
        target: str | None = None,
        credential: Extra | None = None,
    ) -> bytes:
        """A whole request, by default the wire's odd one."""
        body = self.body() if body is None else body
        length = ("content-length", str(len(body)))
        kind = (
            [] if any(name.lower() == "content-type" for name, _ in extra) else [("content-type", "application/json")]
        )
        return self.head([length, *kind, *extra], target=target, credential=credential) + b"\r\n\r\n" + body

    @asynccontextmanager
    async def line(self) -> AsyncGenerator[Line]:
        """A connection to the gateway."""
        async with connected(self.subject.address) as line:
            yield line

    @asynccontextmanager
    async def staged(self, script: Script | None = None, path: str | None = None) -> AsyncGenerator[Stage]:
        """Let the provider play ``script``, by default the wire's plain answer."""
        async with self.standin.staged(path or self.wire.path, script or plays(self.plain())) as stage:
            yield stage

    def plain(self) -> bytes:
        """A whole answer of this wire, with its head."""
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(self.wire.answer)}\r\n\r\n"
        return head.encode() + self.wire.answer

    async def call(self, request: bytes | None = None) -> Answer:
        """Send a request on a connection of its own and read the answer."""
        async with self.line() as line:
            await line.send(self.request() if request is None else request)
            return await line.answer()

    async def sent(self, request: bytes | None = None, path: str | None = None) -> Seen:
        """What the provider sees of a request that is answered plainly."""
        async with self.staged(path=path) as stage:
            answer = await self.call(request)
        if not stage.seen:
            raise Failure("the request at the provider", f"none; the gateway answered {described(answer)}")
        return stage.seen[-1]

    async def told(self, script: Script, request: bytes | None = None) -> Answer:
        """What the client sees of the provider's answer."""
        async with self.staged(script):
            return await self.call(request)

    async def soon(self, waiting: Awaitable[T], expected: str) -> T:
        """What is awaited, if it comes at once; otherwise the gateway keeps it back."""
        try:
            async with asyncio.timeout(self.subject.prompt_s):
                return await waiting
        except TimeoutError:
            raise Failure(expected, f"nothing within {self.subject.prompt_s:g} s") from None

    def object(self, answer: Answer) -> Told:
        """The JSON object of an answer's body; of anything else, nothing."""
        return read_object(answer.body)

    def is_error(self, answer: Answer) -> bool:
        """Whether the body tells an error as this wire's clients read it."""
        return self.wire.is_error(read_object(answer.body))


class Case(Protocol):
    """A check. Its name says what holds; it raises :class:`Failure` when that does not."""

    __name__: str

    def __call__(self, bench: Bench, /) -> Coroutine[Any, Any, None]:
        """Check it."""
        ...


def same(came: object, expected: object, what: str) -> None:
    """Fail unless both are equal."""
    if isinstance(came, bytes) and isinstance(expected, bytes) and came != expected:
        at = next((at for at, pair in enumerate(zip(came, expected, strict=False)) if pair[0] != pair[1]), None)
        at = min(len(came), len(expected)) if at is None else at
        begin = max(0, at - _LEAD_BYTES)
        where = f"{what}, from byte {begin}: "
        raise Failure(where + _shown(expected, begin), f"{_shown(came, begin)} ({len(came)} of {len(expected)} bytes)")
    if came != expected:
        raise Failure(f"{what}: {expected!r}", repr(came))


def alike(came: bytes, expected: bytes, what: str) -> None:
    """Fail unless both are equal as bytes or as JSON: for checks that are about something else than spelling."""
    if came != expected and (not read_object(came) or read_object(came) != read_object(expected)):
        same(came, expected, what)


def holds(condition: object, expected: str, came: object) -> None:
    """Fail unless ``condition``."""
    if not condition:
        raise Failure(expected, came if isinstance(came, str) else repr(came))


def described(answer: Answer) -> str:
    """An answer in a few words."""
    cut = "" if answer.whole else ", cut off"
    return f"{answer.status} with {_shown(answer.body, 0)}{cut}"


def _shown(data: bytes, begin: int) -> str:
    part = data[begin : begin + _SHOWN_BYTES]
    more = "…" if len(data) > begin + _SHOWN_BYTES else ""
    return repr(part)[1:] + more
