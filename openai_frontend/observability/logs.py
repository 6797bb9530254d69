"""Log formats: one line of JSON for machines, plain text for people."""

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal

LogFormat = Literal["auto", "json", "text"]
_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def set_up(level: str, log_format: LogFormat) -> None:
    """Write the log to stderr; `auto` is text on a terminal and JSON elsewhere."""
    handler = logging.StreamHandler()
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class JsonFormatter(logging.Formatter):
    """time, level, logger and message, and the record's `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """The message, followed by the fields."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        return f"{super().formatMessage(record)} {fields}".rstrip()


class OncePerInterval:
    """A warning at most once a minute, however often its cause occurs. `clock` is monotonic."""

    def __init__(
        self, logger: logging.Logger, interval_s: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._interval_s = interval_s
        self._clock = clock
        self._next_s = float("-inf")

    def __call__(self, message: str, *arguments: object) -> None:
        now_s = self._clock()
        if now_s >= self._next_s:
            self._next_s = now_s + self._interval_s
            self._logger.warning(message, *arguments)


class SeldomWarnings(logging.Filter):
    """Passes the same warning at most once a minute: clients must not be able to flood the log."""

    def __init__(self, interval_s: float = 60.0) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._next_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now_s = time.monotonic()
        if record.levelno != logging.WARNING or now_s >= self._next_s.get(record.msg, 0.0):
            self._next_s[record.msg] = now_s + self._interval_s
            return True
        return False
