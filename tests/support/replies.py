"""Common requests to a frontend and checks of its replies, over real sockets."""

import io
from typing import Final

import httpx2
import numpy as np
import soundfile

from speech_protocol.audio import SAMPLE_RATE_HZ

NO_TRITON: Final = "http://127.0.0.1:9"  # where nothing listens


def check(reply: httpx2.Response, status: int, param: str | None, code: str | None = None) -> str:
    """Assert the whole error envelope; its message."""
    assert reply.status_code == status, reply.content[:500]
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    kind = "invalid_request_error" if status < 500 else "server_error"
    assert error["type"] == ("rate_limit_error" if status == 429 else kind)
    assert error["param"] == param
    assert code is None or error["code"] == code
    assert reply.headers["x-request-id"]
    return str(error["message"])


def wav(seconds: float, hz: float = 200.0) -> bytes:
    file = io.BytesIO()
    time_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    soundfile.write(file, 0.3 * np.sin(2 * np.pi * hz * time_s), SAMPLE_RATE_HZ, format="WAV")
    return file.getvalue()
