"""The Python client of a Raworc server. It needs nothing of the server's code."""

from raworc.client.raworc import DEFAULT_URL, Raworc

__all__ = ["DEFAULT_URL", "Raworc"]
