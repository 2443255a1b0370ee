"""Sessions of spaces and their messages: ``client.sessions``."""

import math
import time
from collections.abc import Sequence
from typing import Any

from raworc.client.errors import NotFound, StillWorking
from raworc.client.session_shapes import Cleared, ListedSession, Message, MessageCount, Session
from raworc.client.spaces import ROOT
from raworc.client.transport import Transport, segment, without_none


class Sessions:
    """Conversations with the agents of a space. Every method but those that list or create raises NotFound."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self, *, space: str | None = None, state: str | None = None, limit: int = 1000, offset: int = 0
    ) -> tuple[ListedSession, ...]:
        """Newest first: all that this account may see, terminated ones among them."""
        query = {"limit": limit, "offset": offset, **without_none({"space": space, "state": state})}
        return self._transport.get(_ALL, tuple[ListedSession, ...], query)

    def create(self, *, space: str | None = None, metadata: dict[str, Any] | None = None) -> Session:
        """A new one, in space ``default`` where none is named."""
        return self._transport.call("POST", _ALL, Session, without_none({"space": space, "metadata": metadata}))

    def get(self, session_id: str) -> Session:
        """One of them."""
        return self._transport.get(_path(session_id), Session)

    def update(self, session_id: str, *, space: str | None = None, metadata: dict[str, Any] | None = None) -> Session:
        """Change what is given. Raises Conflict where it cannot be moved now."""
        body = without_none({"space": space, "metadata": metadata})
        return self._transport.call("PUT", _path(session_id), Session, body)

    def set_state(self, session_id: str, state: str, *, reason: str | None = None) -> Session:
        """Bring it to a state by its word. Raises Conflict where it may not go there."""
        body = {"state": state, **without_none({"termination_reason": reason})}
        return self._transport.call("PUT", f"{_path(session_id)}/state", Session, body)

    def pause(self, session_id: str) -> Session:
        """Freeze it: its memory is kept."""
        return self._transport.call("POST", f"{_path(session_id)}/pause", Session)

    def suspend(self, session_id: str) -> Session:
        """Remove its sandbox, keep its files."""
        return self._transport.call("POST", f"{_path(session_id)}/suspend", Session)

    def resume(self, session_id: str) -> Session:
        """Undo either."""
        return self._transport.call("POST", f"{_path(session_id)}/resume", Session)

    def remix(self, session_id: str, *, space: str | None = None, metadata: dict[str, Any] | None = None) -> Session:
        """A new one with its files, metadata and agents."""
        body = without_none({"space": space, "metadata": metadata})
        return self._transport.call("POST", f"{_path(session_id)}/remix", Session, body)

    def terminate(self, session_id: str) -> None:
        """End it for good; it stays readable."""
        self._transport.send("DELETE", _path(session_id))

    def messages(self, session_id: str, *, limit: int = 100, offset: int | None = None) -> tuple[Message, ...]:
        """The newest ``limit`` messages, the oldest first; with ``offset`` those after the first so many."""
        query: dict[str, str | int] = {"limit": limit, **without_none({"offset": offset})}
        return self._transport.get(f"{_path(session_id)}/messages", tuple[Message, ...], query)

    def send(self, session_id: str, content: str) -> Message:
        """Say something; the answer is among the messages once it is there. Raises Conflict where it is terminated."""
        return self._transport.call("POST", f"{_path(session_id)}/messages", Message, {"content": content})

    def ask(self, session_id: str, content: str, *, patience_s: float = math.inf) -> Message:
        """Say something and wait for the answer; see :meth:`send` and :meth:`answer`."""
        return self.answer(self.send(session_id, content), patience_s=patience_s)

    def answer(self, message: Message, *, patience_s: float = math.inf) -> Message:
        """Wait for the answer to a message that was sent; what was asked before it is answered first.

        ``role`` is ``system`` where there will be none, and ``content`` says why. Raises StillWorking when the time is
        up, which ends nothing, and NotFound where the message was cleared.
        """
        ends_s, pause_s, earlier = time.monotonic() + patience_s, _FIRST_PAUSE_S, None
        while True:
            before, after = _around(self.messages(message.session_id, limit=_SEEN), message)
            earlier = unanswered(before) if earlier is None else earlier
            answers = [one for one in after if one.role != _PERSON]
            if len(answers) > earlier:
                return answers[earlier]
            if time.monotonic() + pause_s > ends_s:
                raise StillWorking(f"message '{message.id}' is not answered yet; its session goes on")
            time.sleep(pause_s)
            pause_s = min(pause_s * _SLOWER, _LAST_PAUSE_S)

    def count_messages(self, session_id: str) -> int:
        """How many messages there are."""
        return self._transport.get(f"{_path(session_id)}/messages/count", MessageCount).count

    def clear_messages(self, session_id: str) -> int:
        """Remove them, also from what models are told; how many."""
        return self._transport.call("DELETE", f"{_path(session_id)}/messages", Cleared).deleted


_ALL = f"{ROOT}/sessions"
_PERSON = "user"
_SEEN = 200
_FIRST_PAUSE_S, _SLOWER, _LAST_PAUSE_S = 0.05, 1.5, 1.0


def unanswered(messages: Sequence[Message]) -> int:
    """How many of them wait for an answer: answers come in the order of what they answer."""
    waiting = 0
    for one in messages:
        waiting = waiting + 1 if one.role == _PERSON else max(waiting - 1, 0)
    return waiting


def _around(found: Sequence[Message], message: Message) -> tuple[Sequence[Message], Sequence[Message]]:
    at = next((at for at, one in enumerate(found) if one.id == message.id), None)
    if at is None:
        raise NotFound(f"Message '{message.id}' is not there any more")
    return found[:at], found[at + 1 :]


def _path(session_id: str) -> str:
    return f"{_ALL}/{segment(session_id)}"
