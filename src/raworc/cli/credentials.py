"""The token of the last login, and files that only their owner can read."""

import os
import secrets
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from raworc.cli.stop import Stop

T = TypeVar("T")
_OTHERS = 0o077


class Credentials(msgspec.Struct, frozen=True):
    """A token, whose it is, the server it is for, and the CA that its certificate is trusted by."""

    url: str
    user: str
    token: str
    expires_at: datetime
    ca_file: str | None = None

    @property
    def trusts(self) -> Path | None:
        """The CA's file."""
        return Path(self.ca_file) if self.ca_file else None


def load(path: Path) -> Credentials | None:
    """What was saved; None when nothing was."""
    return read_private(path, Credentials)


def save(path: Path, credentials: Credentials) -> None:
    """Keep a login instead of the last one."""
    write_private(path, credentials)


def read_private(path: Path, kind: type[T]) -> T | None:
    """What was written; None when nothing was. Refuses a file that others can read."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Stop(f"cannot read '{path}': {error.strerror}") from error
    if mode & _OTHERS:
        raise Stop(f"'{path}' can be read by others: run 'chmod 600 {path}' and log in again")
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise Stop(f"'{path}' is damaged: run 'raworc login' again") from None


def write_private(path: Path, value: object) -> None:
    """Keep a value as JSON: see :func:`replace_private`."""
    replace_private(path, msgspec.json.encode(value))


def replace_private(path: Path, content: bytes) -> None:
    """Replace the file at once: it is never half written and never readable by others."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise Stop(f"cannot write '{path}': {error.strerror}") from error


def forget(path: Path) -> bool:
    """Delete the file; False when there was none."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Stop(f"cannot delete '{path}': {error.strerror}") from error
    return True
