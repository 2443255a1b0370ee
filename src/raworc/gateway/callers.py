"""Who makes a model call, and under which train it is booked.

One rule per listener: the operators' socket takes turn tokens, a sandbox's door the sandbox token of that very
session and epoch, the port client keys, login tokens and, on loopback, a bearer that is not ours: the client's own
credential for the provider. What looks like ours and does not hold is refused, never passed on.
"""

import base64
import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol, TypeVar

import msgspec

from raworc.clock import now
from raworc.domain.client_keys import PREFIX, allows
from raworc.domain.text import storable_text
from raworc.errors import RaworcError, Unauthorized, Unavailable
from raworc.gateway.verdicts import Verdicts
from raworc.services.tokens import ISSUER, LoginClaims, Tokens, WorkClaims
from raworc.wire.anthropic import ERROR_TYPES
from raworc.wire.eager import in_task
from raworc.wire.heading import Heading
from raworc.wire.peer import Door, Peer

T = TypeVar("T")

CallerKind = Literal["login", "key", "turn", "sandbox", "passthrough", "none"]

_TRAIN_HEADERS: Final = (b"msl-train-id", b"raworc-train-id", b"msl-project-id")
_CREDENTIALS: Final = (b"authorization", b"x-api-key")
_TRAIN: Final = re.compile(rb"[a-zA-Z0-9._:-]{1,255}")
_BAD_KEY: Final = "Invalid, expired or revoked key: make one with 'raworc keys create'"
UNAUTHORIZED: Final = 401
DEFAULT_TRAIN: Final = "default"
DEFAULT_SPACE: Final = "default"


