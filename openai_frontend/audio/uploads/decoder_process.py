"""`python -m openai_frontend.audio.uploads.decoder_process`: decodes untrusted recordings in a separate process.

On stdin, for each recording: its length in 8 bytes, and the file. On stdout: a status byte, a length in 8 bytes, and
the PCM of the reference or an error message. It ends at the end of stdin. A crafted file that exploits FFmpeg is
contained here: memory and open files are limited, the environment has no key, and nothing is writable.
"""

import contextlib
import logging
import resource
import struct
import sys
from typing import BinaryIO, Final

from openai_frontend.audio.uploads.reference import ReferenceAudioError, clean_reference

# Three times the memory for a minute of eight channels at 192 kHz.
_MAX_MEMORY_BYTES: Final = 3 * 2**29
_MAX_FILES: Final = 16
HEAD: Final = struct.Struct(">?Q")  # whether it was decoded, and the number of bytes that follow
LENGTH: Final = struct.Struct(">Q")
UNREADABLE: Final = "The recording cannot be decoded: decoding it needs too much memory. Send a wav or flac file."


def main() -> None:
    """Decode recordings from stdin until it ends."""
    logging.disable()
    _limit()
    while head := sys.stdin.buffer.read(LENGTH.size):
        data = sys.stdin.buffer.read(*LENGTH.unpack(head))
        _answer(sys.stdout.buffer, *_decode(data))


def _decode(data: bytes) -> tuple[bool, bytes]:
    try:
        return True, clean_reference(data)
    except ReferenceAudioError as error:
        return False, error.message.encode()
    except MemoryError:
        return False, UNREADABLE.encode()


def _answer(out: BinaryIO, decoded: bool, payload: bytes) -> None:
    out.write(HEAD.pack(decoded, len(payload)) + payload)
    out.flush()


def _limit() -> None:
    import scipy.signal  # noqa: F401 - opens its files before the limit on open files applies

    limits = {"RLIMIT_AS": _MAX_MEMORY_BYTES, "RLIMIT_NOFILE": _MAX_FILES, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    for name, limit in limits.items():
        # A limit that is unknown to the system, or already lower, is left unchanged.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (limit, limit))


if __name__ == "__main__":
    main()
