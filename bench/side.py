"""An engine in a separate process.

Two engines in one process would slow each other down even when used alternately: with the OpenMP threads of both,
neither busy-waits for work (see speech_engines/temporary_thread.py).
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from bench.instructions import restrict_fbgemm
from speech_engines.base import Engine
from speech_engines.qwen3_tts.factory import create_engine
from speech_protocol.models import QWEN3_TTS_CUSTOM_VOICE

P = ParamSpec("P")
# Capacity for the longest `--frames`, 750.
MAX_AUDIO_SECONDS = 60
_engine: Engine | None = None


class Side:
    """`name` is an engine's, batching or reference, with capacity for `streams` streams, on the CPU."""

    def __init__(
        self, name: str, checkpoint: Path, dtype: str, threads: int, streams: int, weights: str = "auto"
    ) -> None:
        environment = {
            "ENGINE": name,
            "MODEL_ID": str(checkpoint),
            "RUNAWAY_GUARD": "off",  # random weights produce only hiss
            "DEVICE": "cpu",
            "DTYPE": dtype,
            "WEIGHTS": weights,
            "MAX_BATCH": str(streams),
            "MAX_AUDIO_SECONDS": str(MAX_AUDIO_SECONDS),
        }
        # Forked from a process that has imported the packages, and computed nothing.
        context = get_context("forkserver")
        context.set_forkserver_preload(["bench.imported"])
        self._process = ProcessPoolExecutor(1, context, _load, (environment, threads))

    def measure_s(self, measure: Callable[Concatenate[Engine, P], float], *args: P.args, **kwargs: P.kwargs) -> float:
        """The result of `measure`, a function of a module, in the other process."""
        return self._process.submit(_measure, measure, args, kwargs).result()

    def close(self) -> None:
        self._process.submit(_close).result()
        self._process.shutdown()


def _load(environment: dict[str, str], threads: int) -> None:
    import torch

    global _engine
    torch.set_num_threads(threads)
    restrict_fbgemm()
    _engine = create_engine(QWEN3_TTS_CUSTOM_VOICE, environment)


def _measure(measure: Callable[..., float], args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    assert _engine is not None
    return measure(_engine, *args, **kwargs)


def _close() -> None:
    assert _engine is not None
    _engine.close()
