"""What requests about sharing agents carry."""

from pydantic import Field

from raworc.api.bodies import Body


class PublishBody(Body):
    """What a remix of the agent by another account may take."""

    code: bool = Field(default=True, description="Its code, and with it instructions and setup")
    secrets: bool | None = Field(
        default=None,
        description="Shown as true by default, but only `true` in this request gives them to other accounts",
    )
    content: bool = Field(default=True, description="Its other files; without them nobody else can remix it")
