"""Secrets at rest: AES-256-GCM with a data key per space, each wrapped by the master key.

A sealed value is bound to its table, agent, name and key version, a data key to its space and version: a row
copied elsewhere does not open. Values leave this module only towards a sandbox's environment.
"""

import os
import uuid
from collections.abc import Mapping
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
            BadRequest: see :func:`check_secrets`.
            Unavailable: the space's data key was sealed by another master key.
        """
        check_secrets(values)
        if not values:
            return
        version, key = await self._newest(conn, space)
        sealed = [_seal(key, version, agent_id, name, value) for name, value in values.items()]
        await store.upsert(conn, agent_id, sealed)

    async def values(self, conn: AsyncConnection, agent_id: uuid.UUID, space: str) -> dict[str, str]:
        """All secrets of an agent, opened.

        Raises:
            Unavailable: the master key is another one, or a row was tampered with.
        """
        sealed = await store.of_agent(conn, agent_id)
        if not sealed:
            return {}
        keys = {wrapped.version: wrapped for wrapped in await store.data_keys_of(conn, space)}
        opened = {version: self._unwrap(keys[version]) for version in {row.key_version for row in sealed} & keys.keys()}
        return {row.key: _open(opened.get(row.key_version), agent_id, row) for row in sealed}

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

    async def _newest(self, conn: AsyncConnection, space: str) -> tuple[int, AESGCM]:
        found = await store.data_keys_of(conn, space)
        if not found:
            made = _wrap(self._masters.newest(), os.urandom(_KEY_BYTES), space, _FIRST_VERSION)
            await store.add_data_key(conn, made)
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


def _seal(key: AESGCM, version: int, agent_id: uuid.UUID, name: str, value: str) -> Sealed:
    nonce = os.urandom(_NONCE_BYTES)
    return Sealed(name, version, nonce, key.encrypt(nonce, value.encode(), _value_binding(agent_id, name, version)))


def _open(key: AESGCM | None, agent_id: uuid.UUID, row: Sealed) -> str:
    if key is None:
        raise _closed(f"Secret '{row.key}' was sealed with a data key that is not there")
    try:
        return key.decrypt(row.nonce, row.ciphertext, _value_binding(agent_id, row.key, row.key_version)).decode()
    except InvalidTag:
        raise _closed(f"Secret '{row.key}' was changed outside raworc") from None


def _key_binding(space: str, version: int) -> bytes:
    return f"data_keys|{space}|{version}".encode()


def _value_binding(agent_id: uuid.UUID, name: str, version: int) -> bytes:
    return f"agent_secrets|{agent_id}|{name}|{version}".encode()


def _closed(reason: str) -> Unavailable:
    return Unavailable(f"{reason}: start with the master key that wrote it, or put the secret again")


def _refused(name: str, reason: str) -> BadRequest:
    return BadRequest(f"Secret '{name}' {reason}", details=(FieldError(f"secrets.{name}", reason),))
