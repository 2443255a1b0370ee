"""What the word of an identity provider counts for here: whose account, which roles, and when nothing at all.

Providers are configured in TOML (``docs/identity.md``). A person is known by issuer and subject, never by a name:
names are only what a new account is called. Nothing here asks anybody; tokens are proven in ``wire/identities/``.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, cast

import msgspec

from raworc.domain.names import check_account_name, is_account_name, is_space_name
from raworc.domain.text import is_plain
from raworc.errors import BadRequest, Forbidden

EVERYWHERE: Final = "*"
MAX_SUBJECT_CHARACTERS: Final = 512
_MAX_HOURS: Final = 8760
_MAX_LEEWAY_S: Final = 300
_LOOPBACK: Final = ("http://127.0.0.1", "http://localhost", "http://[::1]")

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures of a private key only: a shared or missing key can prove nothing here."""


Strings = tuple[str, ...]


class GroupRole(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is in ``group`` has ``role`` in ``space``; ``*`` is everywhere."""

    group: str
    role: str
    space: str


class _Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a provider's word counts for. ``name`` and ``groups`` are claims (of SAML: attributes).

    ``accounts``: subjects and the accounts that they are. ``create``: others get a new account at their first login.
    ``link_by_name``: others are the account that their name says, unless it is an administrator's.
    ``require``: claims, and the values of which one must be there.
    """

    name: str = "sub"
    groups: str = "groups"
    create: bool = False
    link_by_name: bool = False
    space: str = "default"
    ttl_hours: float = 24
    leeway_s: int = 60
    accounts: dict[str, str] = {}
    require: dict[str, str | Strings] = {}
    roles: tuple[GroupRole, ...] = ()
    ca_file: Path | None = None


class Oidc(_Rules, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="oidc"):
    """Id tokens of OpenID Connect. Without ``jwks_url`` the issuer's discovery document says where its keys are.

    ``once``: a token logs in a single time.
    """

    issuer: str
    audience: str | Strings
    jwks_url: str | None = None
    algorithms: tuple[Algorithm, ...] = ("RS256", "ES256")
    once: bool = False


class OAuth2(_Rules, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="oauth2"):
    """Access tokens that their server is asked about (RFC 7662).

    They must be meant for one of ``audience``, or be given to one of ``clients``; both where both are set.
    ``scopes``: all of them must be in the token.
    """

    introspection_url: str
    client_id: str
    client_secret: str | None = None
    client_secret_file: Path | None = None
    client_auth: Literal["basic", "post"] = "basic"
    issuer: str | None = None
    audience: str | Strings = ()
    clients: Strings = ()
    scopes: Strings = ()


class Saml(_Rules, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="saml"):
    """SAML 2.0 responses. ``issuer``, ``audience``: entity ids of the provider and of this server's side.

    ``recipient``: where the provider sends responses. ``certificate_file``: its signing certificates (PEM).
    """

    issuer: str
    audience: str
    recipient: str
    certificate_file: Path


Provider = Oidc | OAuth2 | Saml


@dataclass(frozen=True)
class OneUse:
    """What proves somebody a single time: a digest of it, and when it ends anyway."""

    digest: bytes
    until: datetime


@dataclass(frozen=True)
class Identity:
    """Somebody, as an issuer vouches for him. ``claims``: what else it says, all of it proven."""

    issuer: str
    subject: str
    claims: Mapping[str, Any]
    one_use: OneUse | None = None


@dataclass(frozen=True)
class Granted:
    """A role by its name, in one space or (None) everywhere."""

    role: str
    space: str | None


def parse(text: str) -> dict[str, Provider]:
    """The providers of a TOML document, by their names.

    Raises:
        BadRequest: it is not TOML, or says what cannot be meant; the message names the provider and the key.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadRequest(f"The identity providers are not valid TOML: {error}") from None
    found = document.pop("providers", {})
    if document or not isinstance(found, dict):
        raise BadRequest("Identity providers are tables '[providers.NAME]' and nothing else")
    return {name: _provider(name, table) for name, table in cast("dict[str, object]", found).items()}


def texts(given: str | Strings) -> tuple[str, ...]:
    """One or several, as several."""
    return (given,) if isinstance(given, str) else given


def issuer_of(provider: Provider) -> str:
    """Whose word it is, under which subjects are remembered."""
    match provider:
        case Oidc() | Saml():
            return provider.issuer
        case OAuth2():
            return provider.issuer or provider.introspection_url


def check_required(provider: Provider, identity: Identity) -> None:
    """Nothing, when every required claim has one of its values.

    Raises:
        Forbidden: one has not; the message names the claim, not its value.
    """
    for claim, wanted in provider.require.items():
        if not set(texts(wanted)) & set(_values(identity, claim)):
            raise Forbidden(f"The identity provider does not say what it must of '{claim}': ask an administrator")


def mapped_account(provider: Provider, identity: Identity) -> str | None:
    """The account that the configuration says this subject is."""
    return provider.accounts.get(identity.subject)


def name_for(provider: Provider, identity: Identity) -> str:
    """What somebody's account is called.

    Raises:
        Forbidden: the provider does not say it, has not verified it, or it is no name for an account.
    """
    names = _values(identity, provider.name)
    if len(names) != 1:
        raise Forbidden(f"The identity provider gives no verified name in '{provider.name}': ask an administrator")
    try:
        return check_account_name(names[0], provider.name)
    except BadRequest:
        raise Forbidden(f"What the identity provider gives in '{provider.name}' is no name for an account") from None


def granted(provider: Provider, identity: Identity) -> frozenset[Granted]:
    """The roles that somebody's groups give, names in lower case as they are compared."""
    groups = frozenset(_values(identity, provider.groups))
    return frozenset(
        Granted(item.role.lower(), None if item.space == EVERYWHERE else item.space.lower())
        for item in provider.roles
        if item.group in groups
    )


def _values(identity: Identity, claim: str) -> tuple[str, ...]:
    """The texts of a claim, by its name or its path (``realm_access.roles``); an unverified address is none."""
    claims = identity.claims
    verified = claims.get("email_verified")
    if claim == "email" and verified is not True and verified != "true":
        return ()
    found: Any = claims.get(claim)
    if found is None:
        found = claims
        for part in claim.split("."):
            found = cast("dict[str, Any]", found).get(part) if isinstance(found, dict) else None
    several = cast("list[object]", found) if isinstance(found, list) else [found]
    return tuple(item for item in several if isinstance(item, str))


def _provider(name: str, table: object) -> Provider:
    if not is_space_name(name):
        raise BadRequest(f"Identity provider '{name[:80]}': use letters, digits, hyphens and underscores")
    try:
        provider = msgspec.convert(table, type=Provider, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise BadRequest(f"Identity provider '{name}': {error}") from None
    wrong = _rules_wrong(provider) or _wrong(provider)
    if wrong:
        raise BadRequest(f"Identity provider '{name}': {wrong}")
    return provider


def _path(kind: type[Any], given: object) -> Path:
    """Files are read by processes that may have been started anywhere."""
    if kind is not Path or not isinstance(given, str) or not Path(given).is_absolute():
        raise ValueError("Expected the absolute path of a file")
    return Path(given)


def _rules_wrong(provider: Provider) -> str | None:
    if not 0 < provider.ttl_hours <= _MAX_HOURS:
        return f"'ttl_hours' must be more than 0 and at most {_MAX_HOURS}"
    if not 0 <= provider.leeway_s <= _MAX_LEEWAY_S:
        return f"'leeway_s' must be 0 to {_MAX_LEEWAY_S}"
    if not is_space_name(provider.space):
        return f"'space' is '{provider.space[:80]}', which is no name for a space"
    for account in provider.accounts.values():
        if not is_account_name(account):
            return f"'accounts' names '{account[:80]}', which is no name for an account"
    for item in provider.roles:
        if item.space != EVERYWHERE and not is_space_name(item.space):
            return f"'roles' names the space '{item.space[:80]}': name one, or '{EVERYWHERE}' for everywhere"
    return None


def _wrong(provider: Provider) -> str | None:
    match provider:
        case Oidc():
            urls = {"issuer": provider.issuer} | ({"jwks_url": provider.jwks_url} if provider.jwks_url else {})
            if not provider.algorithms:
                return "'algorithms' names none"
            if not all(texts(provider.audience)) or not texts(provider.audience):
                return "'audience' must say whom tokens are for: the client id that the provider gave to this server"
        case OAuth2():
            urls = {"introspection_url": provider.introspection_url}
            if (provider.client_secret is None) == (provider.client_secret_file is None):
                return "give one of 'client_secret_file' and 'client_secret'"
            if not provider.clients and not texts(provider.audience):
                return "'audience' or 'clients' must say whose tokens count: others' could be used to log in here"
        case Saml():
            urls = {"recipient": provider.recipient}
            if not provider.issuer or not provider.audience:
                return "'issuer' and 'audience' are the entity ids of the provider and of this server's side"
    return next((f"'{key}' {reason}" for key, url in urls.items() if (reason := url_wrong(url))), None)


def url_wrong(url: str) -> str | None:
    """What is wrong with the address of a provider, which must be https except on this machine."""
    if not is_plain(url) or not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?(\?[^\s#]*)?", url):
        return "must be an address without a name or password in it, as in 'https://id.example.com'"
    if not url.startswith("https://") and not is_loopback(url):
        return "must begin with 'https://'"
    return None


def is_loopback(url: str) -> bool:
    """Whether an address is plain http on this machine."""
    return re.match(rf"({'|'.join(map(re.escape, _LOOPBACK))})(:\d+)?(/|\?|$)", url) is not None
