"""Events of the Wyoming protocol, read within limits: a line of JSON, then data and a payload of declared lengths."""

import asyncio
import json
from typing import Final

from wyoming.event import Event

# Maximum length of a line, and of the data after it.
MAX_LINE_BYTES: Final = 64 * 1024
MAX_DATA_BYTES: Final = 4 * 1024 * 1024


class ProtocolError(Exception):
    """The peer violates the protocol or its limits; the message describes how."""


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """The next event; None at the end of the stream. Raises ProtocolError."""
    try:
        line = await reader.readline()
    except ValueError:
        raise ProtocolError(f"a line has more than {MAX_LINE_BYTES} bytes") from None
    if not line:
        return None
    head = _object(line)
    length, payload = head.get("data_length") or 0, head.get("payload_length") or 0
    if not isinstance(length, int) or not isinstance(payload, int) or not 0 <= length <= MAX_DATA_BYTES or payload:
        raise ProtocolError(f"an event has more than {MAX_DATA_BYTES} bytes of data, or a payload")
    kind, data = head.get("type"), head.get("data") or {}
    if not isinstance(kind, str) or not isinstance(data, dict):
        raise ProtocolError("an event has no type, or data that is no object")
    try:
        more = _object(await reader.readexactly(length)) if length else {}
    except asyncio.IncompleteReadError:
        return None
    return Event(kind, {**data, **more})


def _object(data: bytes) -> dict[str, object]:
    try:
        value = json.loads(data)
    except ValueError:
        raise ProtocolError("an event is not JSON") from None
    if not isinstance(value, dict):
        raise ProtocolError("an event is not a JSON object")
    return value
