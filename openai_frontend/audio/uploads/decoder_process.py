"""`python -m openai_frontend.audio.uploads.decoder_process`: decodes untrusted recordings in a process of its own.

On stdin, for each recording, its length in 8 bytes and the file; on stdout a status byte, a length in 8 bytes, and the
PCM of the reference or the message of the error. It ends with its stdin. What a crafted file can make FFmpeg do happens
here: with bounds on memory and open files, no key in the environment, and nothing to write to.
"""

import contextlib
import logging
import resource
import struct
import sys
from typing import BinaryIO, Final

from openai_frontend.audio.uploads.reference import ReferenceAudioError, clean_reference

# Three times what a minute of eight channels at 192 kHz takes.
_MAX_MEMORY_BYTES: Final = 3 * 2**29
_MAX_FILES: Final = 16
HEAD: Final = struct.Struct(">?Q")  # whether it could be decoded, bytes that follow
LENGTH: Final = struct.Struct(">Q")
UNREADABLE: Final = "The recording cannot be decoded: it asks for more than a recording needs. Send a wav or flac file."


def main() -> None:
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
    import scipy.signal  # noqa: F401 - its files are opened before the bound on open files counts

    limits = {"RLIMIT_AS": _MAX_MEMORY_BYTES, "RLIMIT_NOFILE": _MAX_FILES, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    for name, limit in limits.items():
        # A system that knows one of them not, or has a lower one already, keeps its own.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (limit, limit))


if __name__ == "__main__":
    main()
