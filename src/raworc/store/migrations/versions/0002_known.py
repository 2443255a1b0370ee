"""Take over databases of the first step, and refuse those that an earlier, unfinished form of it made.

Until this step the first one was written anew whenever the data model changed, so that a database could say "0001" and
mean another one. From here on steps are only added.
"""

from alembic import op

from raworc.errors import Unavailable

revision = "0002"
down_revision = "0001"

FIRST = "4a56f00d581936b597d9d17a00512026"
COLUMNS_AND_INDEXES = """
SELECT md5(string_agg(line, E'\\n' ORDER BY line COLLATE "C")) FROM (
    SELECT format('%s.%s %s %s', table_name, column_name, udt_name, is_nullable) FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name <> 'alembic_version'
    UNION ALL
    SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'
) known (line)
"""


def upgrade() -> None:
    """Change nothing.

    Raises:
        Unavailable: the database's columns and indexes are not those of the first step.
    """
    connection = op.get_bind().connection.driver_connection
    (found,) = connection.execute(COLUMNS_AND_INDEXES).fetchone()
    if found != FIRST:
        raise Unavailable(
            "The database was made by a state of raworc from before its first release, whose data model nobody brings"
            " up to date: go on with the program that made it, or start this one on an empty database"
        )
