"""Secrets at rest: AES-256-GCM with a data key per space, each wrapped by the master key.

A sealed value is bound to its table, agent or space, name and key version, a data key to its space and version: a row
copied elsewhere does not open. Values leave it only towards a sandbox's environment, or revealed by those who may.
"""

import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.names import check_secret_key
from raworc.domain.text import is_plain
from raworc.errors import BadRequest, FieldError, Unavailable
from raworc.keys import MasterKeys, key_id
from raworc.store import secrets as store
from raworc.store.secrets import Sealed, WrappedKey

MAX_VALUE_BYTES: Final = 65_536
MAX_ALL_BYTES: Final = 1_048_576
"""Of one agent; the kernel starts no process with an environment of more than about twice that."""
MAX_COUNT: Final = 256
"""Of one agent; each is looked for in all that is recorded of it."""
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_FIRST_VERSION: Final = 1


class Secrets:
    """Seals and opens secrets under the master keys of a home, or one of 32 bytes."""

    def __init__(self, master: MasterKeys | bytes) -> None:
        self._masters = MasterKeys(lambda: [master]) if isinstance(master, bytes) else master

    async def put(self, conn: AsyncConnection, agent_id: uuid.UUID, space: str, values: Mapping[str, str]) -> None:
        """Add or replace secrets of an agent.

        Raises:
            BadRequest: see :func:`check_secrets`; or all of them are more than an agent may have.
            Unavailable: the space's data key was sealed by another master key.
        """
        check_secrets(values)
        if not values:
            return
        await store.upsert(conn, agent_id, await self.sealed(conn, space, of_agent(agent_id), values))
        count, size_bytes = await store.weight(conn, agent_id)
        if count > MAX_COUNT:
            raise BadRequest(f"An agent may have at most {MAX_COUNT} secrets: remove some")
        if size_bytes > MAX_ALL_BYTES:
            raise BadRequest(f"The secrets of an agent may have at most {MAX_ALL_BYTES} bytes together: remove some")

    async def values(self, conn: AsyncConnection, agent_id: uuid.UUID, space: str) -> dict[str, str]:
        """All secrets of an agent, opened.

        Raises:
            Unavailable: the master key is another one, or a row was tampered with.
        """
        return await self.opened(conn, space, of_agent(agent_id), await store.of_agent(conn, agent_id))

    async def sealed(self, conn: AsyncConnection, space: str, place: str, values: Mapping[str, str]) -> list[Sealed]:
        """Secrets sealed with the space's newest data key for one ``place`` (:func:`of_agent`, :func:`of_space`).

        Raises:
            Unavailable: the space's data key was sealed by another master key.
        """
        version, key = await self._newest(conn, space)
        return [_seal(key, version, place, name, value) for name, value in values.items()]

    async def opened(self, conn: AsyncConnection, space: str, place: str, rows: Sequence[Sealed]) -> dict[str, str]:
        """The values of sealed secrets by their names.

        Raises:
            Unavailable: the master key is another one, or a row was tampered with or comes from another place.
        """
        if not rows:
            return {}
        keys = {wrapped.version: wrapped for wrapped in await store.data_keys_of(conn, space)}
        opened = {version: self._unwrap(keys[version]) for version in {row.key_version for row in rows} & keys.keys()}
        return {row.key: _open(opened.get(row.key_version), place, row) for row in rows}

    async def seal(self, conn: AsyncConnection, space: str, binding: str, value: str) -> Sealed:
        """A value of its own, under a space's newest data key. ``binding`` names where it is kept.

        Raises:
            Unavailable: the space's data key was sealed by another master key.
        """
        version, key = await self._newest(conn, space)
        nonce = os.urandom(_NONCE_BYTES)
        return Sealed(binding, version, nonce, key.encrypt(nonce, value.encode(), f"{binding}|{version}".encode()))

    async def unseal(self, conn: AsyncConnection, space: str, sealed: Sealed) -> str:
        """What :meth:`seal` was given; ``sealed.key`` is the binding.

        Raises:
            Unavailable: the master key is another one, or the row was tampered with.
        """
        found = [key for key in await store.data_keys_of(conn, space) if key.version == sealed.key_version]
        if not found:
            raise _closed(f"'{sealed.key}' was sealed with a data key that is not there")
        try:
            binding = f"{sealed.key}|{sealed.key_version}".encode()
            return self._unwrap(found[0]).decrypt(sealed.nonce, sealed.ciphertext, binding).decode()
        except InvalidTag:
            raise _closed(f"'{sealed.key}' was changed outside raworc") from None

    async def rewrap(self, conn: AsyncConnection, master_key: bytes) -> int:
        """Wrap every data key by ``master_key``; how many were wrapped by another. Secrets stay as they are.

        Raises:
            Unavailable: one of them was wrapped by a key that is not here; nothing may be stored then.
        """
        wanted = key_id(master_key)
        others = [key for key in await store.lock_data_keys(conn) if key.master_key_id != wanted]
        for key in others:
            await store.replace_data_key(conn, _wrap(master_key, self._unwrapped(key), key.space, key.version))
        return len(others)

    async def add_key(self, conn: AsyncConnection, space: str, version: int) -> int:
        """Make another data key for a space, which is its newest from now on; its version."""
        await store.add_data_key(conn, _wrap(self._masters.newest(), os.urandom(_KEY_BYTES), space, version))
        return version

    async def _newest(self, conn: AsyncConnection, space: str) -> tuple[int, AESGCM]:
        await store.lock_sealing(conn, space)
        found = await store.data_keys_of(conn, space)
        if not found:
            await self.add_key(conn, space, _FIRST_VERSION)
            found = await store.data_keys_of(conn, space)  # ours, or that of whoever was first
        return found[0].version, self._unwrap(found[0])

    def _unwrap(self, key: WrappedKey) -> AESGCM:
        return AESGCM(self._unwrapped(key))

    def _unwrapped(self, key: WrappedKey) -> bytes:
        master = self._masters.find(key.master_key_id)
        if master is None:
            raise _closed(f"The data key of space '{key.space}' belongs to another master key")
        nonce, body = key.wrapped[:_NONCE_BYTES], key.wrapped[_NONCE_BYTES:]
        try:
            return AESGCM(master).decrypt(nonce, body, _key_binding(key.space, key.version))
        except InvalidTag:
            raise _closed(f"The data key of space '{key.space}' was changed outside raworc") from None


