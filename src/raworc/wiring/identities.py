"""The identity providers that settings name, with what proves their tokens."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificates

from raworc.domain.identities import OAuth2, Oidc, Provider, Saml, is_loopback, parse
from raworc.errors import BadRequest
from raworc.services.identities import Trusted
from raworc.settings import Settings
from raworc.wire.identities.fetching import Fetcher
from raworc.wire.identities.introspection import IntrospectionVerifier
from raworc.wire.identities.oidc import OidcVerifier
from raworc.wire.identities.saml import SamlVerifier
from raworc.wire.identities.verifier import Verifier


@asynccontextmanager
async def identity_providers(settings: Settings) -> AsyncGenerator[dict[str, Trusted]]:
    """Providers by name, none where none are configured.

    Raises:
        BadRequest: a file cannot be read, or says what cannot be meant.
    """
    async with AsyncExitStack() as stack:
        found: dict[str, Trusted] = {}
        for name, provider in parse(_text(settings)).items():
            verifier = _verifier(name, provider)
            stack.push_async_callback(verifier.close)
            found[name] = Trusted(provider, verifier)
        yield found


def _text(settings: Settings) -> str:
    if settings.identity_file is None:
        return settings.identity or ""
    if settings.identity is not None:
        raise BadRequest("Set one of 'RAWORC_IDENTITY_FILE' and 'RAWORC_IDENTITY', not both")
    return _read("'RAWORC_IDENTITY_FILE'", settings.identity_file)


def _verifier(name: str, provider: Provider) -> Verifier:
    match provider:
        case Oidc():
            return OidcVerifier(provider, _fetcher(name, provider.ca_file, provider.jwks_url or provider.issuer))
        case OAuth2():
            where = f"Identity provider '{name}': 'client_secret_file'"
            file = provider.client_secret_file
            secret = provider.client_secret if file is None else _read(where, file).strip()
            if not secret:
                raise BadRequest(f"Identity provider '{name}': the client secret is empty")
            fetcher = _fetcher(name, provider.ca_file, provider.introspection_url)
            return IntrospectionVerifier(provider, secret, fetcher)
        case Saml():
            return _saml(name, provider)


def _saml(name: str, provider: Saml) -> Verifier:
    where = f"Identity provider '{name}': 'certificate_file'"
    try:
        certificates = load_pem_x509_certificates(_read(where, provider.certificate_file).encode())
        return SamlVerifier(provider, certificates)
    except ValueError as error:
        raise BadRequest(f"{where} is no file of certificates (PEM): {error}") from None
    except ImportError as error:
        message = f"Identity provider '{name}': SAML needs the extra 'saml' (pip install 'raworc[saml]'): {error}"
        raise BadRequest(message) from None


def _fetcher(name: str, ca_file: Path | None, url: str) -> Fetcher:
    try:
        return Fetcher(ca_file=ca_file, is_local=is_loopback(url))
    except (OSError, ssl.SSLError) as error:
        raise BadRequest(f"Identity provider '{name}': 'ca_file' is no file of certificates (PEM): {error}") from None


def _read(what: str, file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{what} cannot be read: {error}") from None
