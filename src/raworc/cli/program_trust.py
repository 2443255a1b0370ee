"""Whom programs trust that this command line starts: the authority of the server, and everybody that they did before.

Most variables name all who are trusted, not who is trusted besides. So they name one file that holds all of them.
"""

import hashlib
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from raworc.cli.credentials import replace_private
from raworc.cli.stop import Stop

VARIABLES: Final = ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "CODEX_CA_CERTIFICATE")
"""Of Node; of OpenSSL, Python's SDKs and most of what is written in Rust; of Codex, which goes by this one first."""

_CERTIFICATE: Final = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def trust(ca_file: Path | None, environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Variables for a program; none where the server needs no authority of its own. The file is kept in ``folder``.

    Raises:
        Stop: the file cannot be written, or the authority's cannot be read.
    """
    if ca_file is None:
        return {}
    named = [file for name in VARIABLES if (file := Path(environ.get(name, ""))).is_file()]
    try:
        own = _certificates(ca_file)
        known = dict.fromkeys([*own, *_usual(), *(one for file in named for one in _certificates(file))])
    except (OSError, ValueError) as error:
        raise Stop(f"cannot read the certificates that programs are to trust: {error}") from error
    path = folder.absolute() / f"authorities-{hashlib.sha256(b''.join(own)).hexdigest()[:12]}.pem"
    replace_private(path, "".join(map(ssl.DER_cert_to_PEM_cert, known)).encode())
    return dict.fromkeys(VARIABLES, str(path))


def _usual() -> list[bytes]:
    """Those of this machine, as far as they lie in one file."""
    return ssl.create_default_context().get_ca_certs(binary_form=True)


def _certificates(file: Path) -> list[bytes]:
    return [ssl.PEM_cert_to_DER_cert(block) for block in _CERTIFICATE.findall(file.read_text("latin-1"))]
