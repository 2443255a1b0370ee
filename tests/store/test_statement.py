import pytest
from sqlalchemy import BigInteger, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

from raworc.errors import DatabaseUnavailable
from raworc.ids import new_id
from raworc.store.database import Duplicate
from raworc.store.statement import Statement

pytestmark = pytest.mark.anyio

ECHO = Statement(
    text("SELECT :doc, '100%', :number + 1").bindparams(
        bindparam("doc", type_=JSONB), bindparam("number", type_=BigInteger)
    )
)
ADD_SPACE = Statement(text("INSERT INTO spaces (name) VALUES (:name)"))
SPACES = Statement(text("SELECT name FROM spaces ORDER BY name"))
END_MYSELF = Statement(text("SELECT pg_terminate_backend(pg_backend_pid())"))


async def test_parameters_and_columns_keep_their_types(db):
    document = {"a": [1, None, "\u20ac"], "b": {}}
    async with db.reading() as conn:
        assert await ECHO.first(conn, {"doc": document, "number": 2**40}) == (document, "100%", 2**40 + 1)
        assert await ECHO.first(conn, {"doc": None, "number": None}) == (None, "100%", None)
        key = new_id()
        same = Statement(text("SELECT :id").bindparams(bindparam("id", type_=UUID)))
        assert await same.scalar(conn, {"id": key}) == key
        nothing = Statement(text("SELECT 1 WHERE false"))
        assert (await nothing.first(conn, {}), await nothing.scalar(conn, {}), await nothing.all(conn, {})) == (
            None,
            None,
            [],
        )


async def test_it_takes_part_in_the_transaction_around_it(db):
    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as conn:
            await ADD_SPACE.run(conn, {"name": "lab"})
            raise ZeroDivisionError
    async with db.transaction() as conn:
        await ADD_SPACE.run(conn, {"name": "shop"})
    async with db.reading() as conn:
        assert await SPACES.all(conn, {}) == [("default",), ("shop",)]


async def test_its_errors_are_the_databases(db):
    with pytest.raises(Duplicate, match="pk_spaces"):
        async with db.transaction() as conn:
            await ADD_SPACE.run(conn, {"name": "default"})


@pytest.mark.parametrize("how", ["reading", "transaction"])
async def test_a_connection_that_breaks_under_it_is_replaced(db, how):
    for _ in range(3):
        with pytest.raises(DatabaseUnavailable):
            async with getattr(db, how)() as conn:
                await END_MYSELF.run(conn, {})
        async with getattr(db, how)() as conn:
            assert await SPACES.scalar(conn, {}) == "default"
