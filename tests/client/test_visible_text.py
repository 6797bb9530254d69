"""Every character of visible text is synthesized or skipped for a reason: on generated documents, whose visible text is
known from their construction or extracted by an independent parser."""

import itertools
import tempfile
from collections import Counter
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from hypothesis import example, given, settings
from hypothesis import strategies as st

from client.batch.casting import Casting
from client.batch.document import Block
from client.batch.epub import read_book
from client.batch.items import Source, read_source
from client.batch.plan import Defaults, plan
from tests.client.books import page, write_epub

MANY = "one two trois vier fünf шесть 七 여덟 nine. «dix»! a,b c-d it’s 3rd 1914 & ½ 😀 — … *"
WORDS = st.sampled_from(MANY.split())
TEXT = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)


def joined(texts: Iterable[str]) -> str:
    return "".join("".join(texts).split())


def of_document(blocks: Iterable[Block]) -> str:
    """All characters of the document's own, in order."""
    return joined(run.text for block in blocks for run in block.runs if not run.added)


def letters(texts: Iterable[str]) -> Counter[str]:
    return Counter(character for text in texts for character in text if character.isalpha())


def letters_of_run(source: Source) -> Counter[str]:
    """The letters that are sent to a model, and those that are reported."""
    works = plan(source.items, Defaults(), Casting())
    spoken = letters(utterance.text for work in works for utterance in work.utterances)
    skipped = [each.text for work in works for each in work.skipped] + [each.text for _, each in source.silent]
    return spoken + letters(skipped)


# EPUB

INLINE = ("span", "b", "i", "a", "em", "code", "sup", "sub", "ruby", "rt", "q", "small", "custom-element")
BLOCK = (
    *("p", "div", "h1", "h2", "h5", "ul", "ol", "li", "dl", "dt", "dd", "table", "tr", "td", "blockquote", "pre"),
    *("section", "aside", "figure", "figcaption", "nav", "svg", "math", "video", "details"),
)
MARKS = ("", " hidden=''", " aria-hidden='true'", " epub:type='footnote'", " class='pagenum'", " id='x'", " href='#n1'")


def element(tag: str, mark: str, children: list[str]) -> str:
    return f"<{tag}{mark}>{''.join(children)}</{tag}>"


def trees() -> st.SearchStrategy[str]:
    leaf = st.one_of(
        TEXT.map(lambda text: text.replace("&", "&amp;")),
        st.sampled_from(
            ["<br/>", "<hr/>", "<!-- no -->", "<script>never</script>", "<a id='y'/>", "&eacute;", "&#8212;"]
        ),
        TEXT.filter(lambda text: "&" not in text).map(lambda text: f"<![CDATA[{text} < &]]>"),
    )
    return st.recursive(
        leaf,
        lambda inner: st.builds(
            element, st.sampled_from((*INLINE, *BLOCK)), st.sampled_from(MARKS), st.lists(inner, max_size=4)
        ),
        max_leaves=25,
    )


def texts_of(xhtml: str) -> str:
    """The texts of a well-formed page's body, by an XML parser alone."""
    root = ElementTree.fromstring(xhtml.replace("&eacute;", "é"))
    namespace = "{http://www.w3.org/1999/xhtml}"
    for script in root.iter(f"{namespace}script"):
        script.text = ""
    body = root.find(f"{namespace}body")
    assert body is not None
    return joined(body.itertext())


@settings(max_examples=150)
@given(st.lists(trees(), min_size=1, max_size=4).map("".join))
@example("<p>a<span hidden=''>b<p>c</p></span>d</p>e")
@example("<table><tr><td>a<table><tr><td>b</td></tr></table>c</td></tr></table>")
def test_all_text_of_a_page_is_spoken_or_skipped(body: str) -> None:
    xhtml = page(body)
    with tempfile.TemporaryDirectory() as folder:
        path = write_epub(Path(folder) / "book.epub", {"a.xhtml": xhtml})
        book, source = read_book(path), read_source(path)
    expected = texts_of(xhtml)
    assert of_document(block for chapter in book.chapters for block in chapter.blocks) == expected
    assert letters_of_run(source) == letters([expected])


