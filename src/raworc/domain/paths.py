"""Which paths below ``/agent`` a client may name. Where links lead is the driver's business."""

from typing import Final

from raworc.errors import BadRequest

MAX_PATH_BYTES: Final = 4096
MAX_NAME_BYTES: Final = 255


def check_path(path: str) -> str:
    """``path`` itself: relative, no empty, ``.`` or ``..`` part, no NUL, of a length that can exist.

    Raises:
        BadRequest: anything else; the message does not repeat what cannot be printed.
    """
    reason = _fault(path)
    if reason is None:
        return path
    raise BadRequest(f"'path' {reason}: name a file below '/agent' without a leading '/' and without '..'")


def _fault(path: str) -> str | None:
    if "\x00" in path:
        return "holds a NUL byte"
    try:
        size_bytes = len(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return "is not text"
    if size_bytes > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        return "has an empty, '.' or '..' part"
    if any(len(part.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES for part in parts):
        return f"has a part longer than {MAX_NAME_BYTES} bytes"
    return None
