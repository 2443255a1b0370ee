"""What agents, accounts, spaces, tags and secrets may be called. Always the whole text: ``$`` lets a newline pass."""

import re
import uuid
from collections.abc import Iterable
from typing import Final

from raworc.domain.text import storable_text
from raworc.errors import BadRequest, FieldError

AGENT_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]$"
ACCOUNT_PATTERN: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,254}$"
SPACE_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
LABEL_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$"
TAG_PATTERN: Final = r"^[A-Za-z0-9]+$"
VARIABLE_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_]{0,254}$"
EVERYBODY: Final = "authenticated"
"""The group that every account belongs to; no account is called so."""
MAX_TAG_CHARACTERS: Final = 64
MAX_TAGS: Final = 64

_AGENT_NAME: Final = re.compile(AGENT_PATTERN.strip("^$"), re.ASCII)
_ACCOUNT_NAME: Final = re.compile(ACCOUNT_PATTERN.strip("^$"), re.ASCII)
_SPACE_NAME: Final = re.compile(SPACE_PATTERN.strip("^$"), re.ASCII)
_LABEL: Final = re.compile(LABEL_PATTERN.strip("^$"), re.ASCII)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_TAG: Final = re.compile(TAG_PATTERN.strip("^$"), re.ASCII)
_VARIABLE: Final = re.compile(VARIABLE_PATTERN.strip("^$"), re.ASCII)


def is_agent_name(name: str) -> bool:
    """2 to 63 ASCII letters, digits and hyphens; a letter first, no hyphen last."""
    return _AGENT_NAME.fullmatch(name) is not None


def check_agent_name(name: str) -> str:
    """``name`` itself.

    Raises:
        BadRequest: it is not a name for an agent.
    """
    if is_agent_name(name):
        return name
    wish = "2 to 63 letters, digits and hyphens, a letter first and no hyphen last"
    raise BadRequest(f"'{storable_text(name[:80])}' is no name for an agent: use {wish}", details=_field("name", wish))


def is_account_name(name: str) -> bool:
    """1 to 255 ASCII letters, digits and ``_ . @ + -``; a letter, digit or underscore first."""
    return _ACCOUNT_NAME.fullmatch(name) is not None


def check_account_name(name: str, field: str) -> str:
    """``name`` itself.

    Raises:
        BadRequest: it is not a name for an account; ``field`` says where it was given.
    """
    if name.lower() == EVERYBODY:
        raise BadRequest(f"'{EVERYBODY}' names the group of all accounts", details=_field(field, "is taken"))
    if is_account_name(name):
        return name
    wish = "1 to 255 letters, digits and the signs '_.@+-', a letter, digit or underscore first"
    raise BadRequest(f"'{storable_text(name[:80])}' is no name for an account: use {wish}", details=_field(field, wish))


def is_space_name(name: str) -> bool:
    """1 to 63 ASCII letters, digits, hyphens and underscores; a letter or digit first."""
    return _SPACE_NAME.fullmatch(name) is not None


def check_space_name(name: str) -> str:
    """``name`` itself.

    Raises:
        BadRequest: it is not a name for a space.
    """
    if is_space_name(name):
        return name
    wish = "1 to 63 letters, digits, hyphens and underscores, a letter or digit first"
    raise BadRequest(f"'{storable_text(name[:80])}' is no name for a space: use {wish}", details=_field("name", wish))


def check_label(name: str, field: str) -> str:
    """``name`` itself: of a role or a binding, which may be asked for by its UUID, too.

    Raises:
        BadRequest: not 1 to 255 ASCII letters, digits, hyphens and underscores, or it reads as a UUID.
    """
    if _LABEL.fullmatch(name) and uuid_of(name) is None:
        return name
    wish = "1 to 255 letters, digits, hyphens and underscores, a letter or digit first, and no UUID"
    raise BadRequest(f"'{storable_text(name[:80])}' is no name here: use {wish}", details=_field(field, wish))


def uuid_of(text: str) -> uuid.UUID | None:
    """The UUID that ``text`` writes as UUIDs are answered, or None."""
    return uuid.UUID(text) if _UUID.fullmatch(text) else None


def check_tags(tags: Iterable[str], field: str = "tags") -> list[str]:
    """Tags trimmed, in lower case, each once, in the order given.

    Raises:
        BadRequest: a tag that is not letters and digits, or too many.
    """
    found = list(dict.fromkeys(_tag(tag, field) for tag in tags))
    if len(found) > MAX_TAGS:
        raise BadRequest(f"'{field}' may hold {MAX_TAGS} tags at most", details=_field(field, f"at most {MAX_TAGS}"))
    return found


def check_secret_key(key: str, field: str = "secrets") -> str:
    """``key`` itself.

    Raises:
        BadRequest: it cannot name a secret, which becomes an environment variable; ``field``: where it was given.
    """
    if _VARIABLE.fullmatch(key):
        return key
    wish = "letters, digits and underscores, no digit first, at most 255"
    message = f"'{storable_text(key[:80])}' is no name for a secret: use {wish}"
    raise BadRequest(message, details=_field(field, wish))


def _tag(tag: str, field: str) -> str:
    trimmed = tag.strip(" \t\r\n")
    if len(trimmed) <= MAX_TAG_CHARACTERS and _TAG.fullmatch(trimmed):
        return trimmed.lower()
    wish = f"1 to {MAX_TAG_CHARACTERS} letters and digits"
    raise BadRequest(f"'{storable_text(tag[:80])}' is no tag: use {wish}", details=_field(field, wish))


def _field(field: str, message: str) -> tuple[FieldError, ...]:
    return (FieldError(field, message),)
