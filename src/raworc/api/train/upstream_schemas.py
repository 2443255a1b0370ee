"""Upstreams: what requests carry and what is answered. A credential is carried and never answered."""

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from raworc.api.agents.schemas import Time
from raworc.api.bodies import Body
from raworc.api.schemas import Answer
from raworc.api.train.key_schemas import ModelPattern, Moment
from raworc.domain.client_keys import MAX_MODELS
from raworc.domain.credentials import MAX_CHARACTERS, PLAIN, is_safe_token_url
from raworc.domain.upstreams import NAME_PATTERN, ProviderName

_NAME: Final = re.compile(NAME_PATTERN.strip("^$"))
_MAX_SPACES: Final = 1000


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be 1 to 63 letters, digits and the signs '._-', a letter or digit first")
    return value


def _secret(value: str) -> str:
    if not PLAIN.fullmatch(value.strip()):
        raise ValueError(f"must be 1 to {MAX_CHARACTERS} printable ASCII characters without blanks")
    return value.strip()


def _token_url(value: str) -> str:
    if not PLAIN.fullmatch(value) or not is_safe_token_url(value):
        raise ValueError("must be an address with https, or with http on this machine")
    return value


Name = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})]
Secret = Annotated[
    str, AfterValidator(_secret), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_CHARACTERS})
]
TokenUrl = Annotated[str, AfterValidator(_token_url), WithJsonSchema({"type": "string", "format": "uri"})]
_MODELS: Final = "Patterns of the models it serves, `*` for any text; null or none: all"
_SPACES: Final = "The spaces that may use it; null: every one"
_DEFAULT: Final = "Comes before other upstreams that serve the same"
_BASE_URL: Final = (
    "Where it is, as the provider's own SDK takes it; null: the provider's own address. May have a path. "
    "Addresses of private networks are allowed"
)


class OAuthBody(Body):
    """OAuth tokens; they are renewed a minute before they end."""

    refresh_token: Secret = Field(description="Gets new tokens")
    token_url: TokenUrl = Field(description="The token endpoint")
    client_id: Secret = Field(description="Whom they were issued to")
    client_secret: Secret | None = Field(default=None, description="For clients that have one")
    access_token: Secret | None = Field(default=None, description="Sent with calls; null: the first call gets one")
    expires_at: Moment | None = Field(default=None, description="When it ends; null: before the first call")


def _credential(value: object) -> object:
    """Either form by its JSON type, so that an error names the field and not two alternatives."""
    if value is None or isinstance(value, str):
        return _secret(value) if isinstance(value, str) else None
    return OAuthBody.model_validate(value)


Credential = Annotated[
    str | OAuthBody | None,
    BeforeValidator(_credential),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": MAX_CHARACTERS},
                OAuthBody.model_json_schema(),
                {"type": "null"},
            ]
        }
    ),
]


class UpstreamChangeBody(Body):
    """What to change; what is left out stays."""

    name: Name = Field(default="", description="The `account_id` of its calls")
    provider: ProviderName = Field(default="anthropic", description="Whose wire it speaks; `custom`: both")
    base_url: str | None = Field(default=None, max_length=2048, description=_BASE_URL)
    credential: Credential = Field(
        default=None, description="A key, or OAuth tokens; never answered. Needed again where the host changes"
    )
    models: list[ModelPattern] | None = Field(default=None, max_length=MAX_MODELS, description=_MODELS)
    spaces: list[str] | None = Field(default=None, max_length=_MAX_SPACES, description=_SPACES)
    default: bool = Field(default=False, description=_DEFAULT)


class NewUpstreamBody(UpstreamChangeBody):
    """A new upstream."""

    name: Name = Field(description="The `account_id` of its calls")
    provider: ProviderName = Field(description="Whose wire it speaks; `custom`: both")
    credential: Credential = Field(default=None, description="A key, or OAuth tokens; null: none is sent")


class Upstream(Answer):
    """An upstream: never what it is called with."""

    id: str = Field(description="Names it, as its name does; from the environment: the name")
    name: str = Field(description="The `account_id` of its calls")
    provider: ProviderName = Field(description="Whose wire it speaks; `custom`: both")
    base_url: str = Field(description="Where it is")
    credential: Literal["key", "oauth"] | None = Field(description="What it is called with; null: nothing")
    expires_at: Time | None = Field(description="When its OAuth access token ends")
    models: list[str] = Field(description="Patterns of the models it serves; none: all")
    spaces: list[str] | None = Field(description=_SPACES)
    default: bool = Field(description=_DEFAULT)
    source: Literal["stored", "environment"] = Field(description="Those from the environment are changed there")
    created_at: Time | None = Field(description="When it was made; null: from the environment")
    updated_at: Time | None = Field(description="When it or its credential was changed last")


class OAuthError(Answer):
    """A token endpoint gave no tokens (RFC 6749, 5.2)."""

    error: str = Field(description="Its code, as in `invalid_grant`")
    error_description: str = Field(description="What it said")


class UpstreamDeleted(Answer):
    """The upstream is no more."""

    deleted: Literal[True] = Field(description="Always true")
