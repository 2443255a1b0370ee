"""What a database consists of, as Postgres tells it: to compare two of them by what they are."""

from typing import LiteralString

import psycopg

_PARTS: tuple[LiteralString, ...] = (
    """
    SELECT format('column %s.%s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
        pg_get_expr(d.adbin, d.adrelid))
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')
        AND a.attnum > 0 AND NOT a.attisdropped
    """,
    """
    SELECT format('constraint %s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
    """,
    "SELECT format('index %s', indexdef) FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT format('view %s %s', viewname, definition) FROM pg_views WHERE schemaname = 'public'",
    """
    SELECT format('function %s', pg_get_functiondef(oid)) FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace AND prokind = 'f'
    """,
    "SELECT format('trigger %s', pg_get_triggerdef(oid)) FROM pg_trigger WHERE NOT tgisinternal",
    "SELECT format('schema %s', nspname) FROM pg_namespace WHERE nspname !~ '^pg_'",
    """
    SELECT format('table %s partitioned by %s with %s', relname, pg_get_partkeydef(oid), reloptions) FROM pg_class
    WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
    """,
)


def catalog(conn: psycopg.Connection) -> set[str]:
    """A line for each column, constraint, index, view, function, trigger, schema and table, days' partitions aside."""
    return {line for part in _PARTS for (line,) in conn.execute(part).fetchall() if "alembic_version" not in line}
