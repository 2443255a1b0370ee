"""Raworc: run AI agents remotely in real sandboxes, and account for every model call they make."""

__version__ = "0.10.9"
