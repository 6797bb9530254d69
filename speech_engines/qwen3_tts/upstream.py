"""The qwen-tts package, imported only when needed, since it takes seconds."""

import contextlib
import io
import logging
from typing import Any


def import_upstream() -> tuple[Any, Any]:
    """Import qwen-tts without its messages about SoX and flash-attn, which concern its other, 25 Hz codec."""
    sox = logging.getLogger("sox")
    sox.disabled = True
    with contextlib.redirect_stdout(io.StringIO()):
        from qwen_tts import Qwen3TTSModel, Qwen3TTSTokenizer
    return Qwen3TTSModel, Qwen3TTSTokenizer


def use_qwen2_pieces(upstream: Any, folder: str) -> None:
    """Reload the processor of a Qwen3TTSModel without `fix_mistral_regex`: see `tokenizer`."""
    from transformers import AutoProcessor

    upstream.processor = AutoProcessor.from_pretrained(folder, fix_mistral_regex=False)