class _Texts(HTMLParser):
    """The data of an HTML page, but for scripts, as the standard library sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._skipped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._skipped += tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._skipped -= tag == "script"

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.texts.append(data)


LOOSE = st.sampled_from(
    ["<p>", "<li>", "<ul>", "</ul>", "<b>", "</b>", "</i>", "<br>", "<div>", "</div>", "<dd>", "<h2>"]
)
HEADS = ("", "<html><head><meta charset=utf-8><body>", "<!DOCTYPE html><body class=x>")


@settings(max_examples=100)
@given(st.sampled_from(HEADS), st.lists(st.one_of(TEXT, LOOSE, LOOSE), min_size=1, max_size=30))
def test_all_text_of_a_page_that_is_not_well_formed_is_spoken_or_skipped(head: str, parts: list[str]) -> None:
    html = head + "".join(parts) + "<p>end & </x>"
    parser = _Texts()
    parser.feed(html)
    parser.close()
    with tempfile.TemporaryDirectory() as folder:
        book = read_book(write_epub(Path(folder) / "book.epub", {"a.xhtml": html}))
    blocks = [block for chapter in book.chapters for block in chapter.blocks]
    assert of_document(blocks) == joined(parser.texts)


# Markdown: pieces with their visible text

PLAIN = "alpha beta gamma Delta été über слово 言葉 naïve"
WORD = st.sampled_from(PLAIN.split())
LINE = st.lists(WORD, min_size=1, max_size=5).map(" ".join)
Piece = tuple[str, str]  # source, visible text


def inline() -> st.SearchStrategy[Piece]:
    return st.one_of(
        LINE.map(lambda text: (text, text)),
        LINE.map(lambda text: (f"**{text}**", text)),
        LINE.map(lambda text: (f"`{text}`", text)),
        LINE.map(lambda text: (f"[{text}](https://x.example)", text)),
        LINE.map(lambda text: (f"<span class='x'>{text}</span><br>", text)),
        LINE.map(lambda text: (f"<Type<{text.split()[0]}", f"<Type<{text.split()[0]}")),
        LINE.map(lambda text: (f"x<!-- {text} -->x", "xx")),
    )


def paragraph() -> st.SearchStrategy[Piece]:
    return st.lists(inline(), min_size=1, max_size=4).map(
        lambda pieces: (" ".join(source for source, _ in pieces), " ".join(text for _, text in pieces))
    )


def block() -> st.SearchStrategy[Piece]:
    headings = st.tuples(st.integers(1, 6), LINE).map(lambda each: (f"{'#' * each[0]} {each[1]}", each[1]))
    setext = st.tuples(st.sampled_from("=-"), LINE).map(lambda each: (f"{each[1]}\n{each[0] * 3}", each[1]))
    return st.one_of(
        paragraph(),
        headings,
        setext,
        LINE.map(lambda text: (f"```\n# {text}\n\n{text}\n```", f"# {text} {text}")),
        st.lists(LINE, min_size=1, max_size=3).map(
            lambda lines: ("\n".join(f"- {line}" for line in lines), " ".join(lines))
        ),
        st.lists(LINE, min_size=2, max_size=3).map(
            lambda cells: (
                f"| {' | '.join(cells)} |\n|{'---|' * len(cells)}\n| {cells[0]} |",
                " ".join([*cells, cells[0]]),
            )
        ),
        paragraph().map(lambda piece: (f"> {piece[0]}", piece[1])),
        LINE.map(lambda text: (f"{text}\n: {text}", f"{text} {text}")),
        LINE.map(lambda text: (f"<div hidden>{text}</div>", text)),
        LINE.map(lambda text: (f"<!--\n# {text}\n-->", "")),
        LINE.map(lambda text: (f"<script>\n{text}\n</script>", "")),
        st.just(("***", "")),
    )


@settings(max_examples=150)
@given(st.lists(block(), min_size=1, max_size=10))
def test_all_text_of_a_markdown_document_is_spoken_or_skipped(pieces: list[Piece]) -> None:
    # A comment between two blocks keeps lists and quotes from merging.
    text = "\n\n<!-- -->\n\n".join(source for source, _ in pieces)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notes.md"
        path.write_text(text, encoding="utf-8")
        source = read_source(path)
    in_items = of_document(itertools.chain.from_iterable(item.blocks for item in source.items))
    expected = joined(visible for _, visible in pieces)
    if not source.silent:
        assert in_items == expected
    assert letters_of_run(source) == letters([expected])
