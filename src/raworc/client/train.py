"""What model calls were recorded, what they used and what they cost."""

from typing import Any, Unpack

from raworc.client.train_shapes import Chosen, Conversation, Conversations, Daily, RecordedCalls, Stats
from raworc.client.transport import Query, Transport, segment, without_none

_NAMES = {
    "train_id": "trainId",
    "account_id": "accountId",
    "request_type": "requestType",
    "start": "from",
    "end": "to",
}


class Train:
    """Recorded model calls of every space that the account may look into: ``client.train``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def stats(self, **chosen: Unpack[Chosen]) -> Stats:
        """The figures of the last 24 hours, or of a period."""
        return self._transport.get("/api/stats", Stats, _query(chosen))

    def daily(self, days: int = 30, **chosen: Unpack[Chosen]) -> Daily:
        """What was used on each of the last days (UTC), or on the days of a period."""
        return self._transport.get("/api/token-usage/daily", Daily, {"days": days, **_query(chosen)})

    def requests(self, *, limit: int = 50, offset: int = 0, **chosen: Unpack[Chosen]) -> RecordedCalls:
        """A page of calls, the newest first."""
        query: Query = {"limit": limit, "offset": offset, **_query(chosen)}
        return self._transport.get("/api/requests", RecordedCalls, query)

    def request(self, request_id: str) -> dict[str, Any]:
        """One call with its bodies, as the document has it. Raises NotFound."""
        return self._transport.get(f"/api/requests/{segment(request_id)}", dict[str, Any])

    def conversations(self, *, limit: int = 50, offset: int = 0, **chosen: Unpack[Chosen]) -> Conversations:
        """A page of conversations, the last used first."""
        query: Query = {"limit": limit, "offset": offset, **_query(chosen)}
        return self._transport.get("/api/conversations", Conversations, query)

    def conversation(self, conversation_id: str, *, limit: int = 100, offset: int = 0) -> Conversation:
        """One conversation with a page of its calls, the oldest first. Raises NotFound."""
        path = f"/api/conversations/{segment(conversation_id)}"
        return self._transport.get(path, Conversation, {"limit": limit, "offset": offset})


def _query(chosen: Chosen) -> Query:
    return {_NAMES.get(name, name): value for name, value in without_none(chosen).items()}
