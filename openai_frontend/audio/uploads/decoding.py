"""The server's side of the decoder subprocess: started by the first upload, replaced when it crashes or hangs."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from typing import Final

from openai_frontend.audio.uploads.decoder_process import HEAD, LENGTH, UNREADABLE
from openai_frontend.audio.uploads.recording import ReferenceAudioError

_TIMEOUT_S: Final = 20.0
# It uses 120 MB, and takes half a second to start.
_IDLE_S: Final = 300.0
_PIECE_BYTES: Final = 64 * 1024
_MODULE: Final = "openai_frontend.audio.uploads.decoder_process"
# The variables that Python and the libraries need; none of the server's keys.
_PASSED_ON: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "TMPDIR")


class DecoderProcess:
    """Decodes one recording at a time; others queue. `timeout_s` is for one recording, including a start; after
    `idle_s` without a recording the process ends."""

    def __init__(self, timeout_s: float = _TIMEOUT_S, idle_s: float = _IDLE_S) -> None:
        self._timeout_s = timeout_s
        self._idle_s = idle_s
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def decode(self, data: bytes) -> bytes:
        """The PCM of a complete file as a reference: s16le, mono, 24 kHz. Raises ReferenceAudioError, also if the
        process crashes or hangs."""
        async with self._turn:
            self._stop_idle_timer()
            try:
                async with asyncio.timeout(self._timeout_s):
                    decoded, payload = await _ask(await self._running(), data)
            except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
                await self._end()
                raise ReferenceAudioError(UNREADABLE) from None
            except BaseException:
                # Its request was cancelled, and its reply must not be mistaken for the next one's.
                await self._end()
                raise
            self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._kill)
        if not decoded:
            raise ReferenceAudioError(payload.decode())
        return payload

    async def aclose(self) -> None:
        """End the process. Idempotent."""
        self._stop_idle_timer()
        await self._end()

    async def _running(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", _MODULE),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env={**environment, "OPENBLAS_NUM_THREADS": "1"},
            )
        return self._process

    async def _end(self) -> None:
        if process := self._kill():
            await process.wait()

    def _kill(self) -> Process | None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
        return process

    def _stop_idle_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()


async def _ask(process: Process, data: bytes) -> tuple[bool, bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(LENGTH.pack(len(data)))
    # In pieces: with each write, the transport copies everything that is still unsent.
    for start in range(0, len(data), _PIECE_BYTES):
        process.stdin.write(data[start : start + _PIECE_BYTES])
        await process.stdin.drain()
    decoded, length = HEAD.unpack(await process.stdout.readexactly(HEAD.size))
    return decoded, await process.stdout.readexactly(length)