def of_agent(agent_id: uuid.UUID) -> str:
    """The place of an agent's secrets."""
    return f"agent_secrets|{agent_id}"


def of_space(space: str) -> str:
    """The place of a space's own secrets."""
    return f"space_secrets|{space}"


def check_secrets(values: Mapping[str, str]) -> None:
    """Nothing, when all of them can be secrets: environment variables.

    Raises:
        BadRequest: a name outside its rule, a value above 64 KiB or with a NUL byte. Values are not repeated.
    """
    for name, value in values.items():
        check_secret_key(name)
        if not is_plain(value):
            raise _refused(name, "must be text without NUL bytes")
        if len(value.encode()) > MAX_VALUE_BYTES:
            raise _refused(name, f"must have at most {MAX_VALUE_BYTES} bytes")


def _wrap(master_key: bytes, key: bytes, space: str, version: int) -> WrappedKey:
    nonce = os.urandom(_NONCE_BYTES)
    wrapped = nonce + AESGCM(master_key).encrypt(nonce, key, _key_binding(space, version))
    return WrappedKey(space, version, wrapped, key_id(master_key))


def _seal(key: AESGCM, version: int, place: str, name: str, value: str) -> Sealed:
    nonce = os.urandom(_NONCE_BYTES)
    return Sealed(name, version, nonce, key.encrypt(nonce, value.encode(), _value_binding(place, name, version)))


def _open(key: AESGCM | None, place: str, row: Sealed) -> str:
    if key is None:
        raise _closed(f"Secret '{row.key}' was sealed with a data key that is not there")
    try:
        return key.decrypt(row.nonce, row.ciphertext, _value_binding(place, row.key, row.key_version)).decode()
    except InvalidTag:
        raise _closed(f"Secret '{row.key}' was changed outside raworc") from None


def _key_binding(space: str, version: int) -> bytes:
    return f"data_keys|{space}|{version}".encode()


def _value_binding(place: str, name: str, version: int) -> bytes:
    return f"{place}|{name}|{version}".encode()


def _closed(reason: str) -> Unavailable:
    return Unavailable(f"{reason}: start with the master key that wrote it, or put the secret again")


def _refused(name: str, reason: str) -> BadRequest:
    return BadRequest(f"Secret '{name}' {reason}", details=(FieldError(f"secrets.{name}", reason),))
