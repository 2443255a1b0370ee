"""TLS on the port: a certificate and its key from two files, read again when they are renewed.

Only the port speaks TLS; the private sockets stay plain. New connections get what the files hold then, open ones
keep what they began with. A file that cannot be used is refused at the start, and later told to the log.
"""

import asyncio
import os
import ssl
from pathlib import Path
from typing import Final, Self

import structlog

from raworc.errors import BadRequest
from raworc.settings import Settings

LOOK_EVERY_S: Final = 2.0

log = structlog.get_logger(__name__)

_Stamp = tuple[tuple[int, int, int], ...]


class Certificate:
    """What the two files hold, now and later. ``handshake_timeout_s`` is how long a client may take to agree."""

    def __init__(self, files: tuple[Path, Path], handshake_timeout_s: float) -> None:
        self.handshake_timeout_s = handshake_timeout_s
        self._files = files
        self._present = _loaded(files)
        self.context = _loaded(files)  # the listener's, for good: each connection is moved to the present one
        self.context.sni_callback = self._present_for

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """As the settings say; None: plain HTTP.

        Raises:
            BadRequest: a file is missing, unreadable, encrypted, or the two do not belong together.
        """
        if settings.tls_cert is None and settings.tls_key is None:
            return None
        if settings.tls_cert is None or settings.tls_key is None:
            raise BadRequest("TLS takes both: give '--tls-cert' and '--tls-key'")
        files = (settings.tls_cert, settings.tls_key)
        return cls(files, settings.header_timeout_s)

    async def watch(self) -> None:
        """Look for renewed files, for ever."""
        seen = _stamp(self._files)
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            found = _stamp(self._files)
            if found != seen:
                seen = found
                self.renew()

    def renew(self) -> None:
        """Use what the files hold now, if it can be used; else go on with what was there."""
        try:
            self._present = _loaded(self._files)
        except BadRequest as error:
            log.warning("renewed certificate cannot be used, the old one stays", reason=error.message)
        else:
            log.info("certificate renewed", file=str(self._files[0]))

    def _present_for(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._present


def _loaded(files: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    certificate, key = files
    for option, path in (("--tls-cert", certificate), ("--tls-key", key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise BadRequest(f"'{option}': '{path}' cannot be read: {error.strerror}") from error
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        reason = error.reason or "not PEM"
        if reason == "KEY_VALUES_MISMATCH":
            raise BadRequest(f"'{key}' is not the key of the certificate in '{certificate}'") from error
        raise BadRequest(
            f"'{certificate}' and '{key}' cannot be used ({reason}): both must be PEM, the certificate first in its"
            " chain, the key without a passphrase"
        ) from error
    return context


def _no_password() -> bytes:
    """For a key with a passphrase: without this, OpenSSL would ask the terminal for it."""
    return b""


def _stamp(files: tuple[Path, Path]) -> _Stamp:
    """What changes when a file is written or replaced; links are followed."""
    found: list[tuple[int, int, int]] = []
    for path in files:
        try:
            status = os.stat(path)  # noqa: PTH116  no object a look
        except OSError:
            found.append((0, 0, 0))
        else:
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found)
