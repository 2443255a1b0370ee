"""Upstreams that the environment provides: a provider's usual variables are all it takes."""

from typing import Final
from urllib.parse import urlsplit

from raworc.domain.credentials import PLAIN, ApiKey
from raworc.domain.upstreams import DEFAULT_URLS, Offer, ProviderName
from raworc.errors import BadRequest
from raworc.services.upstream_uses import Use
from raworc.settings import Settings
from raworc.wire.client import Target

_OLLAMA_PORT: Final = 11434


def provided_upstreams(settings: Settings) -> tuple[Use, ...]:
    """``anthropic``, ``openai`` and ``ollama``, as far as their variables are set; they serve every space.

    Raises:
        BadRequest: a variable that cannot be used; the message names it.
    """
    found: list[Use] = []
    if settings.anthropic_api_key:
        found.append(_of_key("anthropic", "ANTHROPIC_API_KEY", settings.anthropic_api_key, anthropic_url(settings)))
    if settings.openai_api_key:
        found.append(_of_key("openai", "OPENAI_API_KEY", settings.openai_api_key, openai_url(settings)))
    if settings.ollama_host:
        url = _checked("OLLAMA_HOST", ollama_url(settings.ollama_host))
        found.append(Use("ollama", 0, Offer("ollama", "custom"), url))
    return tuple(found)


def anthropic_url(settings: Settings) -> str:
    """Where Anthropic's wire is spoken, with clients' own credentials, too. Raises as ``provided_upstreams``."""
    return _checked("ANTHROPIC_BASE_URL", settings.anthropic_base_url or DEFAULT_URLS["anthropic"])


def openai_url(settings: Settings) -> str:
    """Where OpenAI's wire is spoken, with clients' own credentials, too. Raises as ``provided_upstreams``."""
    return _checked("OPENAI_BASE_URL", settings.openai_base_url or DEFAULT_URLS["openai"])


def ollama_url(host: str) -> str:
    """``OLLAMA_HOST`` as an address. It may lack the scheme, the host or the port, as Ollama itself reads it."""
    scheme, found, rest = host.strip().partition("://")
    if not found:
        scheme, rest = "http", host.strip()
    address, slash, path = rest.partition("/")
    name, colon, port = address.rpartition(":")
    if not colon or "]" in port:
        name, port = address, ""
    if not port:
        port = {"http": "80", "https": "443"}[scheme] if found and scheme in {"http", "https"} else str(_OLLAMA_PORT)
    return f"{scheme}://{name or '127.0.0.1'}:{port}{slash}{path}"


def _of_key(name: ProviderName, variable: str, key: str, url: str) -> Use:
    if not PLAIN.fullmatch(key.strip()):
        raise BadRequest(f"'{variable}' must be printable characters without blanks")
    return Use(name, 0, Offer(name, name), url, ApiKey(key.strip()))


def _checked(variable: str, url: str) -> str:
    try:
        _ = urlsplit(url).port, Target.parse(url).authority.encode("idna")
    except ValueError as error:
        raise BadRequest(f"'{variable}': {error}") from None
    return url
