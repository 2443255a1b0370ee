"""Texts that the driver can remember once it has taken them apart."""

import importlib
import pkgutil

from psycopg._queries import MAX_CACHED_STATEMENT_LENGTH

from raworc import store
from raworc.store.statement import Statement


def test_every_statement_is_short_enough_to_be_remembered():
    modules = [
        importlib.import_module(f"raworc.store.{module.name}") for module in pkgutil.iter_modules(store.__path__)
    ]
    found = [
        (name, value) for module in modules for name, value in vars(module).items() if isinstance(value, Statement)
    ]
    assert len(found) > 10
    assert [name for name, statement in found if len(statement._sql) > MAX_CACHED_STATEMENT_LENGTH] == []
