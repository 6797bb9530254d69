"""Imports the packages of both engines, for the processes that are forked from the one that has imported this."""

import torch  # noqa: F401

from speech_engines.qwen3_tts.upstream import import_upstream

import_upstream()
