"""Whole utterances directly from a Triton model. Cancelling one cancels the request in the engine, which `speech_batch`
can't, and a crash of the model's process is detected within seconds."""

from dataclasses import dataclass

from speech_client.liveness import Liveness
from speech_client.stream import SpeechStream, Supervision
from speech_client.triton import Triton
from speech_protocol.audio import SAMPLE_BYTES
from speech_protocol.events import AudioEvent, EndEvent, StartEvent, Word
from speech_protocol.request import SpeechRequest


@dataclass(frozen=True, slots=True)
class Spoken:
    """A whole utterance: PCM (s16le, mono, 24 kHz), its end event, the checkpoint that produced it, and its words in
    samples of it, from models with word times."""

    pcm: bytes
    end: EndEvent
    checkpoint: str
    words: tuple[Word, ...] = ()


class Speaker:
    """Requests whole utterances of one Triton, once each: the caller retries."""

    def __init__(self, triton: Triton) -> None:
        self._triton, self._liveness = triton, Liveness(triton)

    async def speak(self, model: str, request: SpeechRequest) -> Spoken:
        """A whole utterance. Raises SpeechError, MODEL_DIED within seconds of a crash."""
        checkpoints: list[str] = []

        def started(_: str, event: StartEvent) -> None:
            checkpoints.append(event.checkpoint)

        supervision = Supervision(_Unmanaged(self._liveness), started=started, retries=False)
        stream = SpeechStream(self._triton, model, request, supervision)
        pcm, words = bytearray(), list[Word]()
        try:
            while not isinstance((message := await stream.next()).event, EndEvent):
                if isinstance(message.event, AudioEvent):
                    begin = len(pcm) // SAMPLE_BYTES
                    words += (Word(each.text, begin + each.start, begin + each.end) for each in message.event.words)
                pcm += message.pcm
            return Spoken(bytes(pcm), message.event, checkpoints[-1], tuple(words))
        finally:
            stream.cancel()
            await stream.ended()

    async def aclose(self) -> None:
        """Cancel the liveness probes in flight."""
        await self._liveness.aclose()


@dataclass(frozen=True, slots=True)
class _Unmanaged:
    """Models whose loads are managed elsewhere: only their processes are checked."""

    liveness: Liveness

    def generation(self, name: str) -> int:
        return 0

    async def ensure_ready(self, name: str) -> None: ...

    def mark_unavailable(self, name: str, generation: int, *, dead: bool = False) -> None: ...

    async def check_alive(self, name: str, generation: int, process: str) -> None:
        await self.liveness.check(name, process)
