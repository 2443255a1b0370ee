"""Alembic's folder: ``env.py`` connects it to our metadata, ``versions/`` holds the steps."""

from typing import Final

HEAD: Final = "0004"
"""The newest step, so that a start can see that nothing is to be done without loading Alembic."""
