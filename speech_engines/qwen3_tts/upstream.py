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


def use_qwen2_pieces(upstream: Any, folder: str) -> None:
    """Give a loaded Qwen3TTSModel its processor once more, without `fix_mistral_regex`: see `tokenizer`."""
    from transformers import AutoProcessor

    upstream.processor = AutoProcessor.from_pretrained(folder, fix_mistral_regex=False)
