"""Writes an EPUB 3 with media overlays: the text of a book, its recording, and the time of each part, so that a reading
system highlights the current text.

The pages are generated from the extracted text, whatever the input format; skipped content such as code and notes is
included, but not highlighted.
"""

import html
import os
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .assembly import Part
from .document import Block, Kind, Reason
from .recorder import Clip

_AUDIO_TYPES: Final = {"m4b": ("audio.m4a", "audio/mp4"), "mp3": ("audio.mp3", "audio/mpeg")}
_SHOWN: Final = frozenset((Reason.CODE, Reason.NOTE, Reason.FORMULA, Reason.DRAWING))
_COPY_BYTES: Final = 1 << 20
_CONTAINER: Final = (
    '<?xml version="1.0" encoding="utf-8"?>\n'
    '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="EPUB/package.opf" media-type="application/oebps-package+xml"/></rootfiles></container>\n'
)
_STYLE: Final = ".spoken { background-color: #ffe08a; color: #000 }\n.skipped { opacity: 0.7; white-space: pre-wrap }\n"


@dataclass(frozen=True, slots=True)
class About:
    """Metadata of the book; `modified_s` since the epoch."""

    title: str
    author: str
    language: str
    cover: tuple[bytes, str] | None
    modified_s: float


@dataclass(frozen=True, slots=True)
class _Chapter:
    number: int
    title: str
    blocks: tuple[Block, ...]
    clips: Sequence[Clip]

    @property
    def page(self) -> str:
        return f"chapter-{self.number:04}.xhtml"

    @property
    def smil(self) -> str:
        return f"chapter-{self.number:04}.smil"

    @property
    def length_s(self) -> float:
        return sum(clip.end_s - clip.begin_s for clip in self.clips)


def write_overlays(
    path: Path, audio: Path, parts: Sequence[Part], clips: Sequence[Sequence[Clip]], about: About
) -> None:
    """Write the book to `path`, completely or not at all; `clips` are each part's positions in the file `audio`."""
    audio_name, audio_type = _AUDIO_TYPES[audio.suffix.removeprefix(".")]
    chapters = [
        _Chapter(number, part.work.item.title or f"{number}", part.work.item.blocks, each)
        for number, (part, each) in enumerate(zip(parts, clips, strict=True), 1)
        if each
    ]
    files = {"META-INF/container.xml": _CONTAINER, "EPUB/style.css": _STYLE, "EPUB/nav.xhtml": _navigation(chapters)}
    for chapter in chapters:
        files[f"EPUB/{chapter.page}"] = _page(chapter)
        files[f"EPUB/{chapter.smil}"] = _smil(chapter, audio_name)
    files["EPUB/package.opf"] = _package(chapters, about, audio_name, audio_type)
    unfinished = path.with_name(f".{path.name}.part")
    with zipfile.ZipFile(unfinished, "w") as book:
        _put(book, "mimetype", b"application/epub+zip", zipfile.ZIP_STORED)
        for name, text in files.items():
            _put(book, name, text.encode(), zipfile.ZIP_DEFLATED)
        if about.cover is not None:
            _put(book, f"EPUB/{_cover_name(about.cover)}", about.cover[0], zipfile.ZIP_STORED)
        with audio.open("rb") as source, book.open(_info(f"EPUB/{audio_name}"), "w", force_zip64=True) as target:
            while data := source.read(_COPY_BYTES):
                target.write(data)
    with unfinished.open("rb+") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)


def _put(book: zipfile.ZipFile, name: str, data: bytes, method: int) -> None:
    info = _info(name)
    info.compress_type = method
    book.writestr(info, data)


def _info(name: str) -> zipfile.ZipInfo:
    # Without time stamps in the file.
    return zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))


def _page(chapter: _Chapter) -> str:
    return _document(chapter.title, "".join(_blocks(chapter)))


def _blocks(chapter: _Chapter) -> Iterator[str]:
    spoken: dict[int, list[str]] = {}
    for number, clip in enumerate(chapter.clips, 1):
        spoken.setdefault(clip.block, []).append(f'<span id="u{number}">{_text(clip.text)}</span>')
    for number, block in enumerate(chapter.blocks):
        if number in spoken:
            tag = f"h{block.level}" if block.kind is Kind.HEADING else "p"
            yield f"<{tag}>{' '.join(spoken[number])}</{tag}>\n"
        for skipped in block.skipped():
            if skipped.reason in _SHOWN:
                yield f'<p class="skipped">{_text(skipped.text)}</p>\n'


