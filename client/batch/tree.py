"""Pages as events: XHTML is read by an XML parser, as EPUB requires; HTML, and XHTML that is not well formed, by
HTML5's rules, which support optional end tags and repair errors as browsers do.

selectolax is the HTML5 parser because it passes the standard's own tests, reads a book's page in milliseconds and has
wheels for every platform; html5lib had its last release in 2020, and libxml2 reads HTML 4.
"""

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException
from selectolax.lexbor import LexborHTMLParser, LexborNode

# An element begins (its tag and attributes), ends (its tag, None), or is text ("", text).
Event = tuple[str, Mapping[str, str] | str | None]

_NAMESPACE: Final = re.compile(r"\{[^}]*\}")
_OPS: Final = "{http://www.idpf.org/2007/ops}"
# Sections that XML keeps verbatim, or HTML entities, which XML lacks. An unclosed section is matched as a whole, so
# that it is scanned only once.
_ENTITY: Final = re.compile(
    r"<!\[CDATA\[(?:.*?\]\]>|.*)|<!--(?:.*?-->|.*)|&(?P<name>[A-Za-z][A-Za-z0-9]{0,40});", re.DOTALL
)
_OF_XML: Final = frozenset(("amp", "lt", "gt", "quot", "apos"))
_CDATA: Final = re.compile(r"<!\[CDATA\[(?:(?P<text>.*?)\]\]>|(?P<rest>.*))", re.DOTALL)
_EMPTY: Final = re.compile(r"<(?P<tag>[A-Za-z][\w:.-]*+)(?P<rest>(?:[^<>\"']|\"[^\"]*\"|'[^']*')*?)/>")
_DECLARATION: Final = re.compile(r"^\s*<\?xml.*?\?>", re.DOTALL)
_VOID: Final = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)
# Elements that HTML5 nests without limit; its rules take quadratic time in their depth.
_NESTING: Final = re.compile(r"<(/?)(?:div|span|section|article|aside|blockquote|b|i|em|strong|font|table|ul|ol)\b")
_MAX_DEPTH: Final = 2_000
_TOO_DEEP: Final = f"its elements are nested more than {_MAX_DEPTH} deep"


class PageError(ValueError):
    """An unreadable page; the message says why."""


def page_events(page: str) -> Iterator[Event]:
    """The elements and texts of an XHTML page. Raises PageError."""
    try:
        root = parse_xml(_ENTITY.sub(_character, page))
    except (ParseError, DefusedXmlException, ValueError):
        page = _CDATA.sub(lambda match: html.escape(match["text"] or match["rest"] or ""), _DECLARATION.sub("", page))
        return html_events(_EMPTY.sub(_with_end, page))
    return _xml_events(root)


def html_events(page: str) -> Iterator[Event]:
    """The elements and texts of an HTML page or fragment. Raises PageError."""
    depth = 0
    for match in _NESTING.finditer(page):
        depth += -1 if match[1] else 1
        if depth > _MAX_DEPTH:
            raise PageError(_TOO_DEEP)
    return _html_events(page)


def parse_xml(text: str) -> Element:
    """An XML document as a tree. Raises ParseError, ValueError and defusedxml's errors (for entity declarations)."""
    root: Element = ElementTree.fromstring(_DECLARATION.sub("", text).lstrip())
    return root


def local_name(tag: str) -> str:
    """An element's name without its namespace, in lower case."""
    return _NAMESPACE.sub("", tag).lower()


def _character(match: re.Match[str]) -> str:
    name = match["name"]
    if name is None or name in _OF_XML:
        return match[0]
    character = html.unescape(match[0])
    return match[0] if character == match[0] else html.escape(character)


def _with_end(match: re.Match[str]) -> str:
    """XML's `<i/>` as HTML writes it."""
    tag = match["tag"]
    return match[0] if tag.lower() in _VOID else f"<{tag}{match['rest']}></{tag}>"


def _xml_events(root: Element) -> Iterator[Event]:
    stack: list[tuple[str, Iterator[Element], str]] = []
    element: Element | None = root
    while element is not None or stack:
        if element is not None:
            tag = local_name(str(element.tag))
            yield tag, {_attribute(name): value for name, value in element.attrib.items()}
            if element.text:
                yield "", element.text
            stack.append((tag, iter(element), element.tail or "" if stack else ""))
            if len(stack) > _MAX_DEPTH:
                raise PageError(_TOO_DEEP)
        element = next(stack[-1][1], None)
        if element is None:
            tag, _, tail = stack.pop()
            yield tag, None
            if tail:
                yield "", tail


def _attribute(name: str) -> str:
    return f"epub:{name.removeprefix(_OPS)}" if name.startswith(_OPS) else local_name(name)


def _html_events(page: str) -> Iterator[Event]:
    parser = LexborHTMLParser(page)
    stack: list[LexborNode] = []
    node: LexborNode | None = parser.root
    while node is not None or stack:
        if node is None:
            node = stack.pop()
            yield str(node.tag), None
            node = node.next if stack else None
            continue
        tag = str(node.tag)
        if tag == "-text":
            yield "", _text(node)
        elif not tag.startswith(("-", "!")):
            yield tag, _attributes(node)
            stack.append(node)
            node = node.child
            continue
        node = node.next


def _attributes(node: Any) -> dict[str, str]:
    return {name: value or "" for name, value in node.attributes.items()}


def _text(node: LexborNode) -> str:
    return node.text_content or ""
