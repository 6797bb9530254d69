"""A book's table of contents: EPUB 3's navigation document, else EPUB 2's NCX."""

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from .package import Archive, EpubError, Package, resolve
from .tree import PageError, local_name, page_events


@dataclass(frozen=True, slots=True)
class Point:
    """A title and its target: a file of the archive and an id in it. `depth` counts from 1."""

    title: str
    file: str
    anchor: str
    depth: int


def read_points(archive: Archive, package: Package) -> list[Point]:
    """The table of contents; empty if none can be read."""
    for entry, read in ((package.navigation(), _of_navigation), (package.ncx(), _of_ncx)):
        if entry is None or not archive.has(entry.name):
            continue
        try:
            if points := list(read(archive, entry.name)):
                return points
        except (EpubError, PageError):
            continue  # the other one may be intact, and both are optional
    return []


def _of_navigation(archive: Archive, name: str) -> Iterator[Point]:
    lists: int | None = None  # nesting depth in lists of the table of contents; None outside of it
    href: str | None = None
    title = ""
    for tag, value in page_events(archive.text(name)):
        if tag == "nav":
            is_contents = value is not None and not isinstance(value, str) and "toc" in value.get("epub:type", "toc")
            lists = 0 if is_contents and lists is None else None
        elif lists is None:
            continue
        elif tag == "ol":
            lists += 1 if value is not None else -1
        elif tag == "a" and value is not None and not isinstance(value, str):
            href, title = value.get("href"), ""
        elif tag == "a" and value is None:
            if href and (title := " ".join(title.split())):
                yield Point(title, *resolve(name, href), max(1, lists))
            href = None
        elif not tag and href is not None:
            title += str(value)


def _of_ncx(archive: Archive, name: str) -> Iterator[Point]:
    def walk(parent: Element, depth: int) -> Iterator[Point]:
        for child in parent:
            kind = local_name(str(child.tag))
            if kind in {"navmap", "navpoint"} and depth < 32:
                if kind == "navpoint" and (point := _ncx_point(child, name, depth)):
                    yield point
                yield from walk(child, depth + (kind == "navpoint"))

    yield from walk(archive.xml(name), 1)


def _ncx_point(element: Element, name: str, depth: int) -> Point | None:
    title, source = "", ""
    for child in element:
        kind = local_name(str(child.tag))
        if kind == "navlabel":
            title = " ".join("".join(child.itertext()).split())
        elif kind == "content":
            source = child.get("src", "")
    return Point(title, *resolve(name, source), depth) if title and source else None
