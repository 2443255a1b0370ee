"""What the model is told of a session while one turn runs: all since the cutoff, until that fills the context."""

from collections.abc import Sequence
from dataclasses import replace

from raworc.domain.compaction import is_due, summary_request, used_tokens
from raworc.domain.context import Message, PastTurn, past_messages, summary_messages, turn_messages
from raworc.domain.turns import Step
from raworc.services.steps import Cut, Work


class History:
    """The history of a turn in hand. ``steps`` are those of the turn that are finished."""

    def __init__(self, work: Work, *, soft_limit: int) -> None:
        self._soft_limit = soft_limit
        self._past = list(work.past)
        self._present = work.present
        self._cutoff = work.cutoff
        self._may_compact = True
        self.summary = work.summary
        self._before = self._told()

    def messages(self, steps: Sequence[Step]) -> list[Message]:
        """Everything, for the next call."""
        return [*self._before, *turn_messages(self._with(steps))]

    def percent(self, steps: Sequence[Step]) -> int:
        """How full the context is."""
        return 100 * used_tokens([*self._past, self._with(steps)], self.summary) // self._soft_limit

    def is_full(self, steps: Sequence[Step]) -> bool:
        """Whether to compact before the next call; never again after ``keep``."""
        if not self._may_compact:
            return False
        return is_due(self._past, self._with(steps), self.summary, soft_limit=self._soft_limit)

    def to_summarise(self, steps: Sequence[Step] | None) -> list[Message]:
        """What to ask for a summary; of the present turn only what was done. Empty: there is nothing new to tell."""
        present = None if steps is None else self._with(steps)
        return summary_request(self._past, present, self.summary, soft_limit=self._soft_limit)

    def whole_cut(self, summary: str | None) -> Cut:
        """The cutoff that replaces everything before the present turn, which is no part of the history itself."""
        return Cut(summary or self.summary, known=self._cutoff)

    def shorten(self, summary: str, steps: Sequence[Step]) -> Cut:
        """Go on with ``summary`` in place of the past and of ``steps``; the cutoff that says so."""
        told = steps[-1].number if steps else 0
        cut = Cut(summary, step=told, keeps_turn=True, known=self._cutoff)
        self._past, self.summary, self._present = [], summary, replace(self._present, told=told)
        self._before = self._told()
        return cut

    def build_on(self, cutoff: int | None) -> None:
        """The next cutoff of this turn builds on this one; None: somebody else's counts, so ours are not kept."""
        self._cutoff = -1 if cutoff is None else cutoff

    def keep(self) -> None:
        """No summary could be had: go on with everything."""
        self._may_compact = False

    def _with(self, steps: Sequence[Step]) -> PastTurn:
        return replace(self._present, steps=tuple(steps))

    def _told(self) -> list[Message]:
        return [*summary_messages(self.summary), *past_messages(self._past)]
