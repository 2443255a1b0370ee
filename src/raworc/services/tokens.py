"""Our own tokens: JSON Web Tokens signed with HS256 (RFC 7519, algorithm pinned as RFC 8725 advises).

Four kinds, told apart by ``typ``: ``login`` (a person or program, any route), ``agent`` (a program that works for
one agent from outside: the few routes that are about that agent's work), ``turn`` (an operator's model calls,
accepted only on the operators' socket) and ``sandbox`` (what runs inside one, accepted only through that sandbox's
door). A token carries no rights: they are read from the database on every request.
"""

import secrets
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

import jwt

from raworc.errors import Unauthorized

ISSUER = "raworc"
_ALGORITHM = "HS256"
_MAX_BYTES = 8192
_LEEWAY_S = 30
_MAX_KNOWN = 4096  # reading a token takes longer than all else that a model call costs us

TokenKind = Literal["login", "agent", "turn", "sandbox"]


@dataclass(frozen=True)
class LoginClaims:
    """Who logged in: the account, its version at that time, and the contract it was issued under.

    ``agent_id``: the token is that agent's own, made by the account; it counts for nothing else.
    """

    account_id: uuid.UUID
    version: int
    contract: str
    token_id: str
    expires_at: datetime
    agent_id: uuid.UUID | None = None


@dataclass(frozen=True)
class WorkClaims:
    """On whose behalf a model call is made. ``turn_id`` is set for turn tokens only.

    ``agent_id``: the sandbox token is one that a code agent's handler is given.
    """

    kind: Literal["turn", "sandbox"]
    session_id: uuid.UUID
    epoch: int
    space: str
    train_id: str
    turn_id: uuid.UUID | None
    agent_id: uuid.UUID | None = None


Claims = LoginClaims | WorkClaims


class Tokens:
    """Issues and reads tokens with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[str, tuple[Claims, float]] = {}  # what was read, and until when it holds

    def login(
        self, account_id: uuid.UUID, version: int, contract: str, *, ttl_s: int, agent_id: uuid.UUID | None = None
    ) -> tuple[str, datetime]:
        """A login token, or the own token of an agent, and when it ends."""
        expires = int(time.time()) + ttl_s
        claims = {"sub": str(account_id), "ver": version, "contract": contract, "jti": secrets.token_hex(16)}
        if agent_id is not None:
            claims["agent"] = str(agent_id)
        kind = "login" if agent_id is None else "agent"
        return self._sign(kind, claims, expires), datetime.fromtimestamp(expires, UTC)

    def work(self, claims: WorkClaims, *, ttl_s: int) -> str:
        """A turn or sandbox token."""
        body: dict[str, Any] = {
            "sub": str(claims.session_id),
            "epoch": claims.epoch,
            "space": claims.space,
            "train": claims.train_id,
        }
        if claims.turn_id is not None:
            body["turn"] = str(claims.turn_id)
        if claims.agent_id is not None:
            body["agent"] = str(claims.agent_id)
        return self._sign(claims.kind, body, int(time.time()) + ttl_s)

    def read(self, token: str) -> Claims:
        """What a token says, once its signature, issuer, kind and end hold.

        Raises:
            Unauthorized: for whatever reason; the text never says which.
        """
        claims, until = self._known.get(token, (None, 0.0))
        if claims is not None and time.time() < until:
            return claims
        try:
            body = self._decode(token)
            claims = self._claims(body)
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError):
            raise Unauthorized("Invalid or expired token") from None
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[token] = claims, body["exp"] + _LEEWAY_S
        return claims

    def _sign(self, kind: TokenKind, claims: dict[str, Any], expires: int) -> str:
        body = {**claims, "typ": kind, "iss": ISSUER, "iat": int(time.time()), "exp": expires}
        return jwt.encode(body, self._key, algorithm=_ALGORITHM)

    def _decode(self, token: str) -> dict[str, Any]:
        if len(token) > _MAX_BYTES or not token.isascii():
            raise Unauthorized("Invalid or expired token")
        required = ["exp", "iss", "sub", "typ"]
        options = cast("Any", {"require": required, "verify_iat": False})
        return jwt.decode(token, self._key, algorithms=[_ALGORITHM], issuer=ISSUER, leeway=_LEEWAY_S, options=options)

    def _claims(self, body: dict[str, Any]) -> Claims:
        subject = uuid.UUID(str(body["sub"]))
        match body["typ"]:
            case "login" | "agent" as kind:
                return LoginClaims(
                    account_id=subject,
                    version=int(body["ver"]),
                    contract=str(body["contract"]),
                    token_id=str(body["jti"]),
                    expires_at=datetime.fromtimestamp(int(body["exp"]), UTC),
                    agent_id=uuid.UUID(str(body["agent"])) if kind == "agent" else None,
                )
            case "turn" | "sandbox" as kind:
                turn = uuid.UUID(str(body["turn"])) if kind == "turn" else None
                return WorkClaims(
                    kind=kind,
                    session_id=subject,
                    epoch=int(body["epoch"]),
                    space=str(body["space"]),
                    train_id=str(body["train"]),
                    turn_id=turn,
                    agent_id=uuid.UUID(str(body["agent"])) if "agent" in body else None,
                )
            case _:
                raise Unauthorized("Invalid or expired token")
