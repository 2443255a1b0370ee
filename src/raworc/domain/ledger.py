"""Which recorded calls are meant: by whom, of what, and how they ended."""

from dataclasses import dataclass, field
from datetime import datetime

from raworc.domain.periods import BEGINNING, END
from raworc.domain.usage import RequestType


@dataclass(frozen=True)
class Outcome:
    """How calls ended: all that failed, or none; and between which status codes, both included."""

    failed: bool | None = None
    least_status: int | None = None
    most_status: int | None = None


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Calls that began from ``start`` on and before ``end``; None chooses all.

    ``spaces``: where whoever asks may look, None for everywhere.
    """

    spaces: frozenset[str] | None = None
    space: str | None = None
    train_id: str | None = None
    account_id: str | None = None
    model: str | None = None
    request_type: RequestType | None = None
    outcome: Outcome = field(default_factory=Outcome)
    start: datetime = BEGINNING
    end: datetime = END


def outcome(text: str) -> Outcome:
    """``success`` or ``error``, a status code (``429``), or a class of them (``4xx``).

    Raises:
        ValueError: it is none of these.
    """
    if text in {"success", "error"}:
        return Outcome(failed=text == "error")
    if len(text) == 3 and text[0] in "12345":  # noqa: PLR2004  every status code has three digits
        if text[1:].lower() == "xx":
            return Outcome(None, int(text[0]) * 100, int(text[0]) * 100 + 99)
        if text.isascii() and text.isdecimal():
            return Outcome(None, int(text), int(text))
    raise ValueError("must be 'success', 'error', a status code as '429', or a class of them as '4xx'")
