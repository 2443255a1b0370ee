"""Logging for every process: structlog and the standard library end in one stream of JSON or coloured lines.

Whatever is logged passes :func:`scrub`: values under telling names and anything that looks like one of our
tokens or a provider's key are struck out. That is the second line of defence; not logging them is the first.
"""

import json
import logging
import logging.handlers
import os
import re
import sys
import time
import traceback
from collections.abc import MutableMapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import structlog

from raworc.settings import Settings

_STRUCK: Final = "[struck out]"
_TELLING: Final = re.compile(
    r"pass(word|wd)?$|secret|token$|authorization|api[-_]?key|cookie|credential", re.IGNORECASE
)
_LOOKS_SECRET: Final = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"  # a JSON Web Token
    r"|\bsk-[\w-]{12,}"  # a provider's key
    r"|(?i:\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"  # name and password in an address
)
_MAX_BYTES: Final = 20 * 1024 * 1024
_KEPT_FILES: Final = 3
_DEPTH: Final = 6
_LOOK_EVERY_S: Final = 1.0

EventDict = MutableMapping[str, Any]


def configure(settings: Settings, *, process: str, file: Path | None) -> None:
    """Log to ``file`` (turned over by size), or to stderr where it is None. ``process`` stands on every line."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(process),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        scrub,
    ]
    _look_up_less()
    handler = _handler(file)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(settings, file)],
        )
    )
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)
    for chatty in ("alembic", "sqlalchemy.engine", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of what any stranger may send
    for echoing in ("httpx2", "httpcore2", "mcp"):  # whatever a server in a sandbox says, and as often as it likes
        logging.getLogger(echoing).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _look_up_less() -> None:
    """Lines do not show thread, process, task or place of the call: do not find them out (see the library's manual)."""
    logging._srcfile = None  # type: ignore[attr-defined]  # noqa: SLF001  # pyright: ignore[reportAttributeAccessIssue]
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def frames(error: BaseException) -> list[str]:
    """Where it happened, without its message."""
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]


def scrub(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Strike out what must not be kept, at any depth."""
    return {key: _STRUCK if _is_telling(key) else _scrubbed(value, _DEPTH) for key, value in event.items()}


@lru_cache(maxsize=1024)
def _is_telling(key: str) -> bool:
    return _TELLING.search(key) is not None


def _scrubbed(value: object, depth: int) -> object:
    match value:
        case str():
            return _LOOKS_SECRET.sub(_STRUCK, value)
        case bytes():
            return _scrubbed(value.decode(errors="replace"), depth)
        case dict() if depth:
            entries = cast("dict[object, object]", value).items()
            return scrub(None, "", {str(key): _scrubbed(item, depth - 1) for key, item in entries})
        case list() | tuple() if depth:
            return [_scrubbed(item, depth - 1) for item in cast("list[object]", value)]
        case BaseException():
            return _scrubbed(str(value), depth)
        case _:
            return value


def _named(process: str) -> structlog.typing.Processor:
    def add(_logger: object, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    return add


def _handler(file: Path | None) -> logging.Handler:
    if file is None:
        return logging.StreamHandler(sys.stderr)
    return _TurnedOver(file, maxBytes=_MAX_BYTES, backupCount=_KEPT_FILES, encoding="utf-8")


class _TurnedOver(logging.handlers.RotatingFileHandler):
    """The library's, which writes each line out twice to know its length. This one may go over by a line.

    A file that somebody moved or deleted is begun anew within a second, so that no line goes where nobody looks.
    """

    _looked_s = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, to the file that has the name now."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            if self.stream is not None and not _is_at(self.stream.fileno(), self.baseFilename):
                self.close()
        super().emit(record)

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # type: ignore[override]  # noqa: ARG002, N802  the library's
        """Whether the file is full."""
        return self.stream is not None and self.stream.tell() >= self.maxBytes


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), Path(path).stat())
    except FileNotFoundError:
        return False


def _renderer(settings: Settings, file: Path | None) -> Any:  # noqa: ANN401  two unlike classes of structlog
    if _is_console(settings, file):
        return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    return structlog.processors.JSONRenderer(serializer=_encoded)


def _encoded(event: object, **_: object) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=str).decode()
    except (UnicodeEncodeError, TypeError, msgspec.MsgspecError):  # what is no text, or not named by text
        return json.dumps(event, default=str)


def _is_console(settings: Settings, file: Path | None) -> bool:
    if settings.log_format == "auto":
        return file is None and sys.stderr.isatty()
    return settings.log_format == "console"
