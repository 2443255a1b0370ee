"""``raworc rotate-key``: every data key wrapped by another master key, or other data keys, while everything runs.

In an order in which any process can open every secret at any moment, wherever this is cut short: the new key is on
disk before the first data key is wrapped by it, and the old one stays until the next rotation. Running processes
meet a key that they do not know, and look again.
"""

import asyncio
import fcntl
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from raworc.errors import BadRequest, Conflict, NotFound
from raworc.keys import MasterKeys, adopt_next_master_key, load_keys, next_master_key
from raworc.services.data_keys import DataKeys
from raworc.services.secrets import Secrets
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.supervisor.backup import reachable


def run_rotate(settings: Settings) -> int:
    """Rotate; how many data keys were wrapped anew. Blocks.

    With ``RAWORC_MASTER_KEY`` set, that is the key that is gone to; else a new one is made in the home.

    Raises:
        Conflict: another rotation runs.
        Unavailable: a data key was wrapped by a key that is not here; nothing was changed.
    """
    if not settings.home.is_dir():
        raise BadRequest(f"There is no home '{settings.home}': say which with '--home'")
    with reachable(settings) as url, _alone(settings):
        load_keys(settings)
        masters = MasterKeys.of(settings)
        if settings.master_key is not None:
            return asyncio.run(_rewrapped(url, masters, masters.newest()))
        count = asyncio.run(_rewrapped(url, masters, next_master_key(settings)))
        adopt_next_master_key(settings)
        return count


def run_rotate_data(settings: Settings, spaces: Sequence[str]) -> dict[str, int]:
    """Give these spaces (none: all) other data keys; how many values were sealed anew in each. Blocks.

    Raises:
        Conflict: another rotation runs.
        NotFound: no such space; those before it are done.
        Unavailable: something was sealed by a key that is not here.
    """
    if not settings.home.is_dir():
        raise BadRequest(f"There is no home '{settings.home}': say which with '--home'")
    with reachable(settings) as url, _alone(settings):
        load_keys(settings)
        return asyncio.run(_resealed(url, MasterKeys.of(settings), spaces))


async def _resealed(url: str, masters: MasterKeys, spaces: Sequence[str]) -> dict[str, int]:
    db = Database(url, pool_size=1)
    try:
        keys = DataKeys(db, Secrets(masters))
        if spaces:
            return {space: await keys.rotate(space) for space in spaces}
        return {space: count for space in await keys.spaces() if (count := await _if_there(keys, space)) is not None}
    finally:
        await db.close()


async def _if_there(keys: DataKeys, space: str) -> int | None:
    """None where the space was deleted since it was listed."""
    try:
        return await keys.rotate(space)
    except NotFound:
        return None


async def _rewrapped(url: str, masters: MasterKeys, master_key: bytes) -> int:
    db = Database(url, pool_size=1)
    try:
        async with db.transaction() as conn:
            return await Secrets(masters).rewrap(conn, master_key)
    finally:
        await db.close()


@contextmanager
def _alone(settings: Settings) -> Generator[None]:
    descriptor = os.open(settings.run_dir / "rotate.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Conflict("Another rotation runs on this home: wait until it is over") from None
    finally:
        os.close(descriptor)
