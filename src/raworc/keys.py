"""The home's three keys: 0600 files in ``<home>/keys``, made once.

``RAWORC_JWT_SECRET`` and ``RAWORC_MASTER_KEY`` take the place of a file where they are set: they become a key by
HKDF (RFC 5869), so that their length and spelling are free.
"""

import contextlib
import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from raworc.errors import BadRequest
from raworc.settings import Settings

KEY_BYTES: Final = 32
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
        master=_given("RAWORC_MASTER_KEY", settings.master_key) or _from_file(folder / "master"),
    )


def key_id(master_key: bytes) -> str:
    """What a data key says it was wrapped by; tells nothing of the key."""
    return hashlib.sha256(b"raworc master key id" + master_key).hexdigest()[:16]


def _given(name: str, secret: str | None) -> bytes | None:
    if not secret:
        return None
    if len(secret) < _MIN_SECRET_CHARACTERS:
        raise BadRequest(f"'{name}' must have at least {_MIN_SECRET_CHARACTERS} characters: use a long random text")
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
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)  # the names, too: a lost key loses what it sealed
    os.close(folder)
