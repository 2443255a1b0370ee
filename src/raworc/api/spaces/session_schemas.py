"""Sessions and messages of the spaces contract: what requests carry and what is answered, field by field."""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from raworc.api.bodies import Body
from raworc.api.schemas import Answer, Json, Time
from raworc.domain.agents import DEFAULT_SPACE
from raworc.domain.sessions import MAX_CONTENT, MAX_METADATA_BYTES

Content = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_CONTENT})]
State = Literal["INIT", "IDLE", "BUSY", "PAUSED", "SUSPENDED", "ERROR", "TERMINATED"]
_METADATA = f"Your own; at most {MAX_METADATA_BYTES} bytes as JSON"


class NewSessionBody(Body):
    """A new session."""

    space: str = Field(default=DEFAULT_SPACE, description="Where it belongs")
    metadata: Json | None = Field(default=None, description=_METADATA)


class SessionChangeBody(Body):
    """What to change; null and what is absent stays."""

    space: str | None = Field(default=None, description="Where it is to belong")
    metadata: Json | None = Field(default=None, description=f"In place of the former. {_METADATA}")


class SessionStateBody(Body):
    """Where a session is to go. Other fields that the document has are accepted and mean nothing."""

    state: State = Field(description="From INIT, IDLE, BUSY and so on only some can be reached")
    termination_reason: str | None = Field(default=None, description="Why it ends, where it is to be TERMINATED")


class SessionRemixBody(Body):
    """A session to be made from another one."""

    space: str | None = Field(default=None, description="Where it belongs; by default where its parent does")
    metadata: Json | None = Field(default=None, description=f"In place of the parent's. {_METADATA}")


class ListedSession(Answer):
    """A session in a list."""

    id: str = Field(description="UUID")
    space: str = Field(description="Where it belongs")
    state: State = Field(description="How it stands")
    created_at: Time = Field(description="When it was made")
    started_at: Time | None = Field(description="When it first had a sandbox")
    last_activity_at: Time | None = Field(description="When something last happened in it")


class Session(Answer):
    """A conversation with the agents of its space, around files of its own."""

    id: str = Field(description="UUID")
    space: str = Field(description="Where it belongs")
    created_by: str = Field(description="The account that made it")
    state: State = Field(description="How it stands")
    container_id: str | None = Field(description="Its sandbox, while there is one")
    persistent_volume_id: str | None = Field(description="Its files, once it was started")
    parent_session_id: str | None = Field(description="What it was remixed from")
    created_at: Time = Field(description="When it was made")
    started_at: Time | None = Field(description="When it first had a sandbox")
    last_activity_at: Time | None = Field(description="When something last happened in it")
    terminated_at: Time | None = Field(description="When it ended")
    termination_reason: str | None = Field(description="Why it ended")
    metadata: Json = Field(description="Your own")


class RemixedSession(Session):
    """A new session, and what it was made from."""

    parent_session: str = Field(description="The same as `parent_session_id`")


class NewMessageBody(Body):
    """Something to say."""

    content: Content = Field(description="The text")


class Message(Answer):
    """Something that was said."""

    id: str = Field(description="UUID")
    session_id: str = Field(description="Where")
    role: Literal["user", "assistant", "system"] = Field(
        description="Who said it; `system`: why a message was not answered"
    )
    content: str = Field(description="The text")
    created_at: Time = Field(description="When")


class MessageCount(Answer):
    """How many there are."""

    count: int = Field(description="Messages of all roles")


class Cleared(Answer):
    """What was removed."""

    deleted: int = Field(description="Messages")
    session_id: str = Field(description="Where")
