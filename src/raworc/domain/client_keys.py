"""Client keys as texts: how one looks, what is kept of it, and what it says about models and trains.

``rwk_``, 40 random letters and digits, and 6 more that are their checksum: a key that was cut off or mistyped is
known for none without asking anybody, and programs that look for leaked keys find it.
"""

import hashlib
import re
import secrets
import string
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final
from zlib import crc32

PREFIX: Final = "rwk_"
TRAIN_PATTERN: Final = r"^[a-zA-Z0-9._:-]{1,255}$"
MODEL_PATTERN: Final = r"^[A-Za-z0-9._:/@*+-]{1,200}$"
MAX_MODELS: Final = 64
MAX_NAME_CHARACTERS: Final = 100

_SIGNS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM: Final = 40
_CHECKSUM: Final = 6
_SHOWN: Final = 8
_KEY: Final = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{_RANDOM}}})([0-9A-Za-z]{{{_CHECKSUM}}})", re.ASCII)


def new_key() -> str:
    """A key that nobody has."""
    body = "".join(secrets.choice(_SIGNS) for _ in range(_RANDOM))
    return PREFIX + body + _checksum(body)


def is_key(text: str) -> bool:
    """Whether this can be one: its form and its checksum."""
    found = _KEY.fullmatch(text)
    return found is not None and _checksum(found[1]) == found[2]


def digest_of(key: str) -> bytes:
    """What is stored in its place. SHA-256 does: 238 random bits cannot be guessed."""
    return hashlib.sha256(key.encode()).digest()


def shown_of(key: str) -> str:
    """Its first characters, for people to tell keys apart by."""
    return key[: len(PREFIX) + _SHOWN]


def allows(models: Sequence[str], model: str | None) -> bool:
    """Whether one of these patterns (``*`` is any text) covers a model; none at all cover every one."""
    return not models or (model is not None and any(fnmatchcase(model, pattern) for pattern in models))


def _checksum(body: str) -> str:
    number, signs = crc32(body.encode()), ""
    for _ in range(_CHECKSUM):
        number, rest = divmod(number, len(_SIGNS))
        signs = _SIGNS[rest] + signs
    return signs
