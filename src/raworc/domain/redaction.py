"""What must not be kept of a recorded call: credentials in headers, and keys in what was said.

Redaction keeps lengths, so that positions in a recorded stream stay true, and JSON stays JSON.
"""

import re
from collections.abc import Iterable
from typing import Final

CREDENTIAL_HEADERS: Final = frozenset(
    {b"authorization", b"x-api-key", b"api-key", b"cookie", b"set-cookie", b"proxy-authorization"}
)
_KEYS: Final = {
    b"sk-": re.compile(rb"sk-[A-Za-z0-9_-]{16,}"),
    b"rwk_": re.compile(rb"rwk_[A-Za-z0-9]{16,}"),
    b"eyJ": re.compile(rb"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}"),
    b"gh": re.compile(rb"gh[pousr]_[A-Za-z0-9]{30,}"),
    b"AKIA": re.compile(rb"AKIA[0-9A-Z]{16}"),
    b"xox": re.compile(rb"xox[abeoprs]-[A-Za-z0-9-]{10,}"),
}


def without_credentials(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers (lower-case names) without those that carry credentials."""
    return [header for header in headers if header[0] not in CREDENTIAL_HEADERS]


def redacted(body: bytes) -> bytes:
    """The bytes with everything that looks like a key replaced by as many asterisks."""
    for mark, key in _KEYS.items():
        if mark in body:
            body = key.sub(lambda found: b"*" * len(found[0]), body)
    return body
