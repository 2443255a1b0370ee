"""The OpenAPI document as a file, so that a change of what is served is seen in review.

    .venv/bin/python tests/house/snapshot.py

writes it anew.
"""

import json
from pathlib import Path

from fastapi import FastAPI

from raworc import __version__
from raworc.api.app import ROUTES, add_routes
from raworc.api.openapi import describe

FILE = Path(__file__).with_name("openapi.json")


def document() -> str:
    """What is served now, one key a line, in a stable order."""
    app = FastAPI(title="Raworc", version=__version__)
    add_routes(app, ROUTES)
    return json.dumps(describe(app, ROUTES), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(document())
