"""Who makes a model call, and under which train it is booked.

One rule per listener: the operators' socket takes turn tokens, a sandbox's door the sandbox token of that very
session and epoch, the port login tokens and, on loopback, a bearer that is not ours: the client's own credential
for the provider. A token that looks like ours and does not hold is refused, never passed on.
"""

import base64
import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import msgspec

from raworc.errors import RaworcError, Unauthorized, Unavailable
from raworc.services.tokens import ISSUER, LoginClaims, Tokens, WorkClaims
from raworc.wire.anthropic import ERROR_TYPES
from raworc.wire.peer import Door, Peer

CallerKind = Literal["login", "turn", "sandbox", "passthrough", "none"]

_TRAIN_HEADERS: Final = (b"msl-train-id", b"raworc-train-id", b"msl-project-id")
_TRAIN: Final = re.compile(rb"[a-zA-Z0-9._:-]{1,255}")
_KEY_PREFIX: Final = "rwk_"
_FRESH_S: Final = 1.0
_LAST_GOOD_S: Final = 600.0
_MAX_VERDICTS: Final = 10_000
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


@dataclass(frozen=True)
class Booking:
    """Whose call it is and what it is booked under."""

    kind: CallerKind
    train_id: str
    space: str | None = None
    account_id: uuid.UUID | None = None
    session_id: uuid.UUID | None = None
    turn_id: uuid.UUID | None = None


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


class Turns(Protocol):
    """Which turn a session processes; see ``services.requests``."""

    async def processing(self, session_id: uuid.UUID, epoch: int) -> uuid.UUID | None:
        """None when there is none, or the session is held under another epoch."""
        ...


@dataclass(frozen=True)
class _Verdict:
    account_id: uuid.UUID
    at_s: float


class _Issuer(msgspec.Struct):
    iss: str | None = None


class Callers:
    """Reads a call's credential. ``passthrough`` allows foreign bearers on the port, from this machine only."""

    def __init__(
        self,
        tokens: Tokens,
        accounts: Accounts,
        turns: Turns,
        *,
        passthrough: bool,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._accounts = accounts
        self._turns = turns
        self._passthrough = passthrough
        self._clock_s = clock_s
        self._verdicts: dict[str, _Verdict] = {}

    async def booking(self, peer: Peer | None, headers: dict[bytes, bytes]) -> Booking:
        """Who calls, once that is proven.

        Raises:
            Refused: 401, 403 or 400 in the provider's words, or 529 while the database is away and nothing is
                known of this token.
        """
        listener = peer.listener if peer is not None else "public"
        credential = _credential(headers)
        claims = self._claims(credential)
        if isinstance(claims, WorkClaims):
            if listener == "model" and claims.kind == "turn":
                return _work(claims, claims.turn_id)
            if listener == "door" and claims.kind == "sandbox" and peer is not None and _is_of(claims, peer.door):
                return await self._sandbox(claims)
            raise Refused(401, "This token is not valid here")
        if listener != "public":
            raise Refused(401, "Only the token of this turn or sandbox is valid here")
        train_id = _train_id(headers)
        if isinstance(claims, LoginClaims):
            account_id = await self._account(credential)
            return Booking("login", train_id, space=DEFAULT_SPACE, account_id=account_id)
        if not (self._passthrough and peer is not None and peer.is_local) or not _bearer(headers):
            raise Refused(401, "Invalid credential: log in with 'raworc login' and use that token")
        return Booking("passthrough", train_id, space=DEFAULT_SPACE)

    def _claims(self, credential: str) -> LoginClaims | WorkClaims | None:
        """What one of our tokens says, None for a credential that is not ours."""
        if not credential:
            raise Refused(401, "Missing credential: send 'Authorization: Bearer <token>' or 'x-api-key'")
        try:
            return self._tokens.read(credential)
        except Unauthorized:
            if _looks_like_ours(credential):
                raise Refused(401, "Invalid or expired token") from None
            return None

    async def _sandbox(self, claims: WorkClaims) -> Booking:
        try:
            turn_id = await self._turns.processing(claims.session_id, claims.epoch)
        except Unavailable as error:
            raise _overloaded(error) from None
        if turn_id is None:
            raise Refused(403, "No turn is being processed: model calls from a sandbox belong to a turn")
        return _work(claims, turn_id)

    async def _account(self, token: str) -> uuid.UUID:
        """Asked again after ``_FRESH_S``; while the database is away the last answer holds for ``_LAST_GOOD_S``."""
        now = self._clock_s()
        known = self._verdicts.get(token)
        if known is not None and now - known.at_s < _FRESH_S:
            return known.account_id
        try:
            account = await self._accounts.authenticate(token)
        except Unauthorized:
            self._verdicts.pop(token, None)
            raise Refused(401, "Invalid or expired token") from None
        except Unavailable as error:
            if known is not None and now - known.at_s < _LAST_GOOD_S:
                return known.account_id
            raise _overloaded(error) from None
        if len(self._verdicts) >= _MAX_VERDICTS:
            self._verdicts.clear()
        self._verdicts[token] = _Verdict(account.account_id, now)
        return account.account_id


def claimed_train(headers: dict[bytes, bytes]) -> str:
    """The train that a refused call names, for its record only."""
    try:
        return _train_id(headers)
    except Refused:
        return DEFAULT_TRAIN


def _work(claims: WorkClaims, turn_id: uuid.UUID | None) -> Booking:
    return Booking(claims.kind, claims.train_id, space=claims.space, session_id=claims.session_id, turn_id=turn_id)


def _is_of(claims: WorkClaims, door: Door | None) -> bool:
    return door is not None and door.session_id == claims.session_id and door.epoch == claims.epoch


def _overloaded(error: RaworcError) -> Refused:
    return Refused(529, f"Cannot check this token now: {error.message}", headers=[(b"retry-after", b"1")])


def _credential(headers: dict[bytes, bytes]) -> str:
    """The token of ``Authorization: Bearer`` or ``x-api-key``; of both, the one that looks like ours."""
    bearer = _bearer(headers)
    key = headers.get(b"x-api-key", b"").decode("latin-1").strip()
    return key if key and (not bearer or _looks_like_ours(key)) else bearer


def _bearer(headers: dict[bytes, bytes]) -> str:
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _looks_like_ours(credential: str) -> bool:
    if credential.startswith(_KEY_PREFIX):
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


def _train_id(headers: dict[bytes, bytes]) -> str:
    for name in _TRAIN_HEADERS:
        given = headers.get(name)
        if given is None:
            continue
        if _TRAIN.fullmatch(given) is None:
            raise Refused(400, f"'{name.decode()}' must be 1 to 255 of the characters a-z A-Z 0-9 . _ : -")
        return given.decode()
    return DEFAULT_TRAIN
