"""Small EPUBs for tests, and what the batch client reads from them."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from client.batch.epub import Book, read_book
from client.batch.items import Item

CONTAINER: Final = (
    '<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
    '<rootfiles><rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)
XHTML: Final = "application/xhtml+xml"


def page(body: str, head: str = "") -> str:
    """A page as EPUB 3 requires it."""
    return (
        '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html>'
        '<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">'
        f"<head><title>Never spoken</title>{head}</head><body>{body}</body></html>"
    )


def write_epub(
    path: Path,
    pages: Mapping[str, str | bytes],
    *,
    items: Sequence[str] = (),
    spine: str | None = None,
    metadata: str = "",
    guide: str = "",
    files: Mapping[str, str | bytes] | None = None,
    container: str = CONTAINER,
) -> Path:
    """A book of pages in this order. `items` are further lines of the manifest, `files` further files; `spine` stands
    for the whole element."""
    manifest = "".join(f'<item id="{name}" href="{name}" media-type="{XHTML}"/>' for name in pages)
    order = "".join(f'<itemref idref="{name}"/>' for name in pages)
    spine = spine or f"<spine>{order}</spine>"
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">'
        f'<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">{metadata}</metadata>'
        f"<manifest>{manifest}{''.join(items)}</manifest>{spine}{guide}</package>"
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("META-INF/container.xml", container)
        file.writestr("OPS/book.opf", package)
        for name, data in pages.items():
            file.writestr(f"OPS/{name}", data)
        for name, data in (files or {}).items():
            file.writestr(name, data)
    return path


def read(path: Path, *bodies: str, head: str = "") -> Book:
    """Read a book whose pages have these bodies."""
    pages = {f"p{number}.xhtml": page(body, head) for number, body in enumerate(bodies)}
    return read_book(write_epub(path / "book.epub", pages))


def spoken(book: Book) -> list[list[str]]:
    """The text to synthesize of each chapter, block by block."""
    return [[speech for block in chapter.blocks if (speech := block.speech())] for chapter in book.chapters]


def skipped(book: Book) -> list[tuple[str, str]]:
    """The skipped text, with its reason."""
    return [
        (each.reason.value, each.text)
        for chapter in book.chapters
        for block in chapter.blocks
        for each in block.skipped()
    ]


def spoken_of(items: Sequence[Item]) -> list[list[str]]:
    return [[speech for block in item.blocks if (speech := block.speech())] for item in items]
