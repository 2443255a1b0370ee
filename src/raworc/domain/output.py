"""How much of a tool's output is kept, and how what is left out is shown."""

from dataclasses import dataclass
from typing import Final

MODEL_CHARACTERS: Final = 8_000
SEGMENT_CHARACTERS: Final = 1_048_576


@dataclass(frozen=True)
class Captured:
    """An output as it was collected: all of it in ``head``, or its two ends and how much is missing between."""

    head: str
    tail: str = ""
    left_out: int = 0


def shown(captured: Captured, limit: int) -> str:
    """At most ``limit`` characters of it, half from each end, and a line between that counts the missing ones."""
    length = len(captured.head) + len(captured.tail)
    if captured.left_out == 0 and length <= limit:
        return captured.head + captured.tail
    keep = limit // 2
    head = captured.head[:keep]
    tail = captured.tail if captured.left_out else captured.head + captured.tail
    tail = tail[max(len(tail) - keep, 0) :]
    missing = captured.left_out + length - len(head) - len(tail)
    return f"{head}\n[... {missing} characters left out ...]\n{tail}"
