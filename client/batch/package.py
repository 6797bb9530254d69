"""An EPUB's package: its files with their types, reading order, and metadata.

A book is untrusted input: sizes are limited, entities expand to nothing, and its names are never used as paths.
"""

import posixpath
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException

from .encodings import EncodingError, decode
from .tree import local_name, parse_xml

_CONTAINER: Final = "META-INF/container.xml"
_ENCRYPTION: Final = "META-INF/encryption.xml"
_MAX_FILE_BYTES: Final = 20 * 2**20
_MAX_TOTAL_BYTES: Final = 64 * 2**20
_MAX_FILES: Final = 20_000
# Encryption of fonts only: the rest of the book is readable.
_OBFUSCATION: Final = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_PAGES: Final = frozenset(
    (
        *("application/xhtml+xml", "text/html", "text/x-oeb1-document", "application/x-dtbook+xml"),
        *("application/xml", "text/xml", "image/svg+xml"),
    )
)
_NCX: Final = "application/x-dtbncx+xml"
_COVERS: Final = {"image/jpeg": "image/jpeg", "image/jpg": "image/jpeg", "image/png": "image/png"}


class EpubError(OSError):
    """The file is not a readable EPUB; the message says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the manifest; `name` is its path in the archive."""

    id: str
    name: str
    media_type: str
    properties: frozenset[str] = frozenset()
    fallback: str = ""


@dataclass(frozen=True, slots=True)
class SpineItem:
    """An item of the reading order: a page, or None with the reason in `why`."""

    place: str
    entry: Entry | None
    is_linear: bool = True
    why: str = ""


class Archive:
    """The files of a book, by normalised names; the total amount read is limited. Raises EpubError."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        self._total_bytes = 0
        names = file.namelist()
        if len(names) > _MAX_FILES:
            raise EpubError(f"it has more than {_MAX_FILES} files")
        self._names = {_folded(name): name for name in reversed(names)} | {name: name for name in names}

    def has(self, name: str) -> bool:
        """Whether the archive contains a file of that name."""
        return self._found(name) is not None

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises EpubError."""
        found = self._found(name)
        if found is None:
            raise EpubError(f"{name} is not in it")
        try:
            with self._file.open(found) as file:
                data = file.read(_MAX_FILE_BYTES + 1)
        except RuntimeError:
            raise EpubError(f"{name} is locked with a password") from None
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError, OSError):
            raise EpubError(f"{name} is damaged") from None
        self._total_bytes += len(data)
        if len(data) > _MAX_FILE_BYTES:
            raise EpubError(f"{name} is larger than {_MAX_FILE_BYTES >> 20} MiB")
        if self._total_bytes > _MAX_TOTAL_BYTES:
            raise EpubError(f"its pages are larger than {_MAX_TOTAL_BYTES >> 20} MiB together")
        return data

    def text(self, name: str) -> str:
        """The decoded text of a file. Raises EpubError."""
        try:
            return decode(self.read(name))
        except EncodingError as error:
            raise EpubError(f"{name} can't be read: {error}") from None

    def xml(self, name: str) -> Element:
        """A file as an XML tree. Raises EpubError."""
        try:
            return parse_xml(self.text(name))
        except ParseError as error:
            raise EpubError(f"{name} is damaged (line {error.position[0]})") from None
        except (DefusedXmlException, ValueError) as error:
            raise EpubError(f"{name} can't be read ({type(error).__name__})") from None

    def _found(self, name: str) -> str | None:
        return self._names.get(name) or self._names.get(_folded(name))


