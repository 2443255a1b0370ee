"""Client keys: what requests carry and what is answered."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from raworc.api.agents.schemas import Time
from raworc.api.bodies import Body
from raworc.api.schemas import Answer
from raworc.domain.client_keys import MAX_MODELS, MAX_NAME_CHARACTERS, MODEL_PATTERN, TRAIN_PATTERN

_TRAIN: Final = re.compile(TRAIN_PATTERN.strip("^$"))
_MODEL: Final = re.compile(MODEL_PATTERN.strip("^$"))


def _train_id(value: str) -> str:
    if not _TRAIN.fullmatch(value):
        raise ValueError("must be 1 to 255 letters, digits and the signs '._:-'")
    return value


def _model(value: str) -> str:
    if not _MODEL.fullmatch(value):
        raise ValueError("must be 1 to 200 letters, digits and the signs '._:/@+-', with '*' for any text")
    return value


def _name(value: str) -> str:
    if not 1 <= len(value.strip()) <= MAX_NAME_CHARACTERS:
        raise ValueError(f"must be 1 to {MAX_NAME_CHARACTERS} characters")
    return value.strip()


def _time(value: object) -> object:
    """RFC 3339; without an offset it is UTC."""
    if not isinstance(value, str):
        raise ValueError("must be a time as in '2030-01-31T12:00:00Z'")  # noqa: TRY004  pydantic wants a ValueError
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a time as in '2030-01-31T12:00:00Z'") from None


Name = Annotated[
    str, AfterValidator(_name), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARACTERS})
]
TrainId = Annotated[str, AfterValidator(_train_id), WithJsonSchema({"type": "string", "pattern": TRAIN_PATTERN})]
ModelPattern = Annotated[str, AfterValidator(_model), WithJsonSchema({"type": "string", "pattern": MODEL_PATTERN})]
Moment = Annotated[datetime, BeforeValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})]


class Budget(Body):
    """How much a key may use. It is kept with the key; nothing is refused for it yet."""

    usd: float | None = Field(default=None, gt=0, le=1e9, description="US dollars")
    tokens: int | None = Field(default=None, gt=0, le=2**53 - 1, description="Tokens of all kinds")
    calls: int | None = Field(default=None, gt=0, le=2**53 - 1, description="Model calls")
    per: Literal["day", "month", "total"] = Field(default="total", description="What they are counted over")


class NewKeyBody(Body):
    """A new key."""

    name: Name = Field(description="For people; need not be unique")
    space: str = Field(default="default", description="What calls with the key are booked under")
    train_id: TrainId | None = Field(default=None, description="The one train of its calls; null: the caller names it")
    models: list[ModelPattern] | None = Field(
        default=None, max_length=MAX_MODELS, description="Patterns of the models it may call; null or none: all"
    )
    budget: Budget | None = Field(default=None, description="How much it may use")
    expires_at: Moment | None = Field(default=None, description="When it ends; null: never")


class ClientKey(Answer):
    """A key as it is listed: never the key itself."""

    id: str = Field(description="Names it; `DELETE /api/keys/{id}` revokes it")
    name: str = Field(description="For people")
    space: str = Field(description="What calls with it are booked under")
    prefix: str = Field(description="Its first characters, to tell keys apart by")
    train_id: str | None = Field(description="The one train of its calls; null: the caller names it")
    models: list[str] = Field(description="Patterns of the models it may call; none: all")
    budget: dict[str, Any] | None = Field(description="How much it may use")
    expires_at: Time | None = Field(description="When it ends; null: never")
    created_at: Time = Field(description="When it was made")
    created_by: str = Field(description="The account that it speaks for")


class MadeKey(ClientKey):
    """A key that was just made."""

    key: str = Field(description="The key itself; it is shown this once")


class KeyDeleted(Answer):
    """The key is no more."""

    deleted: Literal[True] = Field(description="Always true")
