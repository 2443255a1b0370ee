"""Where a process finds its database."""

from raworc.errors import BadRequest
from raworc.settings import Settings


def database_url(settings: Settings) -> str:
    """The configured address.

    Raises:
        BadRequest: none is configured. ``raworc up`` configures its embedded Postgres for its processes.
    """
    if settings.database_url is None:
        raise BadRequest("Set 'RAWORC_DATABASE_URL', or use 'raworc up', which brings a Postgres of its own")
    return settings.database_url