class Refused(Exception):
    """A call that ends here: the status, what to say, and headers for it. ``kind`` is the provider's name for it."""

    def __init__(
        self, status: int, message: str, *, kind: str | None = None, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind or ERROR_TYPES.get(status, "api_error")
        self.headers = [*headers, (b"www-authenticate", b"Bearer")] if status == UNAUTHORIZED else list(headers)


class Booking(msgspec.Struct, frozen=True):
    """Whose call it is and what it is booked under."""

    kind: CallerKind
    train_id: str
    space: str | None = None
    account_id: uuid.UUID | None = None
    session_id: uuid.UUID | None = None
    turn_id: uuid.UUID | None = None
    models: tuple[str, ...] = ()

    def check_model(self, method: str, model: str | None) -> None:
        """Nothing, where the caller may call this model. Raises Refused (403) where his key is for others only."""
        if method == "POST" and not allows(self.models, model):
            named = f"model '{storable_text(model[:100])}'" if model else "a call whose model cannot be read"
            raise Refused(403, f"This key is not for {named}: it allows {', '.join(self.models)}")


class Account(Protocol):
    """What the gateway needs to know of an account."""

    @property
    def account_id(self) -> uuid.UUID:
        """Its id."""
        ...


class Accounts(Protocol):
    """Who a login token speaks for; see ``services.accounts``."""

    async def authenticate(self, token: str) -> Account:
        """Raises Unauthorized, or DatabaseUnavailable."""
        ...


class KeyUse(Protocol):
    """What a client key is good for; see ``services.client_keys``."""

    @property
    def account_id(self) -> uuid.UUID:
        """Whom it speaks for."""
        ...

    @property
    def space(self) -> str:
        """Where its calls are booked."""
        ...

    @property
    def train_id(self) -> str | None:
        """Its one train; None: the caller names one."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """Patterns; none: all."""
        ...

    @property
    def expires_at(self) -> datetime | None:
        """When it ends."""
        ...


class Keys(Protocol):
    """Whom a client key speaks for; see ``services.client_keys``."""

    async def authenticate(self, key: str) -> KeyUse:
        """Raises Unauthorized, or DatabaseUnavailable."""
        ...


class Turns(Protocol):
    """Which turn a session processes; see ``services.requests``."""

    async def processing(self, session_id: uuid.UUID, epoch: int) -> uuid.UUID | None:
        """None when there is none, or the session is held under another epoch."""
        ...

    async def keeps_warm(self, session_id: uuid.UUID, epoch: int, agent_id: uuid.UUID) -> bool:
        """Whether the handler of that code agent may be at work there between turns."""
        ...


@dataclass(frozen=True)
class Asked:
    """Who knows callers."""

    accounts: Accounts
    keys: Keys
    turns: Turns


class _Issuer(msgspec.Struct):
    iss: str | None = None


class Callers:
    """Reads a call's credential. ``passthrough`` allows foreign bearers on the port, from this machine only."""

    def __init__(
        self,
        tokens: Tokens,
        asked: Asked,
        *,
        passthrough: bool,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._accounts = Verdicts(asked.accounts.authenticate, clock_s)
        self._keys = Verdicts(asked.keys.authenticate, clock_s)
        self._turns = asked.turns
        self._passthrough = passthrough

    async def booking(self, peer: Peer | None, heading: Heading) -> Booking:
        """Who calls, once that is proven.

        Raises:
            Refused: 401, 403 or 400 (also where a credential is sent twice) in the provider's words, or 529 while the
                database is away and nothing is known of this token.
        """
        listener = peer.listener if peer is not None else "public"
        credential = heading.once(_credential)
        claims = self._claims(credential)
        if isinstance(claims, WorkClaims):
            if listener == "model" and claims.kind == "turn":
                return _work(claims, claims.turn_id)
            if listener == "door" and claims.kind == "sandbox" and peer is not None and _is_of(claims, peer.door):
                return await self._sandbox(claims)
            raise Refused(401, "This token is not valid here")
        if listener != "public":
            raise Refused(401, "Only the token of this turn or sandbox is valid here")
        if credential.startswith(PREFIX):
            return await self._by_key(credential, heading)
        train_id = heading.once(_train_id)
        if isinstance(claims, LoginClaims):
            if claims.agent_id is not None:
                raise Refused(401, "An agent's own token is not valid here: log in with 'raworc login'")
            account = await _known(self._accounts, credential, "Invalid or expired token")
            return Booking("login", train_id, space=DEFAULT_SPACE, account_id=account.account_id)
        if not (self._passthrough and peer is not None and peer.is_local) or not _bearer(heading.named):
            raise Refused(401, "Invalid credential: log in with 'raworc login' and use that token")
        return Booking("passthrough", train_id, space=DEFAULT_SPACE)

    def _claims(self, credential: str) -> LoginClaims | WorkClaims | None:
        """What one of our tokens says, None for a credential that is not ours."""
        if not credential:
            raise Refused(401, "Missing credential: send 'Authorization: Bearer <token>' or 'x-api-key'")
        if credential.startswith(PREFIX):
            return None
        try:
            return self._tokens.read(credential)
        except Unauthorized:
            if _looks_like_ours(credential):
                raise Refused(401, "Invalid or expired token") from None
            return None

    async def _sandbox(self, claims: WorkClaims) -> Booking:
        await in_task()
        try:
            turn_id = await self._turns.processing(claims.session_id, claims.epoch)
            is_warm = turn_id is None and await self._keeps_warm(claims)
        except Unavailable as error:
            raise _overloaded(error) from None
        if turn_id is None and not is_warm:
            raise Refused(403, "No turn is being processed: model calls from a sandbox belong to a turn")
        return _work(claims, turn_id)

    async def _keeps_warm(self, claims: WorkClaims) -> bool:
        if claims.agent_id is None:
            return False
        return await self._turns.keeps_warm(claims.session_id, claims.epoch, claims.agent_id)

    async def _by_key(self, key: str, heading: Heading) -> Booking:
        use = self._keys.fresh(key) or await _known(self._keys, key, _BAD_KEY)
        if use.expires_at is not None and use.expires_at <= now():
            raise Refused(401, _BAD_KEY)
        return heading.last(_by_use, use)


async def _known(verdicts: Verdicts[T], credential: str, invalid: str) -> T:
    try:
        return await verdicts.of(credential)
    except Unauthorized:
        raise Refused(401, invalid) from None
    except Unavailable as error:
        raise _overloaded(error) from None


def claimed_train(heading: Heading) -> str:
    """The train that a refused call names, for its record only."""
    try:
        return _train_id(heading)
    except Refused:
        return DEFAULT_TRAIN


def _by_use(heading: Heading, use: KeyUse) -> Booking:
    train_id = use.train_id or heading.once(_train_id)
    return Booking("key", train_id, space=use.space, account_id=use.account_id, models=use.models)


def _work(claims: WorkClaims, turn_id: uuid.UUID | None) -> Booking:
    return Booking(claims.kind, claims.train_id, space=claims.space, session_id=claims.session_id, turn_id=turn_id)


def _is_of(claims: WorkClaims, door: Door | None) -> bool:
    return door is not None and door.session_id == claims.session_id and door.epoch == claims.epoch


def _overloaded(error: RaworcError) -> Refused:
    return Refused(529, f"Cannot check this token now: {error.message}", headers=[(b"retry-after", b"1")])


def _credential(heading: Heading) -> str:
    """The token of ``Authorization: Bearer`` or ``x-api-key``; of both, the one that looks like ours.

    None may be sent twice: one of the two would count, and the other be passed on as it is. Raises Refused (400).
    """
    headers = heading.named
    if len(heading.listed) != len(headers):
        given = [name for name, _ in heading.listed if name in _CREDENTIALS]
        twice = next((name for name in given if given.count(name) > 1), None)
        if twice is not None:
            raise Refused(400, f"'{twice.decode()}' is sent more than once")
    bearer = _bearer(headers)
    key = headers.get(b"x-api-key", b"").decode("latin-1").strip()
    return key if key and (not bearer or _looks_like_ours(key)) else bearer


def _bearer(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"authorization")
    if given is None:
        return ""
    scheme, _, token = given.decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _looks_like_ours(credential: str) -> bool:
    if credential.startswith(PREFIX):
        return True
    parts = credential.split(".")
    if len(parts) != 3:  # noqa: PLR2004  header, claims, signature
        return False
    try:
        claims = msgspec.json.decode(_unpadded(parts[1]), type=_Issuer)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False
    return claims.iss == ISSUER


def _unpadded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _train_id(heading: Heading) -> str:
    for name in _TRAIN_HEADERS:
        given = heading.named.get(name)
        if given is None:
            continue
        if _TRAIN.fullmatch(given) is None:
            raise Refused(400, f"'{name.decode()}' must be 1 to 255 of the characters a-z A-Z 0-9 . _ : -")
        return given.decode()
    return DEFAULT_TRAIN
