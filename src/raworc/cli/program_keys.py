"""Client keys for the programs that this command line starts: made once, kept in a private file, used again.

A program that runs commands of a model's making gets a key that is good for model calls and nothing else, never the
token of the person who starts it.
"""

import fcntl
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from raworc.cli.credentials import read_private, write_private
from raworc.cli.stop import Stop
from raworc.client import Raworc

LASTS: Final = timedelta(days=30)
_RENEWED_BEFORE: Final = timedelta(days=1)


class Purpose(msgspec.Struct, frozen=True):
    """What a key is for: one program, for calls booked under one space and, if said, one train."""

    url: str
    program: str
    space: str
    train_id: str | None


class ProgramKey(msgspec.Struct, frozen=True):
    """A key that was made for a purpose."""

    purpose: Purpose
    id: str
    key: str


def key_for(client: Raworc, purpose: Purpose, path: Path) -> str:
    """The key in the file for this purpose if the server still knows it as this account's own, else a new one."""
    with _alone(path):
        kept = read_private(path, list[ProgramKey]) or []
        user = client.whoami().user
        soon = datetime.now(UTC) + _RENEWED_BEFORE
        good = {
            item.id
            for item in client.keys.list()
            if item.created_by == user and (item.expires_at is None or item.expires_at > soon)
        }
        found = next((item for item in kept if item.purpose == purpose and item.id in good), None)
        if found is not None:
            return found.key
        made = client.keys.create(
            f"{purpose.program} on {socket.gethostname()}",
            space=purpose.space,
            train_id=purpose.train_id,
            expires_at=(datetime.now(UTC) + LASTS).isoformat(timespec="seconds"),
        )
        others = [item for item in kept if item.purpose != purpose]
        write_private(path, [*others, ProgramKey(purpose, made.id, made.key)])
        return made.key


@contextmanager
def _alone(path: Path) -> Generator[None]:
    """One at a time: two programs started together share one key."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(lock, os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as error:
        raise Stop(f"cannot write '{lock}': {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
