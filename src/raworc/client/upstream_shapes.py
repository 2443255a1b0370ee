"""Upstreams as the server answers them."""

from datetime import datetime
from typing import Any, Literal, TypedDict

from msgspec import Struct

Provider = Literal["anthropic", "openai", "custom"]


class Upstream(Struct, frozen=True):
    """A provider's account that model calls go to. ``models``: none for all; ``spaces``: None for every one."""

    id: str
    name: str
    provider: Provider
    base_url: str
    credential: Literal["key", "oauth"] | None
    expires_at: datetime | None
    models: list[str]
    spaces: list[str] | None
    default: bool
    source: Literal["stored", "environment"]
    created_at: datetime | None
    updated_at: datetime | None


class UpstreamFields(TypedDict, total=False):
    """What is said of an upstream. ``credential``: a key, OAuth tokens (see the API's reference), or None for none."""

    base_url: str | None
    credential: str | dict[str, Any] | None
    models: list[str] | None
    spaces: list[str] | None
    default: bool


class UpstreamChange(UpstreamFields, total=False):
    """What to change; what is not named stays."""

    name: str
    provider: Provider
