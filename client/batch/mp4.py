"""Two additions to FFmpeg's MP4 files, in one pass: the index is moved to the start, so that players start before they
have read the whole file, and the `chpl` list of at most 255 chapters covers the whole book.

FFmpeg's own fast start would read the file twice, and it writes the first 255 chapters into `chpl`, Nero's list. The
QuickTime track has all of them; players read one or the other.
"""

import io
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

MAX_CHPL: Final = 255
_CONTAINERS: Final = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"udta")
_TICKS: Final = 10_000_000  # a second, in `chpl`
_MAX_TITLE_BYTES: Final = 255
_COPY_BYTES: Final = 1 << 20
_MAX_OFFSET: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Mark:
    """A chapter's title and position in seconds."""

    title: str
    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    begin: int
    head: int  # bytes of its header
    size: int


def thinned(marks: Sequence[Mark], most: int = MAX_CHPL) -> list[Mark]:
    """At most `count` marks, evenly selected; each lasts until the next selected one."""
    if len(marks) <= most:
        return list(marks)
    kept = [number * len(marks) // most for number in range(most)]
    ends = [marks[following].begin_s for following in kept[1:]] + [marks[-1].end_s]
    return [Mark(marks[each].title, marks[each].begin_s, end_s) for each, end_s in zip(kept, ends, strict=True)]


def finish_mp4(source: Path, target: Path, marks: Sequence[Mark]) -> None:
    """Write `source`, a file of FFmpeg's, as `target` with its index at the start. Raises ValueError for a file without
    an index, or with one that FFmpeg would not write."""
    with source.open("rb") as file, target.open("wb") as output:
        boxes = {box.kind: box for box in _boxes(file, 0, source.stat().st_size)}
        if not {b"ftyp", b"moov", b"mdat"} <= boxes.keys():
            raise ValueError("not an MP4 file with an index")
        moov, mdat = boxes[b"moov"], boxes[b"mdat"]
        file.seek(moov.begin)
        index = file.read(moov.size)
        if len(marks) > MAX_CHPL:
            index = _with_chpl(index, _chpl(thinned(marks)))
        ftyp = boxes[b"ftyp"]
        in_front = moov.begin + moov.size + len(index) <= _MAX_OFFSET
        moved = bytearray(index)
        # The space that FFmpeg reserves before the data is omitted.
        _shift_offsets(moved, ftyp.size + (len(index) if in_front else 0) - mdat.begin)
        for part in (ftyp, moved, mdat) if in_front else (ftyp, mdat, moved):
            if isinstance(part, _Box):
                file.seek(part.begin)
                _copy(file, output, part.size)
            else:
                output.write(part)
        output.flush()
        os.fsync(output.fileno())


def read_chpl(path: Path) -> list[tuple[str, float]]:
    """The chapters of `chpl`: titles and start times in seconds, as read by players."""
    with path.open("rb") as file:
        moov = next(box for box in _boxes(file, 0, path.stat().st_size) if box.kind == b"moov")
        file.seek(moov.begin)
        index = file.read(moov.size)
    found = _find(index, (b"moov", b"udta", b"chpl"))
    if not found:
        return []
    position = found[-1].begin + found[-1].head + 8
    chapters = []
    for _ in range(index[position]):
        ticks, length = struct.unpack_from(">QB", index, position + 1)
        begin = position + 10
        chapters.append((index[begin : begin + length].decode(errors="replace"), ticks / _TICKS))
        position = begin + length - 1
    return chapters


def _boxes(file: BinaryIO, begin: int, end: int) -> Iterator[_Box]:
    while begin + 8 <= end:
        file.seek(begin)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            (size,), head = struct.unpack(">Q", file.read(8)), 16
        elif size == 0:
            size = end - begin
        if size < head or begin + size > end:
            raise ValueError("a box that is larger than what it is in")
        yield _Box(kind, begin, head, size)
        begin += size


def _find(index: bytes | bytearray, path: Sequence[bytes]) -> list[_Box]:
    """The boxes along a path of types, the first of each type; empty if there is none."""
    found: list[_Box] = []
    begin, end = 0, len(index)
    for kind in path:
        box = next((each for each in _boxes(io.BytesIO(index), begin, end) if each.kind == kind), None)
        if box is None:
            return []
        found.append(box)
        begin, end = box.begin + box.head, box.begin + box.size
    return found


def _chpl(marks: Sequence[Mark]) -> bytes:
    entries = []
    for mark in marks:
        title = mark.title.encode()[:_MAX_TITLE_BYTES].decode(errors="ignore").encode()
        entries.append(struct.pack(">QB", round(mark.begin_s * _TICKS), len(title)) + title)
    body = struct.pack(">IIB", 0x01000000, 0, len(entries)) + b"".join(entries)
    return struct.pack(">I4s", len(body) + 8, b"chpl") + body


def _with_chpl(index: bytes, chpl: bytes) -> bytes:
    """The index with another `chpl`; the sizes of the enclosing boxes are adjusted."""
    found = _find(index, (b"moov", b"udta", b"chpl"))
    if not found or any(box.head != 8 for box in found):
        raise ValueError("no chpl where FFmpeg writes it")
    old = found[-1]
    changed = bytearray(index)
    for box in found[:-1]:
        struct.pack_into(">I", changed, box.begin, box.size + len(chpl) - old.size)
    changed[old.begin : old.begin + old.size] = chpl
    return bytes(changed)


def _shift_offsets(index: bytearray, by: int) -> None:
    """Shift every file position in the index."""
    waiting = [(0, len(index))]
    while waiting:
        for box in _boxes(io.BytesIO(index), *waiting.pop()):
            body = box.begin + box.head
            if box.kind in _CONTAINERS and box.kind != b"udta":
                waiting.append((body, box.begin + box.size))
            elif box.kind in (b"stco", b"co64"):
                letter = "I" if box.kind == b"stco" else "Q"
                (count,) = struct.unpack_from(">I", index, body + 4)
                layout = f">{count}{letter}"
                offsets = struct.unpack_from(layout, index, body + 8)
                struct.pack_into(layout, index, body + 8, *(offset + by for offset in offsets))


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size:
        data = source.read(min(size, _COPY_BYTES))
        if not data:
            raise ValueError("the file ends too early")
        target.write(data)
        size -= len(data)
