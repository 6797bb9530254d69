"""The qwen-tts package, imported where it is needed and not before: it takes seconds."""

import contextlib
import io
import logging
from typing import Any


def import_upstream() -> tuple[Any, Any]:
    """Import qwen-tts without its notes on SoX and flash-attn: both are about its other, 25 Hz codec."""
    sox = logging.getLogger("sox")
    sox.disabled = True
    with contextlib.redirect_stdout(io.StringIO()):
        from qwen_tts import Qwen3TTSModel, Qwen3TTSTokenizer
    return Qwen3TTSModel, Qwen3TTSTokenizer
