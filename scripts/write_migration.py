"""Write the first migration anew from the data model. Only until the first release: then steps are added instead.

usage: .venv/bin/python scripts/write_migration.py [--check]     --check changes nothing and tells by its status
"""

import sys
from itertools import groupby
from pathlib import Path
from typing import Final

from sqlalchemy.dialects.postgresql import dialect
from sqlalchemy.engine.mock import MockConnection

from raworc.store.records import metadata

FILE: Final = Path(__file__).parents[1] / "src/raworc/store/migrations/versions/0001_first.sql"


def statements() -> str:
    """Everything that creates the data model, in order, views and functions included."""
    said: list[str] = []
    speech = dialect(paramstyle="named")  # so that '%' is written once

    def note(clause: object, *_: object, **__: object) -> None:
        lines = str(clause.compile(dialect=speech)).replace("\t", "    ").strip().splitlines()
        said.append("\n".join(line.rstrip() for line in lines))

    metadata.create_all(MockConnection(speech, note), checkfirst=False)
    groups = groupby(said, key=lambda statement: statement.startswith(("CREATE INDEX", "CREATE UNIQUE INDEX")))
    ordered = [statement for are_indexes, group in groups for statement in (sorted(group) if are_indexes else group)]
    return ";\n\n".join(ordered) + ";\n"


if __name__ == "__main__":
    wanted = statements()
    if "--check" in sys.argv:
        sys.exit(0 if FILE.read_text() == wanted else f"'{FILE.name}' is not what the data model says: write it anew")
    FILE.write_text(wanted)
    print(f"{wanted.count(';')} statements in {FILE}")