def _smil(chapter: _Chapter, audio: str) -> str:
    pars = "".join(
        f'<par id="p{number}"><text src="{chapter.page}#u{number}"/>'
        f'<audio src="{audio}" clipBegin="{_clock(clip.begin_s)}" clipEnd="{_clock(clip.end_s)}"/></par>\n'
        for number, clip in enumerate(chapter.clips, 1)
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<smil xmlns="http://www.w3.org/ns/SMIL" '
        'xmlns:epub="http://www.idpf.org/2007/ops" version="3.0"><body>'
        f'<seq id="s1" epub:textref="{chapter.page}">\n{pars}</seq></body></smil>\n'
    )


def _navigation(chapters: Sequence[_Chapter]) -> str:
    rows = "".join(f'<li><a href="{chapter.page}">{_text(chapter.title)}</a></li>\n' for chapter in chapters)
    return _document("Contents", f'<nav epub:type="toc" id="toc"><h1>Contents</h1><ol>\n{rows}</ol></nav>\n')


def _document(title: str, body: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml" '
        f'xmlns:epub="http://www.idpf.org/2007/ops"><head><title>{_text(title)}</title>'
        f'<link rel="stylesheet" type="text/css" href="style.css"/></head><body>\n{body}</body></html>\n'
    )


def _package(chapters: Sequence[_Chapter], about: About, audio_name: str, audio_type: str) -> str:
    identity = uuid.uuid5(
        uuid.NAMESPACE_URL, "\n".join((about.title, about.author, *(each.title for each in chapters)))
    )
    modified = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(about.modified_s))
    items = [
        _item("nav", "nav.xhtml", "application/xhtml+xml", {"properties": "nav"}),
        _item("style", "style.css", "text/css"),
        _item("audio", audio_name, audio_type),
    ]
    durations = [f'<meta property="media:duration">{_clock(sum(each.length_s for each in chapters))}</meta>']
    for each in chapters:
        overlay = {"media-overlay": f"o{each.number}"}
        items.append(_item(f"c{each.number}", each.page, "application/xhtml+xml", overlay))
        items.append(_item(f"o{each.number}", each.smil, "application/smil+xml"))
        durations.append(f'<meta property="media:duration" refines="#o{each.number}">{_clock(each.length_s)}</meta>')
    if about.cover is not None:
        items.append(_item("cover", _cover_name(about.cover), about.cover[1], {"properties": "cover-image"}))
    author = f"<dc:creator>{_text(about.author)}</dc:creator>" if about.author else ""
    spine = "".join(f'<itemref idref="c{each.number}"/>' for each in chapters)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<package xmlns="http://www.idpf.org/2007/opf" version="3.0" '
        'unique-identifier="id"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f'<dc:identifier id="id">urn:uuid:{identity}</dc:identifier><dc:title>{_text(about.title)}</dc:title>{author}'
        f"<dc:language>{_text(about.language or 'und')}</dc:language>"
        f'<meta property="dcterms:modified">{modified}</meta>'
        f'<meta property="media:active-class">spoken</meta>{"".join(durations)}</metadata>\n'
        f"<manifest>\n{''.join(items)}</manifest>\n<spine>{spine}</spine></package>\n"
    )


def _item(name: str, href: str, media_type: str, more: Mapping[str, str] | None = None) -> str:
    attributes = "".join(f' {key}="{value}"' for key, value in (more or {}).items())
    return f'<item id="{name}" href="{href}" media-type="{media_type}"{attributes}/>\n'


def _cover_name(cover: tuple[bytes, str]) -> str:
    return f"cover.{cover[1].rpartition('/')[2]}"


def _text(text: str) -> str:
    """Escaped text with the characters that XML allows."""
    return html.escape("".join(each for each in text if each >= " " or each in "\t\n"), quote=False)


def _clock(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60}:{minutes % 60:02}:{rest // 1000:02}.{rest % 1000:03}"
