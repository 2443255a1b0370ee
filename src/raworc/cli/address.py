"""Options of the commands that listen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

Home = Annotated[
    Path | None, typer.Option(help="Where everything is kept. [default: /var/lib/raworc as root, else ~/.raworc]")
]
DatabaseUrl = Annotated[
    str | None, typer.Option("--database-url", help="Postgres 16 or newer. [default: what RAWORC_DATABASE_URL says]")
]


@dataclass(frozen=True)
class Address:
    """Where to listen, and the home."""

    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one. [default: 9000]", min=0, max=65535)
    ] = None
    home: Home = None
    tls_cert: Annotated[
        Path | None, typer.Option(help="Speak TLS with this certificate chain (PEM). Renewed files are noticed.")
    ] = None
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's private key (PEM).")] = None
    proxy_headers: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESSES", help="Believe X-Forwarded-For and -Proto of these proxies: '127.0.0.1,10.0.0.0/8'."
        ),
    ] = None


@dataclass(frozen=True)
class Alone(Address):
    """The same, and on which database."""

    database_url: DatabaseUrl = None


@dataclass(frozen=True)
class Served(Address):
    """The same, and with how many server processes."""

    workers: Annotated[int | None, typer.Option(help="Server processes. [default: 1]", min=1, max=64)] = None
