"""A speech model that does as its text says, for tests of what surrounds an engine.

The text is a JSON object: `name` (in the log), `chunks` of 80 ms (null: until cancelled), `gate` (a file: the engine
stands before chunk `gate_before`, 2 by default, while it exists), `fail_after` chunks, `tone_hz`. It logs
`NAME begins`, `NAME chunk N`, `NAME ends N`, and, if it learns so at the gate, `NAME is cancelled`; it goes on
nevertheless. The first request with `lost_after` chunks finds its device lost while the file `device-lost` is in the
folder, and removes it. A load stands, after `loads`, while the file `load-gate` is there, and finds no memory while
`load-fails` is.
"""

import json
import os
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np

from speech_engines.base import Capabilities
from speech_engines.faults import DeviceLostError
from speech_engines.triton_model import SpeechModel
from speech_engines.worker import Chunks, Summary, WorkerEngine
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.models import Task
from speech_protocol.request import SpeechRequest

_PACE_S = 0.005
# Longer than any test waits: only an abandoned engine gets there.
_GATE_LIMIT_S = 300.0


class ScriptedSynthesizer:
    capabilities = Capabilities("scripted", "none", "cpu", Task.CUSTOM_VOICE, ("english",), notes=("It makes tones.",))

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self) -> None:
        self._log("loads")
        self._stand_at(self._folder / "load-gate", "load", lambda: False)
        if (self._folder / "load-fails").exists():
            raise SpeechError(ErrorCode.OUT_OF_MEMORY, "The model does not fit into the memory of the GPU.")
        self._log("loaded")

    def check(self, request: SpeechRequest) -> None:
        json.loads(request.text)

    def synthesize(self, request: SpeechRequest, is_cancelled: Callable[[], bool]) -> Chunks:
        script = json.loads(request.text)
        self._log(f"{script['name']} begins")
        if request.traceparent:
            self._log(f"{script['name']} is traced {request.traceparent}")
        sent = 0
        try:
            for number in count(1) if script.get("chunks") is None else range(1, script["chunks"] + 1):
                if script.get("gate") and number == script.get("gate_before", 2):
                    self._stand_at(Path(script["gate"]), script["name"], is_cancelled)
                if number - 1 == script.get("lost_after") and (self._folder / "device-lost").exists():
                    (self._folder / "device-lost").unlink()
                    raise DeviceLostError("scripted loss")
                if number - 1 == script.get("fail_after"):
                    raise RuntimeError("scripted failure")
                time_s = np.arange(FRAME_SAMPLES) / SAMPLE_RATE_HZ
                yield (0.3 * np.sin(2 * np.pi * script.get("tone_hz", 200) * time_s)).astype(np.float32)
                sent = number
                self._log(f"{script['name']} chunk {number}")
                threading.Event().wait(_PACE_S)
        finally:
            self._log(f"{script['name']} ends {sent}")
        return Summary(text_tokens=1)

    def gpu_memory_bytes(self) -> int | None:
        return None

    def close(self) -> None:
        self._log("closed")

    def _stand_at(self, gate: Path, name: str, is_cancelled: Callable[[], bool]) -> None:
        told = False
        for _ in range(int(_GATE_LIMIT_S / _PACE_S)):
            if not gate.exists():
                return
            if not told and is_cancelled():
                told = True
                self._log(f"{name} is cancelled")
            threading.Event().wait(_PACE_S)
        raise RuntimeError("nobody opened the gate")

    def _log(self, line: str) -> None:
        with (self._folder / "log").open("a") as log:
            log.write(line + "\n")


class TritonPythonModel(SpeechModel):
    @staticmethod
    def create_engine() -> WorkerEngine:
        folder = Path(os.environ["SCRIPT_FOLDER"])
        synthesizer = ScriptedSynthesizer(folder)
        synthesizer.load()
        return WorkerEngine(synthesizer, max_queue=2, max_active=2)
