"""The chapters of an EPUB, a stranger's file: sizes are bounded, entities expand to nothing, no name is a path."""

import posixpath
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

_CONTAINER: Final = "META-INF/container.xml"
_MAX_FILE_BYTES: Final = 20 * 2**20
_MAX_FILES: Final = 5_000
_XHTML: Final = {"application/xhtml+xml", "text/html"}
_HEADINGS: Final = frozenset(("h1", "h2", "h3"))
_BLOCKS: Final = _HEADINGS | {
    *("p", "div", "br", "li", "h4", "h5", "h6", "tr", "blockquote", "pre", "hr"),
    *("section", "article", "header", "footer"),
}
_SILENT: Final = frozenset(("script", "style", "head", "nav", "rt", "rp", "svg"))
_VOID: Final = frozenset(("br", "hr", "img", "meta", "link", "input", "wbr", "col", "area", "base", "source"))


@dataclass(frozen=True, slots=True)
class Chapter:
    """One document of the book, in reading order."""

    file: str
    title: str
    text: str


class EpubError(OSError):
    """The file is no EPUB that can be read."""


def read_chapters(path: Path) -> Iterator[Chapter]:
    """The documents of the spine. Raises EpubError."""
    try:
        with zipfile.ZipFile(path) as book:
            if len(book.namelist()) > _MAX_FILES:
                raise EpubError(f"{path} has more than {_MAX_FILES} files")
            for name in _spine(book):
                page = _Page()
                try:
                    page.feed(_read(book, name).decode("utf-8", "replace"))
                    page.close()
                except KeyError:
                    yield Chapter(name, "", "")
                    continue
                yield Chapter(name, page.title, page.text())
    except (zipfile.BadZipFile, DefusedXmlException, ElementTree.ParseError, KeyError, RuntimeError) as error:
        raise EpubError(f"{path} is no EPUB that can be read ({type(error).__name__})") from None


def _spine(book: zipfile.ZipFile) -> list[str]:
    container = ElementTree.fromstring(_read(book, _CONTAINER))
    packages = [each.attrib["full-path"] for each in container.iter() if each.tag.endswith("}rootfile")]
    if not packages:
        raise KeyError(_CONTAINER)
    package_name = packages[0]
    package = ElementTree.fromstring(_read(book, package_name))
    folder = posixpath.dirname(package_name)
    files = {
        each.attrib["id"]: posixpath.normpath(posixpath.join(folder, unquote(each.attrib["href"])))
        for each in package.iter()
        if each.tag.endswith("}item") and each.attrib.get("media-type") in _XHTML
    }
    order = (each.attrib["idref"] for each in package.iter() if each.tag.endswith("}itemref"))
    return [files[each] for each in order if each in files]


def _read(book: zipfile.ZipFile, name: str) -> bytes:
    with book.open(name) as file:
        data = file.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise EpubError(f"{name} is larger than {_MAX_FILE_BYTES >> 20} MiB")
    return data


class _Page(HTMLParser):
    """What is read aloud of a document: paragraphs with blank lines between them; its first heading is its title."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._paragraphs: list[list[str]] = [[]]
        self._silent: list[str] = []
        self._heading = ""
        self.title = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent.append(tag)
        if tag in _BLOCKS:
            self._paragraphs.append([])
        if tag in _HEADINGS and not self.title:
            self._heading = tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self._paragraphs.append([])

    def handle_endtag(self, tag: str) -> None:
        if self._silent and tag == self._silent[-1]:
            self._silent.pop()
        if tag == self._heading:
            self._heading = ""
            self.title = " ".join(self.title.split())
        if tag in _BLOCKS and tag not in _VOID:
            line = "".join(self._paragraphs[-1]).rstrip()
            if tag in _HEADINGS and line and not line.endswith((".", "!", "?")):
                self._paragraphs[-1].append(".")  # for the pause behind it
            self._paragraphs.append([])

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        self._paragraphs[-1].append(data)
        if self._heading:
            self.title += data

    def text(self) -> str:
        paragraphs = (" ".join("".join(parts).split()) for parts in self._paragraphs)
        return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
