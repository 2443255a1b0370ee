"""The home's three keys: 0600 files in ``<home>/keys``, made once; the master key can be rotated.

``RAWORC_JWT_SECRET`` and ``RAWORC_MASTER_KEY`` take the place of a file where they are set: they become a key by
HKDF (RFC 5869), so that their length and spelling are free.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from raworc.errors import BadRequest
from raworc.settings import Settings

KEY_BYTES: Final = 32
MASTER: Final = "master"
NEXT: Final = "master.next"
FORMER: Final = "master.former"
_MIN_SECRET_CHARACTERS: Final = 16


@dataclass(frozen=True, repr=False)
class Keys:
    """32 bytes each: ``jwt`` signs tokens, ``door`` proves who opened one, ``master`` wraps data keys."""

    jwt: bytes
    door: bytes
    master: bytes


def load_keys(settings: Settings) -> Keys:
    """The keys of this home. Safe to call from several processes at once: all get the same ones.

    Raises:
        BadRequest: a secret from the environment is too short, or a key file is damaged.
    """
    folder = settings.home / "keys"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Keys(
        jwt=_given("RAWORC_JWT_SECRET", settings.jwt_secret) or _from_file(folder / "jwt"),
        door=_from_file(folder / "door"),
        master=_given("RAWORC_MASTER_KEY", settings.master_key) or _from_file(folder / MASTER),
    )


class MasterKeys:
    """Every master key that may have wrapped a data key: the present one, and those around a rotation.

    Read again when one is asked for that is not known, so that a rotation reaches processes that run.
    """

    def __init__(self, read: Callable[[], Sequence[bytes]]) -> None:
        self._read = read
        self._known: dict[str, bytes] = {}

    @classmethod
    def of(cls, settings: Settings) -> "MasterKeys":
        """Those of this home and its environment."""
        return cls(lambda: _master_keys(settings))

    def newest(self) -> bytes:
        """The present one."""
        keys = self._read()
        self._known = {key_id(key): key for key in keys}
        return keys[0]

    def find(self, wanted_id: str) -> bytes | None:
        """The key of this id, None when nobody has it here any more."""
        if wanted_id not in self._known:
            self.newest()
        return self._known.get(wanted_id)


def next_master_key(settings: Settings) -> bytes:
    """The key that a rotation goes to: the one of a rotation that was cut short, or a new one."""
    return _from_file(_folder(settings) / NEXT)


def adopt_next_master_key(settings: Settings) -> None:
    """What was next is the present key from here on, and the present one the former."""
    folder = _folder(settings)
    draft = folder / f".{FORMER}"
    draft.unlink(missing_ok=True)
    draft.hardlink_to(folder / MASTER)
    draft.replace(folder / FORMER)
    draft.unlink(missing_ok=True)  # two names of one file are left alone by a rename
    (folder / NEXT).replace(folder / MASTER)
    _sync(folder)


def _master_keys(settings: Settings) -> list[bytes]:
    """The present one first."""
    folder = _folder(settings)
    given = (
        _given("RAWORC_MASTER_KEY", settings.master_key),
        _given("RAWORC_MASTER_KEY", settings.master_key_former, "RAWORC_MASTER_KEY_FORMER"),
    )
    present = given[0] or _from_file(folder / MASTER)
    kept = [_from_file(folder / name) for name in (MASTER, NEXT, FORMER) if (folder / name).exists()]
    return [present, *(key for key in given[1:] if key), *kept]


def _folder(settings: Settings) -> Path:
    return settings.home / "keys"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)  # the names, too: a lost key loses what it sealed
    os.close(descriptor)


def key_id(master_key: bytes) -> str:
    """What a data key says it was wrapped by; tells nothing of the key."""
    return hashlib.sha256(b"raworc master key id" + master_key).hexdigest()[:16]


def _given(name: str, secret: str | None, said: str = "") -> bytes | None:
    """``name`` is part of the key; ``said`` is what its owner knows the secret by."""
    if not secret:
        return None
    if len(secret) < _MIN_SECRET_CHARACTERS:
        raise BadRequest(
            f"'{said or name}' must have at least {_MIN_SECRET_CHARACTERS} characters: use a long random text"
        )
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=name.encode()).derive(secret.encode())


def _from_file(path: Path) -> bytes:
    if not path.exists():
        _create(path)
    try:
        key = bytes.fromhex(path.read_text().strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise BadRequest(f"The key file '{path}' is damaged: restore it from a backup")
    return key


def _create(path: Path) -> None:
    """Write beside it and link: whoever comes second keeps the first one's key."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()
    _sync(path.parent)
