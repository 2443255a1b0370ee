"""The texts by which a session's context is compacted and continued, known to operators and the scripted model."""

import re
from typing import Final

SUMMARY_INSTRUCTION: Final = (
    "Summarise this conversation so that the work can go on from your summary alone. Name what was asked, what was"
    " done, which files matter and what is left to do. Answer with the summary and nothing else."
)
CONTINUED: Final = "I have the summary and go on from there."
"""What the model is shown to have said to the summary, so that roles alternate."""

_OPENING: Final = (
    "This session is being continued from a previous conversation that ran out of context."
    " The conversation is summarized below:\n\n"
)  # the words by which such conversations are known to whoever records them
_BEGUN: Final = (
    "(The work on this message has begun: {calls} tool calls of it are done, the summary above tells of them."
    " Do not start again, go on from there.)"
)
_CALLS: Final = re.compile(re.escape(_BEGUN).replace(r"\{calls\}", r"(\d+)"))


def continuing(summary: str) -> str:
    """What a history starts with in place of the messages that ``summary`` tells of."""
    return f"{_OPENING}{summary}"


def continued(text: str) -> str | None:
    """The summary in a message that :func:`continuing` made; None for every other one."""
    return text.removeprefix(_OPENING) if text.startswith(_OPENING) else None


def begun(calls: int) -> str:
    """What is added to a message in work whose first ``calls`` tool calls only the summary tells of."""
    return _BEGUN.format(calls=calls)


def calls_begun(text: str) -> int:
    """The number in a message that :func:`begun` was added to; 0 for every other one."""
    found = _CALLS.search(text)
    return int(found[1]) if found else 0
