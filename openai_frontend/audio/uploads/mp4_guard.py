"""Rejects MP4 files whose tables claim more samples than a recording has.

FFmpeg builds an index from the counts in a table, not from the file's data: a file of 18 KB can cost 2.4 GB and ten
seconds, before the first sample is decoded and below any limit that Python can set. So the counts are added up first.
"""

import re
import struct
from collections.abc import Iterator
from typing import Final

_HEADER_BYTES: Final = 8
# A zlib-compressed header, which can expand in the same way.
_DEFLATED_HEADER: Final = b"dcomzlib"
# Boxes at the start of files of this family; old QuickTime files, and those of some recorders, have no `ftyp`.
_FIRST_TAGS: Final = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
# Sample sizes, compact sample sizes, fragment runs: the tag, then fixed fields, then the number of samples.
_SAMPLE_COUNT: Final = re.compile(rb"(?:stsz.{4}\0{4}|stz2.{8}|trun.{4})(?P<count>.{4})", re.DOTALL)
# Five hours of AAC; an index entry takes 24 bytes.
_MAX_SAMPLES: Final = 1_000_000
# For samples of constant size, as in uncompressed audio: a minute at 192 kHz.
_FIXED_SAMPLE_COUNT: Final = re.compile(rb"stsz.{4}(?!\0{4}).{4}(?P<count>.{4})", re.DOTALL)
_MAX_FIXED_SAMPLES: Final = 12_000_000
# Uncompressed audio is indexed by chunk, an entry for each 1,024 samples: four minutes at 192 kHz.
_CHUNK_COUNT: Final = re.compile(rb"(?:stco|co64).{4}(?P<count>.{4})", re.DOTALL)
_CHUNK_LENGTHS: Final = re.compile(rb"stsc.{4}(?P<count>.{4})", re.DOTALL)
_CHUNK_ENTRY: Final = struct.Struct(">4xI4x")
_MAX_CHUNK_SAMPLES: Final = 50_000_000


def is_mp4(data: bytes) -> bool:
    """Whether `data` is of the MP4 family (mp4, m4a, mov, 3gp)."""
    return data[4:8] in _FIRST_TAGS


def claims_too_much(data: bytes) -> bool:
    """Whether opening this MP4 could cost memory out of proportion to its length."""
    header = _without_media(data)
    if _DEFLATED_HEADER in header or sum(_counts(_SAMPLE_COUNT, header)) > _MAX_SAMPLES:
        return True
    if sum(_counts(_FIXED_SAMPLE_COUNT, header)) > _MAX_FIXED_SAMPLES:
        return True
    # Tables longer than the header are invalid, and reading them repeatedly would be slow.
    if sum(_counts(_CHUNK_LENGTHS, header)) * _CHUNK_ENTRY.size > len(header):
        return True
    return _longest_chunk(header) * sum(_counts(_CHUNK_COUNT, header)) > _MAX_CHUNK_SAMPLES


def _counts(table: re.Pattern[bytes], header: bytes) -> Iterator[int]:
    return (int.from_bytes(match["count"], "big") for match in table.finditer(header))


def _longest_chunk(header: bytes) -> int:
    longest = 0
    for table in _CHUNK_LENGTHS.finditer(header):
        entries = int.from_bytes(table["count"], "big")
        lengths = header[table.end() : table.end() + entries * _CHUNK_ENTRY.size]
        lengths = lengths[: len(lengths) // _CHUNK_ENTRY.size * _CHUNK_ENTRY.size]
        longest = max([longest, *(samples for (samples,) in _CHUNK_ENTRY.iter_unpack(lengths))])
    return longest


def _without_media(data: bytes) -> bytes:
    # The audio data may contain any bytes, even the name of a table; FFmpeg does not search it for tables.
    kept: list[bytes] = []
    start = 0
    while start + _HEADER_BYTES <= len(data):
        size, tag = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        if size == 1:
            size = int.from_bytes(data[start + 8 : start + 16], "big")
        if size < _HEADER_BYTES:
            # 0 means "to the end of the file"; any other value is damage.
            size = len(data) - start
        if tag != b"mdat":
            kept.append(data[start : start + size])
        start += size
    return b"".join(kept)
