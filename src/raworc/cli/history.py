"""What was typed, kept for the next time in a file that only its owner reads, without what may be a secret."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import History

_SECRET = re.compile(
    r"login|pass|secret|token|authorization|credential|api[-_]?key|\bsk-|\beyJ|\bbearer\b", re.IGNORECASE
)
_KEPT_BYTES = 262_144
_NEWLINE, _ESCAPED = "\n", "\x1f"  # a unit separator is nothing that one types


class PrivateHistory(History):
    """One entry a line, the newest last. A file that cannot be used is done without."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def load_history_strings(self) -> Iterable[str]:
        """The newest first."""
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(handle, "rb") as file:
                size = os.fstat(handle).st_size
                file.seek(max(0, size - _KEPT_BYTES))
                lines = file.read().decode(errors="replace").splitlines()[size > _KEPT_BYTES :]
        except OSError:
            return []
        return [line.replace(_ESCAPED, _NEWLINE) for line in reversed(lines) if line]

    def store_string(self, string: str) -> None:
        """Append it, unless it may hold a secret or begins with a blank."""
        if _SECRET.search(string) or string.startswith(" "):
            return
        line = string.replace(_NEWLINE, _ESCAPED) + _NEWLINE
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._trim()
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, 0o600)
                file.write(line.encode(errors="replace"))
        except OSError:  # not worth a command
            return

    def _trim(self) -> None:
        """Keep the newer half once the file has four times the size that is read."""
        if not self._path.exists() or self._path.stat().st_size < 4 * _KEPT_BYTES:
            return
        kept = self._path.read_bytes()[-_KEPT_BYTES:].partition(b"\n")[2]
        self._path.write_bytes(kept)
