"""The text by which a session's context is compacted, known to the operator that asks and to the scripted model."""

from typing import Final

SUMMARY_INSTRUCTION: Final = (
    "Summarise this conversation so that the work can go on from your summary alone. Name what was asked, what was"
    " done, which files matter and what is left to do. Answer with the summary and nothing else."
)
