"""JSON bodies, parsed within limits of time.

Parsers build every value, even of unused fields, and hold the interpreter's lock meanwhile: 14 MB of `[],` take a
second. A speech request has few fields, some of them long texts. So a large body is scanned as it arrives, piece by
piece, and rejected if it has more values than a request needs; the rest is cheap to parse.
"""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pydantic_core
from fastapi.exceptions import RequestValidationError

from openai_frontend.errors import ApiError
from openai_frontend.thread_pools import WorkerPool

# A body up to this size is parsed at once: at most a millisecond or two, whatever it contains.
_SMALL_BYTES: Final = 32 * 1024
_MAX_VALUES: Final = 10_000
_MAX_ESCAPES: Final = 500_000
_MAX_OUTSIDE_BYTES: Final = 256 * 1024
_STRING: Final = pydantic_core.SchemaValidator(pydantic_core.core_schema.str_schema(strict=True, max_length=2**40))
_VALUE_MARKS: Final = (b",", b":", b"[", b"{")


async def read_json(pieces: AsyncIterator[bytes], parsers: WorkerPool) -> Any:
    """The value of a body; a large one is parsed in a thread of `parsers`. Raises RequestValidationError if it is not
    JSON, ApiError 400 if it is too complex."""
    shape = _Shape()
    kept: list[bytes] = []
    size_bytes = 0
    async for piece in pieces:
        kept.append(piece)
        size_bytes += len(piece)
        shape.add(piece)
        if size_bytes > _SMALL_BYTES:
            shape.check()
    if not size_bytes:
        raise missing_body()
    if size_bytes <= _SMALL_BYTES:
        return _parse(kept)
    shape.check_whole()
    return await parsers.run(_parse, kept)


def missing_body() -> RequestValidationError:
    """The error for a request without the JSON body that it needs."""
    return _invalid("missing", "Field required")


def _parse(pieces: list[bytes]) -> Any:
    data = b"".join(pieces)
    pieces.clear()
    if len(data) > _SMALL_BYTES:
        try:  # five times as fast, but without support for a BOM or lone surrogates
            value = pydantic_core.from_json(data)
        except ValueError:
            pass
        else:
            _keep_utf_8(value)
            return value
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        raise _invalid("json_invalid", error.msg, error.pos) from None
    except UnicodeDecodeError as error:
        raise _invalid("json_invalid", f"byte {error.start} is not UTF-8") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, or deeply nested brackets
        raise _invalid("json_invalid", "not JSON that can be read") from None


def _keep_utf_8(value: Any) -> None:
    """Make every string cache its UTF-8 form, which a check of its length needs: 10 ms for 9 MB of non-ASCII text."""
    if isinstance(value, str):
        _STRING.validate_python(value)
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _keep_utf_8(inner)


def _invalid(kind: str, message: str, position: int | None = None) -> RequestValidationError:
    """The error as FastAPI reports it."""
    place = ("body",) if position is None else ("body", position)
    return RequestValidationError(
        [{"type": kind, "loc": place, "msg": message, "input": None, "ctx": {"error": message}}]
    )


class _Shape:
    """Counts what makes JSON slow to parse: values, escapes, and bytes outside of strings."""

    def __init__(self) -> None:
        self._values = 0
        self._escapes = 0
        self._outside_bytes = 0
        self._in_string = False
        self._after_backslash = False

    def add(self, piece: bytes) -> None:
        """Scan the next bytes; linear, and a fraction of a millisecond for 16 KiB."""
        if self._after_backslash:
            piece = piece[1:]
        backslashes = piece.count(b"\\")
        self._escapes += backslashes
        if backslashes:
            piece = piece.replace(rb"\\", b"").replace(rb"\"", b"")
        self._after_backslash = piece.endswith(b"\\")
        quotes = piece.count(b'"')
        self._values += quotes // 2
        if self._values > _MAX_VALUES:
            return
        outside = b"".join(piece.split(b'"')[1 if self._in_string else 0 :: 2])
        self._in_string ^= quotes % 2 == 1
        self._outside_bytes += len(outside)
        self._values += sum(outside.count(mark) for mark in _VALUE_MARKS)

    def check(self) -> None:
        """Raise ApiError 400 if the counts exceed what a request needs."""
        _check(self._values, _MAX_VALUES, "values")
        _check(self._escapes, _MAX_ESCAPES, "escapes")

    def check_whole(self) -> None:
        """The same for a complete body, after its size has been checked."""
        self.check()
        _check(self._outside_bytes, _MAX_OUTSIDE_BYTES, "bytes outside of strings")


def _check(count: int, limit: int, what: str) -> None:
    if count > limit:
        message = f"The body has over {limit} {what}. Send the fields of the request and nothing else."
        raise ApiError(400, "invalid_json", message)