class Package:
    """The content of the package document. Raises EpubError."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._name = self._package_name()
        root = archive.xml(self._name)
        self.entries = {entry.id: entry for entry in self._manifest(root)}
        self._metadata = _child(root, "metadata")
        self._spine_element = _child(root, "spine")
        self._guide = _child(root, "guide")
        self.spine = list(self._spine())
        self._check_encryption()

    @property
    def title(self) -> str:
        """The title of the book; empty if unknown."""
        return self._first("title")

    @property
    def author(self) -> str:
        """The author of the book; empty if unknown."""
        return ", ".join(dict.fromkeys(self._all("creator")))

    @property
    def language(self) -> str:
        """The language tag of the book; empty if unknown."""
        return self._first("language")

    def cover(self) -> tuple[bytes, str] | None:
        """The cover picture and its media type, if players support it."""
        named = [each.get("content") for each in self._metadata_elements("meta") if each.get("name") == "cover"]
        found = [entry for entry in self.entries.values() if "cover-image" in entry.properties]
        found += [self.entries[name] for name in named if name in self.entries]
        for entry in found:
            if entry.media_type in _COVERS and self._archive.has(entry.name):
                return self._archive.read(entry.name), _COVERS[entry.media_type]
        return None

    def navigation(self) -> Entry | None:
        """EPUB 3's navigation document."""
        return next((entry for entry in self.entries.values() if "nav" in entry.properties), None)

    def ncx(self) -> Entry | None:
        """EPUB 2's table of contents."""
        named = self._spine_element.get("toc", "") if self._spine_element is not None else ""
        by_type = next((entry for entry in self.entries.values() if entry.media_type == _NCX), None)
        return self.entries.get(named, by_type)

    def contents_pages(self) -> set[str]:
        """The pages that EPUB 2's guide lists as tables of contents."""
        references = self._guide if self._guide is not None else ()
        return {
            resolve(self._name, each.get("href", ""))[0]
            for each in references
            if each.get("type", "").lower() == "toc" and "#" not in each.get("href", "")
        }

    def _package_name(self) -> str:
        container = self._archive.xml(_CONTAINER)
        for each in container.iter():
            if local_name(str(each.tag)) == "rootfile" and (path := each.get("full-path")):
                return posixpath.normpath(unquote(path)) if not self._archive.has(path) else path
        raise EpubError(f"{_CONTAINER} names no package")

    def _manifest(self, root: Element) -> Iterator[Entry]:
        for each in root.iter():
            if local_name(str(each.tag)) == "item" and each.get("id") and each.get("href"):
                media_type = each.get("media-type", "").partition(";")[0].strip().lower()
                name = resolve(self._name, each.attrib["href"])[0]
                properties = frozenset(each.get("properties", "").split())
                yield Entry(each.attrib["id"], name, media_type, properties, each.get("fallback", ""))

    def _spine(self) -> Iterator[SpineItem]:
        if self._spine_element is None:
            raise EpubError(f"{self._name} has no reading order")
        for each in self._spine_element:
            if local_name(str(each.tag)) != "itemref":
                continue
            name = each.get("idref", "")
            is_linear = each.get("linear", "yes").strip().lower() != "no"
            entry = self.entries.get(name)
            if entry is None:
                yield SpineItem(f"the page '{name[:80]}'", None, is_linear, "the manifest has no such file")
                continue
            page = self._readable(entry)
            if page is None:
                if not entry.media_type.startswith(("image/", "audio/", "video/")):
                    why = f"a file of the type '{entry.media_type[:80]}' is no page"
                    yield SpineItem(entry.name, None, is_linear, why)
            elif not self._archive.has(page.name):
                yield SpineItem(page.name, None, is_linear, "the file is missing")
            else:
                yield SpineItem(page.name, page, is_linear)

    def _readable(self, entry: Entry) -> Entry | None:
        """The entry, or the first of its fallbacks that is a page."""
        seen: set[str] = set()
        found: Entry | None = entry
        while found is not None and found.id not in seen:
            if found.media_type in _PAGES:
                return found
            seen.add(found.id)
            found = self.entries.get(found.fallback)
        return None

    def _check_encryption(self) -> None:
        if not self._archive.has(_ENCRYPTION):
            return
        pages = {item.entry.name for item in self.spine if item.entry}
        locked = set(_encrypted(self._archive.xml(_ENCRYPTION)))
        if locked & {*pages, *map(_folded, pages)}:
            raise EpubError("it is protected against copying (DRM), and its text is encrypted")

    def _metadata_elements(self, name: str) -> Iterator[Element]:
        for each in self._metadata.iter() if self._metadata is not None else ():
            if local_name(str(each.tag)) == name:
                yield each

    def _all(self, name: str) -> list[str]:
        return [text for each in self._metadata_elements(name) if (text := " ".join("".join(each.itertext()).split()))]

    def _first(self, name: str) -> str:
        return next(iter(self._all(name)), "")


def resolve(base: str, href: str) -> tuple[str, str]:
    """The file in the archive and the id in it that a link of the file `base` refers to."""
    path, _, fragment = href.strip().partition("#")
    if not path:
        return base, unquote(fragment)
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), unquote(path))), unquote(fragment)


def _encrypted(root: Element) -> Iterator[str]:
    """The encrypted files, except obfuscated fonts."""
    for data in root.iter():
        if local_name(str(data.tag)) != "encrypteddata":
            continue
        parts = list(data.iter())
        method = next((each for each in parts if local_name(str(each.tag)) == "encryptionmethod"), None)
        if method is not None and method.get("Algorithm") in _OBFUSCATION:
            continue
        for each in parts:
            if local_name(str(each.tag)) == "cipherreference":
                name = posixpath.normpath(unquote(each.get("URI", "")).lstrip("/"))
                yield from (name, _folded(name))


def _child(root: Element, name: str) -> Element | None:
    return next((each for each in root if local_name(str(each.tag)) == name), None)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()
