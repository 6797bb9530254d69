"""Markdown as chapters: the document is parsed once, rendered as HTML, and read by the rules for pages of a book."""

import html
import re
from collections.abc import Iterator, Sequence
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.footnote import footnote_plugin

from speech_text.emphasis import CjkInlineParser

from .document import Block, Chapter, Kind, Reason, Run, by_headings
from .page import read_page
from .tree import html_events

# Elements whose content HTML does not parse as markup: unclosed, a word in angle brackets would hide the rest of the
# text (GitHub's "disallowed raw HTML").
_RAW: Final = re.compile(
    r"<(?=/?(?P<tag>title|textarea|style|xmp|iframe|noembed|noframes|script|plaintext|template|select|svg|math)\b)",
    re.IGNORECASE,
)
_ELEMENT: Final = re.compile(r"</?(?P<tag>[a-z][a-z0-9-]*)", re.IGNORECASE)
_KNOWN: Final = """
a abbr address article aside audio b bdi bdo big blockquote br button caption center cite code col colgroup data dd
del details dfn dialog div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img input ins kbd
label legend li link main mark menu meta meter nav nobr ol output p picture pre progress q rb rp rt rtc ruby s samp
section small source span strike strong sub summary sup table tbody td tfoot th thead time tr track tt u ul var
video wbr
"""
_ELEMENTS: Final = frozenset(_KNOWN.split())
# Lines of `name: value` between two rules, as in many note-taking programs. Prose between two rules stays prose.
_FRONT_MATTER: Final = re.compile(
    r"\A---[^\S\n]*\n(?P<lines>(?:[\w-]+:(?:[^\S\n].*)?\n|[^\S\n]+\S.*\n|- .*\n|#.*\n)+)---[^\S\n]*(?:\n|\Z)"
)


class _Renderer(RendererHTML):
    """Renders HTML in which no raw element hides the text after it, and `List<int>` keeps its `<int>`."""

    def html_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        content = tokens[idx].content
        element = _ELEMENT.match(content)
        if element is not None and element["tag"].lower() not in _ELEMENTS:
            return html.escape(content)
        return content

    def html_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        content = tokens[idx].content
        return _RAW.sub(lambda match: _escaped(match, content), content)


def _escaped(match: re.Match[str], content: str) -> str:
    ends = f"</{match['tag']}".lower() in content.lower()
    return match[0] if ends else html.escape(match[0])


def _parser() -> MarkdownIt:
    # Without indented code: in prose, four spaces are the start of a paragraph.
    parser = MarkdownIt("commonmark", renderer_cls=_Renderer)
    parser.inline = CjkInlineParser()
    parser.configure("commonmark").enable(["table", "strikethrough"]).disable("code")
    return parser.use(deflist_plugin).use(footnote_plugin)


_PARSER: Final = _parser()


def markdown_blocks(text: str) -> Iterator[Block]:
    """The blocks of a Markdown document. Raises PageError."""
    if match := _FRONT_MATTER.match(text):
        yield Block(Kind.PARAGRAPH, (Run(match["lines"], Reason.METADATA),))
        text = text[match.end() :]
    yield from read_page(html_events(_PARSER.render(text)))


def markdown_chapters(text: str) -> list[Chapter]:
    """A chapter for each heading of the first two levels, or of the highest level present. Raises PageError."""
    return by_headings(markdown_blocks(text))


def front_matter(text: str) -> dict[str, str]:
    """The `name: value` lines before the text: title, author, language."""
    match = _FRONT_MATTER.match(text)
    pairs = (line.partition(":") for line in match["lines"].splitlines()) if match else ()
    return {name.strip().lower(): value.strip().strip("'\"") for name, _, value in pairs if value.strip()}
