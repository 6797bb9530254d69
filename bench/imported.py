"""What both engines import: preloaded by the fork server of `side`."""

import torch  # noqa: F401

from speech_engines.qwen3_tts.upstream import import_upstream

import_upstream()
