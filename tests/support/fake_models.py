"""What the models of the fake Triton say: a script that the text holds, a voice that reads the text, or any function.

A script is a JSON object, with the words of the scripted engine (`model_repository/scripted`) and some more: `name` (in
the log), `chunks` of 80 ms (null: until the client disconnects), `gate` (a file: the model waits before chunk
`gate_before`, 2 unless given, while it exists), `hold` (the name of a gate before the second chunk, which
`FakeTriton.release` opens), `error` (a code, instead of audio), `fail_after` and `cut_after` (the number of chunks
before an error event, or before the stream ends without any event, as it does when a process dies), `tone_hz`.
"""

import asyncio
import base64
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import AudioEvent, EndEvent, ErrorEvent, Event, FinishReason, Word
from tests.support.waiting import eventually

Response = tuple[Event, bytes]  # the bytes are base64, as on the wire
Tensors = dict[str, Any]

CHUNK = base64.b64encode((b"\x00\x10\x00\xf0" * FRAME_SAMPLES)[: FRAME_SAMPLES * SAMPLE_BYTES])
_SILENCE = base64.b64encode(bytes(FRAME_SAMPLES * SAMPLE_BYTES))
_LIMIT_S = 300.0  # longer than any test waits


@cache
def tone(hz: float = 300.0) -> bytes:
    """A chunk that the voice library takes for a voice."""
    time_s = np.arange(FRAME_SAMPLES) / SAMPLE_RATE_HZ
    samples = 8000 * np.sin(2 * np.pi * hz * time_s) * np.abs(np.sin(np.pi * 12.5 * time_s))
    return base64.b64encode(samples.astype("<i2").tobytes())


def read_script(text: str) -> dict[str, Any] | None:
    """The script in a text; None if it has none."""
    try:
        script = json.loads(text)
    except ValueError:
        return None
    return script if isinstance(script, dict) else None


def end(chunks: int, reason: FinishReason = FinishReason.STOP) -> Response:
    return EndEvent(reason, chunks * FRAME_SAMPLES, 1, 0.0, 0.0, 0.0), b""


def failure(error: SpeechError) -> Response:
    return ErrorEvent.from_error(error), b""


@dataclass
class Scripts:
    """Plays scripts. `log` has the lines of the scripted engine."""

    log: list[str] = field(default_factory=list)
    gates: defaultdict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))

    async def play(
        self, script: dict[str, Any], chunk: bytes, chunks: int, traceparent: str
    ) -> AsyncIterator[Response]:
        name, sent = script.get("name", "unnamed"), 0
        self.log.append(f"{name} begins")
        if traceparent:
            self.log.append(f"{name} is traced {traceparent}")
        try:
            if code := script.get("error"):
                yield ErrorEvent(code, "scripted"), b""
                return
            audio = tone(script["tone_hz"]) if "tone_hz" in script else chunk
            wanted = script.get("chunks", chunks)
            for number in count(1) if wanted is None else range(1, wanted + 1):
                await self._wait(script, number)
                if sent == script.get("fail_after"):
                    yield failure(SpeechError(ErrorCode.ENGINE_FAILURE, "The model failed."))
                    return
                if sent == script.get("cut_after"):
                    return
                yield AudioEvent(FRAME_SAMPLES), audio
                sent = number
                self.log.append(f"{name} chunk {number}")
                await asyncio.sleep(0)
            yield end(sent)
        finally:
            self.log.append(f"{name} ends {sent}")

    async def _wait(self, script: dict[str, Any], number: int) -> None:
        if number == 2 and script.get("hold"):
            await self.gates[script["hold"]].wait()
        if number == script.get("gate_before", 2) and script.get("gate"):
            await asyncio.to_thread(_wait_while_there, Path(script["gate"]))


def _wait_while_there(gate: Path) -> None:
    eventually(lambda: not gate.exists(), "the gate is opened", _LIMIT_S)


class OpenTexts:
    """Streams whose text is still being written: a chunk of audio for each word, `words` at most."""

    def __init__(self) -> None:
        self.words = 1_000_000
        self._open: dict[str, asyncio.Queue[str | None]] = {}

    def add(self, tensors: Tensors) -> Response:
        """The reply to a request that adds text to a stream."""
        text = self._open.get(tensors["STREAM_ID"])
        if text is None:
            return failure(SpeechError(ErrorCode.INVALID_REQUEST, "No such stream is open.", "stream_id"))
        text.put_nowait(tensors["TEXT"])
        if tensors["STREAM_ACTION"] == "close":
            text.put_nowait(None)
        return end(0)

    async def read_aloud(self, tensors: Tensors) -> AsyncIterator[Response]:
        name, words = tensors["STREAM_ID"], 0
        text = self._open[name] = asyncio.Queue()
        text.put_nowait(tensors["TEXT"])
        try:
            while words < self.words and (piece := await text.get()) is not None:
                for _ in piece.split():
                    words += 1
                    yield AudioEvent(FRAME_SAMPLES), CHUNK
            yield end(words, FinishReason.STOP if words < self.words else FinishReason.LENGTH)
        finally:
            del self._open[name]


Behaviour = Callable[[Tensors], SpeechError | FinishReason | None]


async def read_aloud(
    tensors: Tensors, s_per_character: float, behave: Behaviour, silent_chunks: int = 0
) -> AsyncIterator[Response]:
    """A tone as long as the text, after silence, with word times that share it evenly. Its pitch depends on the text,
    the seed and the speaker; `behave` may make it an error, or an end of another kind."""
    outcome = behave(tensors)
    if isinstance(outcome, SpeechError):
        yield failure(outcome)
        return
    said = (tensors["TEXT"], tensors.get("SEED"), tensors.get("SPEAKER"))
    audio = tone(200.0 + sum(map(ord, repr(said))) % 200)
    chunks = max(2, round(len(tensors["TEXT"]) * s_per_character * SAMPLE_RATE_HZ / FRAME_SAMPLES))
    limit = round(tensors.get("MAX_AUDIO_SECONDS", 0) * SAMPLE_RATE_HZ / FRAME_SAMPLES)
    if limit and limit < chunks:
        chunks, outcome = limit, FinishReason.LENGTH
    for _ in range(silent_chunks):
        yield AudioEvent(FRAME_SAMPLES), _SILENCE
    words = even_words(tensors["TEXT"], chunks * FRAME_SAMPLES)
    for begin in range(0, chunks * FRAME_SAMPLES, FRAME_SAMPLES):
        own = (each for each in words if begin <= each.start < begin + FRAME_SAMPLES)
        moved = tuple(Word(each.text, each.start - begin, each.end - begin) for each in own)
        yield AudioEvent(FRAME_SAMPLES, moved), audio
        await asyncio.sleep(0)
    yield end(silent_chunks + chunks, outcome or FinishReason.STOP)


def even_words(text: str, samples: int) -> list[Word]:
    """The words of a text, each as long as its share of the characters."""
    words = text.split()
    bounds = [samples * sum(map(len, words[:number])) // sum(map(len, words)) for number in range(len(words) + 1)]
    return [Word(word, begin, end) for word, (begin, end) in zip(words, pairwise(bounds), strict=True)]
