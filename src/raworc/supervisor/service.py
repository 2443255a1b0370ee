"""What systemd is told about a process that it started with ``Type=notify``: ready, stopping, still alive.

Protocol: sd_notify(3), one datagram a message. Elsewhere, and when nobody listens, nothing happens.
"""

import asyncio
import contextlib
import socket

from raworc.settings import ServiceSettings


class Service:
    """One process as its service manager sees it."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._watching: asyncio.Task[None] | None = None

    def ready(self, status: str) -> None:
        """It serves. From now on the watchdog is fed, by the event loop that does the work."""
        self._tell(f"READY=1\nSTATUS={status}")
        if self._settings.watchdog_s is not None:
            self._watching = asyncio.create_task(self._feed(self._settings.watchdog_s / 2), name="watchdog")

    def stopping(self) -> None:
        """It drains; how long that may take is for the unit's ``TimeoutStopSec``."""
        self._tell("STOPPING=1\nSTATUS=Draining")

    def ended(self) -> None:
        """Nothing more is told."""
        if self._watching is not None:
            self._watching.cancel()

    async def _feed(self, every_s: float) -> None:
        while True:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(every_s)

    def _tell(self, message: str) -> None:
        address = self._settings.notify_socket
        if address is None:
            return
        where = "\0" + address[1:] if address.startswith("@") else address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(0)
            sender.sendto(message.encode(), where)
