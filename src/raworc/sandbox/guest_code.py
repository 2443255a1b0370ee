"""The guest's files as they are handed in: compiled by the very Python that will run them, which starts quicker.

Compiled code belongs to one version of Python; when the system's changes, it is compiled anew. Where that fails,
the sources are handed in: the same guest, five milliseconds later.
"""

import contextlib
import os
import struct
import subprocess
from pathlib import Path
from typing import Final

from raworc.sandbox.recipe import PYTHON

_NAMES: Final = ("guest", "command", "frames")
_TIMEOUT_S: Final = 20
_PROGRAM: Final = """
import importlib.util, marshal, struct, sys
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        code = compile(file.read(), path.rpartition("/")[2], "exec", dont_inherit=True)
    made = importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)
    sys.stdout.buffer.write(struct.pack("!I", len(made)) + made)
"""
"""Prints each file compiled, behind its length. The header: magic number, flags, two fields that nobody reads."""


class GuestCode:
    """Files of the guest by name, as good as they can be had now."""

    def __init__(self) -> None:
        self._made_by: tuple[int, ...] | None = None
        self._files: dict[str, bytes] = {}

    def files(self) -> dict[str, bytes]:
        """``guest.pyc`` and what it imports, or ``guest.py`` and so on."""
        python = Path(PYTHON).stat()
        made_by = (python.st_ino, python.st_mtime_ns, python.st_size)
        if made_by != self._made_by:
            self._files = _compiled() or sources()
            self._made_by = made_by
        return self._files


def sources() -> dict[str, bytes]:
    """The guest's source, by file name."""
    return {path.name: path.read_bytes() for path in _paths()}


def _compiled() -> dict[str, bytes] | None:
    try:
        done = subprocess.run(  # noqa: S603  the system's Python and a program of ours
            [PYTHON, "-I", "-S", "-c", _PROGRAM, *map(os.fspath, _paths())],
            env={},
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    files: dict[str, bytes] = {}
    rest = done.stdout
    with contextlib.suppress(struct.error):
        for name in _NAMES:
            size = struct.unpack_from("!I", rest)[0]
            files[f"{name}.pyc"] = rest[4 : 4 + size]
            rest = rest[4 + size :]
    return files if len(files) == len(_NAMES) else None


def _paths() -> list[Path]:
    return [Path(__file__).parent / "guest" / f"{name}.py" for name in _NAMES]
