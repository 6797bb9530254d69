"""From an engine's PCM to the bytes of a reply: tempo, then encoder."""

import asyncio
import threading
from collections.abc import Callable

from openai_frontend.audio.encoders import Encoder
from openai_frontend.audio.formats import AudioFormat
from openai_frontend.audio.tempo import Tempo, make_tempo
from openai_frontend.thread_pools import WorkerPool


class SpeechEncoder:
    """The audio of one reply. Call `feed` with PCM (s16le, mono, 24 kHz), then `finish`, or `abort` at any time.

    The methods may be called from different threads, one call after the other; only `abort` may overlap another call.
    After `finish` or `abort` every method returns nothing. `pool` runs the `_async` methods if they cost CPU time.
    Raises ValueError for a speed outside 0.25 to 4.0.
    """

    def __init__(self, audio_format: AudioFormat, speed: float = 1.0, pool: WorkerPool | None = None) -> None:
        self.speed = speed
        self._needs_cpu = audio_format.needs_cpu or speed != 1.0
        self._pool = pool
        self._stages: tuple[Tempo, Encoder] | None = make_tempo(speed), audio_format.new_encoder()
        self._aborted = False
        # A cancelled task leaves its thread running: a codec must not be freed while it encodes.
        self._lock = threading.Lock()

    def feed(self, pcm: bytes) -> bytes:
        """Add PCM of any length; return the bytes of the reply that are ready, if any."""
        return self._locked(lambda tempo, encoder: encoder.encode(tempo.process(pcm)))

    def finish(self) -> bytes:
        """Return the rest of the reply and free everything."""

        def close(tempo: Tempo, encoder: Encoder) -> bytes:
            self._aborted = True  # so that everything is freed
            try:
                last = encoder.encode(tempo.close())
            finally:
                tail = encoder.close()
            return last + tail

        return self._locked(close)

    def abort(self) -> None:
        """Free everything and discard the remaining audio. Never waits and never encodes: if a call is in progress in
        another thread, that call frees everything at its end."""
        self._aborted = True
        if self._lock.acquire(blocking=False):
            try:
                self._stages = None
            finally:
                self._lock.release()

    async def feed_async(self, pcm: bytes) -> bytes:
        """`feed`, in a thread if it costs CPU time, so that other replies continue."""
        return await self._run(lambda: self.feed(pcm)) if self._needs_cpu else self.feed(pcm)

    async def finish_async(self) -> bytes:
        """`finish`, in a thread if it costs CPU time."""
        return await self._run(self.finish) if self._needs_cpu else self.finish()

    async def _run(self, work: Callable[[], bytes]) -> bytes:
        return await (asyncio.to_thread(work) if self._pool is None else self._pool.run(work))

    def _locked(self, work: Callable[[Tempo, Encoder], bytes]) -> bytes:
        with self._lock:
            if self._aborted or self._stages is None:
                self._stages = None
                return b""
            try:
                return work(*self._stages)
            finally:
                if self._aborted:
                    self._stages = None
