"""The threads of a loaded engine."""

import os
import subprocess
import sys

from tests.support.types import CheckpointOf

_PROGRAM = """
import os, threading
import psutil, torch
from bench.utterances import begin, finish
from speech_engines.qwen3_tts.factory import create_engine
from speech_protocol.models import QWEN3_TTS_CUSTOM_VOICE

torch.set_num_threads(3)
before = psutil.Process().num_threads()
engine = create_engine(QWEN3_TTS_CUSTOM_VOICE)
begin(engine, 3).wait_done()
print(psutil.Process().num_threads() - before - (threading.active_count() - 1))
engine.close()
"""


def test_only_the_engines_own_thread_keeps_threads_to_compute_with(tiny_checkpoint: CheckpointOf) -> None:
    # With more of them than cores, OpenMP lets them sleep between operations.
    environment = {**os.environ, "MODEL_ID": str(tiny_checkpoint("custom_voice")), "DEVICE": "cpu"}
    command = [sys.executable, "-c", _PROGRAM]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert result.stdout.split()[-1] == "2"
