"""From an engine's PCM to the bytes of a reply: tempo, then encoder."""

import asyncio
import threading

from openai_frontend.audio.formats import AudioFormat
from openai_frontend.audio.tempo import make_tempo


class SpeechEncoder:
    """One reply's audio. Feed PCM (s16le, mono, 24 kHz) as it comes, then `finish`, or `abort` at any time.

    The methods may be called from different threads, one call after the other; only `abort` may overlap another call.
    After `finish` or `abort` every method returns nothing. Raises ValueError for a speed outside 0.25 to 4.0.
    """

    def __init__(self, audio_format: AudioFormat, speed: float = 1.0) -> None:
        self._needs_cpu = audio_format.needs_cpu or speed != 1.0
        self._tempo = make_tempo(speed)
        self._encoder = audio_format.new_encoder()
        # A cancelled task leaves its thread running: `abort` must not free a codec that is still encoding.
        self._lock = threading.Lock()

    def feed(self, pcm: bytes) -> bytes:
        """Take a piece of PCM of any length; return the bytes of the reply now ready, maybe none."""
        with self._lock:
            return self._encoder.encode(self._tempo.process(pcm))

    def finish(self) -> bytes:
        """Return the rest of the reply and free everything."""
        with self._lock:
            try:
                last = self._encoder.encode(self._tempo.close())
            finally:
                tail = self._encoder.close()
            return last + tail

    def abort(self) -> None:
        """Free everything and drop what was not returned. Waits for a `feed` in another thread, some milliseconds."""
        self.finish()

    async def feed_async(self, pcm: bytes) -> bytes:
        """`feed`, in a thread where it costs CPU time, so that other replies go on."""
        return await asyncio.to_thread(self.feed, pcm) if self._needs_cpu else self.feed(pcm)

    async def finish_async(self) -> bytes:
        """`finish`, in a thread where it costs CPU time."""
        return await asyncio.to_thread(self.finish) if self._needs_cpu else self.finish()
