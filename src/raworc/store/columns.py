"""What the tables of the data model are put together from."""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, MetaData, func, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def id_column(name: str = "id") -> Column[object]:
    """A UUID that is a table's key."""
    return Column(name, UUID, primary_key=True)


def moment_column(name: str, *, default: bool = False) -> Column[object]:
    """A time; ``default``: that of the insertion."""
    if default:
        return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())
    return Column(name, DateTime(timezone=True))


def flag_column(name: str) -> Column[object]:
    """False where nothing is said."""
    return Column(name, Boolean, nullable=False, server_default=text("false"))


def count_column(name: str) -> Column[object]:
    """Zero where nothing is said."""
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def json_column(name: str, default: str = "'{}'::jsonb") -> Column[object]:
    """JSON; ``default``: as SQL."""
    return Column(name, JSONB, nullable=False, server_default=text(default))
