"""Published EPUB 2 and 3: what is synthesized, what is skipped and why, and what is rejected in one line."""

import zipfile
from pathlib import Path

import pytest

from client.batch import package
from client.batch.epub import read_book
from client.batch.items import InputError, read_source
from tests.client.books import CONTAINER, page, read, skipped, spoken, write_epub

NCX = "application/x-dtbncx+xml"


# Markup


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<table><tr><th>Name</th><th>Age</th></tr><tr><td>Bob</td><td>3</td></tr></table>", ["Name, Age.", "Bob, 3."]),
        ("<table><tr><td><p>One.</p><p>Two.</p></td></tr></table>", ["One.", "Two."]),
        ("<dl><dt>Term</dt><dd>What it is</dd></dl>", ["Term.", "What it is."]),
        ("<figure><img src='x' alt=''/><figcaption>A cat</figcaption></figure><p>Text</p>", ["A cat.", "Text"]),
        ("<h1>CHAPTER I.<br/>Down</h1><p>a</p>", ["CHAPTER I.\nDown.", "a"]),
        ("<h1><span>CHAPTER</span> <span>I</span></h1>", ["CHAPTER I."]),
        ("<p>One<br/>two</p>", ["One\ntwo"]),
        ("<ol start='4'><li>a</li><li><p>b</p><p>c</p></li></ol>", ["4. a.", "5. b.", "c"]),
        ("<p><img src='t.png' alt='T'/>here was</p>", ["There was"]),
        ("<p>He said <q>no</q>.</p>", ["He said “no”."]),
        ("<pre>A poem\nof lines</pre>", ["A poem\nof lines"]),
        ("<p>Fran&ccedil;ais&nbsp;&amp; AT&#38;T</p>", ["Français & AT&T"]),
        ("<p>A<a id='x'/>B</p><p>C</p>", ["AB", "C"]),
        ("<p><![CDATA[a < b]]> c</p>", ["a < b c"]),
        ("<div>a<div>b</div>c</div>", ["a", "b", "c"]),
    ],
)
def test_words_are_read_as_the_page_shows_them_and_never_glued(tmp_path: Path, body: str, expected: list[str]) -> None:
    assert spoken(read(tmp_path, body)) == [expected]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # Not well-formed XML: HTML's optional end tags, entities, CDATA and self-closing elements.
        ("<ul><li>a<li>b</ul><p>c<p>d", ["a.", "b.", "c", "d"]),
        ("<p><ruby>漢<rt>かん<rp>)</ruby>字<p>next", ["漢字", "next"]),
        ("<p>AT&T <![CDATA[a < b]]> and<p>more", ["AT&T a < b and", "more"]),
        ("<p>a<script src='x'/>b<div/>c</i><p>d", ["ab", "c", "d"]),
        ("<table><tr><td>1<td>2<tr><td>3</table>rest", ["1, 2.", "3.", "rest"]),
        ("<p>a<![x[ b", ["a"]),
    ],
)
def test_pages_that_are_not_well_formed_are_read_by_the_rules_of_html(
    tmp_path: Path, body: str, expected: list[str]
) -> None:
    assert spoken(read(tmp_path, body)) == [expected]


def test_a_head_that_is_not_ended_takes_no_text_with_it(tmp_path: Path) -> None:
    book = write_epub(tmp_path / "b.epub", {"a.xhtml": "<html><head><title>x</title><body><p>Text<p>more"})
    assert spoken(read_book(book)) == [["Text", "more"]]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<p>a<sup>*</sup>.</p>", ("note reference", "*")),
        ("<p>a<sup><a href='n.xhtml#n1'>12</a></sup>.</p>", ("note reference", "12")),
        ("<p>a<a href='#n1' epub:type='noteref'>see</a>.</p>", ("note reference", "see")),
        ("<p>a<a href='#n1' role='doc-noteref'>1</a>.</p>", ("note reference", "1")),
        ("<p>a<a href='#Footnote_1' class='fnanchor'>[1]</a>.</p>", ("note reference", "[1]")),
        ("<p>a.</p><aside epub:type='footnote'><p>Or so.</p></aside>", ("note", "Or so.")),
        ("<p>a.</p><section role='doc-endnotes'><ol><li>x</li><li>y</li></ol></section>", ("note", "x y")),
        ("<p>a<span epub:type='pagebreak' id='p2'>2</span>.</p>", ("page number", "2")),
        ("<p>a<span class='pagenum'>[Pg 2]</span>.</p>", ("page number", "[Pg 2]")),
        ("<p>a<span hidden=''>b</span>.</p>", ("hidden", "b")),
        ("<p>a<span aria-hidden='true'>b</span>.</p>", ("hidden", "b")),
        ("<p>a<span style='display: none'>b</span>.</p>", ("hidden", "b")),
        ("<p>a<ruby><rt>b</rt></ruby>.</p>", ("reading aid (ruby)", "b")),
        ("<p>a.</p><pre><code>x = 1</code></pre>", ("code", "x = 1")),
        ("<p>a<img src='x' alt='A cat'/>.</p>", ("description of a picture", "A cat")),
        ("<p>a<svg xmlns='http://www.w3.org/2000/svg'><text>b</text></svg>.</p>", ("text in a drawing", "b")),
        ("<p>a<math xmlns='http://www.w3.org/1998/Math/MathML'><mi>x</mi></math>.</p>", ("formula", "x")),
        ("<p>a.</p><nav><ol><li><a href='x'>One</a></li></ol></nav>", ("table of contents", "One")),
        ("<p>a.</p><video>no video</video>", ("stands in for audio or video", "no video")),
        ("<p>a\ufffd.</p>", ("damaged characters", "\ufffd")),
    ],
)
def test_what_is_not_read_aloud_is_reported_with_its_reason(
    tmp_path: Path, body: str, expected: tuple[str, str]
) -> None:
    book = read(tmp_path, body)
    assert spoken(book) == [["a."]]
    assert skipped(book) == [expected]


def test_a_raised_number_behind_a_year_is_a_note(tmp_path: Path) -> None:
    book = read(tmp_path, "<p>In 1914<sup>1</sup> it began.</p>")
    assert (spoken(book), skipped(book)) == ([["In 1914 it began."]], [("note reference", "1")])


@pytest.mark.parametrize("body", ["<p>5 m<sup>2</sup></p>", "<p>1<sup>st</sup></p>", "<p>see <a href='#c3'>3</a></p>"])
def test_powers_ordinals_and_links_to_chapters_are_no_notes(tmp_path: Path, body: str) -> None:
    assert skipped(read(tmp_path, body)) == []


# Encodings


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("utf-16", "Grüße"),
        ("utf-8-sig", "Grüße"),
        ("koi8-r", "привет мир"),
        ("iso-8859-15", "10 € und Œuvre"),
        ("windows-1251", "привет"),
        ("big5", "中文"),
        ("shift_jis", "日本語"),
        ("gb2312", "中文"),
        ("euc-kr", "한국어"),
        ("iso-8859-1", "“smart” – yes"),
    ],
)
def test_a_page_is_read_in_the_encoding_that_it_names(tmp_path: Path, encoding: str, words: str) -> None:
    text = page(f"<p>{words}</p>").replace("utf-8", encoding.removesuffix("-sig"))
    data = text.encode("cp1252" if encoding == "iso-8859-1" else encoding)
    assert spoken(read_book(write_epub(tmp_path / "b.epub", {"a.xhtml": data}))) == [[words]]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_detected_by_its_first_character(tmp_path: Path, encoding: str) -> None:
    data = page("<p>Grüße</p>").replace("utf-8", "utf-16").encode(encoding)
    assert spoken(read_book(write_epub(tmp_path / "b.epub", {"a.xhtml": data}))) == [["Grüße"]]


def test_the_encoding_of_html_is_found_where_xml_declares_none(tmp_path: Path) -> None:
    html = "<html><head><meta charset='windows-1252'></head><body><p>Grüße<p>“”"
    undeclared = "<html><body><p>Grüße, Straße".encode("cp1252")
    pages = {"a.xhtml": html.encode("cp1252"), "b.xhtml": undeclared}
    assert spoken(read_book(write_epub(tmp_path / "b.epub", pages))) == [["Grüße", "“”"], ["Grüße, Straße"]]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (page("<p>x</p>").replace("utf-8", "klingon").encode(), "an encoding that is not known, 'klingon'"),
        (page("<p>x</p>").replace("utf-8", "rot13").encode(), "an encoding that is not known, 'rot13'"),
        (page("<p>" + "привет " * 99 + "</p>").encode("koi8-r"), "not in the encoding that it names"),
    ],
)
def test_a_page_in_another_encoding_than_it_says_is_one_clear_line(tmp_path: Path, data: bytes, why: str) -> None:
    book = write_epub(tmp_path / "b.epub", {"a.xhtml": data})
    with pytest.raises(InputError, match=f"a.xhtml can't be read: it .*{why}"):
        read_source(book)


# Package and reading order


def test_chapters_are_named_and_cut_by_the_navigation_document(tmp_path: Path) -> None:
    contents = page(
        "<nav epub:type='toc'><h1>Contents</h1><ol><li><a href='a.xhtml#one'>Chapter One</a></li>"
        "<li><a href='a.xhtml#two'>Chapter <b>Two</b></a><ol><li><a href='b.xhtml'>Sub</a></li></ol></li></ol></nav>"
        "<nav epub:type='landmarks'><ol><li><a href='a.xhtml'>Start</a></li></ol></nav>"
    )
    pages = {
        "cover.xhtml": page("<img src='c.jpg' alt='Cover'/>"),
        "title.xhtml": page("<h1>The Book</h1><p>by A. Nobody</p>"),
        "nav.xhtml": contents,
        "a.xhtml": page("<h2 id='one'>I</h2><p>First.</p><h2 id='two'>II</h2><p>Second.</p>"),
        "more.xhtml": page("<p>Goes on.</p>"),
        "b.xhtml": page("<p>Third.</p>"),
    }
    item = '<item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
    book = read_book(write_epub(tmp_path / "b.epub", pages, items=[item]))
    titles = [chapter.title for chapter in book.chapters if not chapter.is_silent]
    assert titles == ["The Book", "Chapter One", "Chapter Two", "Sub"]
    assert [part for part in spoken(book) if part] == [
        ["The Book.", "by A. Nobody"],
        ["I.", "First."],
        ["II.", "Second.", "Goes on."],
        ["Third."],
    ]
    assert ("description of a picture", "Cover") in skipped(book)
    assert any(reason == "table of contents" for reason, _ in skipped(book))
    assert book.missing == ()


def test_the_ncx_of_an_old_book_names_its_chapters_and_its_guide_the_contents(tmp_path: Path) -> None:
    ncx = (
        '<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap><navPoint id="1" playOrder="1"><navLabel><text>'
        'First</text></navLabel><content src="a.html"/><navPoint id="2"><navLabel><text>Second</text></navLabel>'
        '<content src="a.html#s"/></navPoint></navPoint></navMap></ncx>'
    )
    pages = {
        "toc.html": page("<p><a href='a.html'>First</a></p>"),
        "a.html": page("<p>One.</p><p><a id='s'></a>Two.</p>"),
    }
    items = [f'<item id="ncx" href="toc.ncx" media-type="{NCX}"/>']
    spine = '<spine toc="ncx"><itemref idref="toc.html"/><itemref idref="a.html"/></spine>'
    guide = '<guide><reference type="toc" href="toc.html"/></guide>'
    path = write_epub(tmp_path / "b.epub", pages, items=items, spine=spine, guide=guide, files={"OPS/toc.ncx": ncx})
    book = read_book(path)
    assert [(chapter.title, spoken) for chapter, spoken in zip(book.chapters, spoken(book), strict=True) if spoken] == [
        ("First", ["One."]),
        ("Second", ["Two."]),
    ]
    assert skipped(book) == [("table of contents", "First")]


def test_pages_outside_the_reading_order_are_skipped_and_missing_ones_are_named(tmp_path: Path) -> None:
    pages = {"a.xhtml": page("<p>One.</p>"), "note.xhtml": page("<p>An aside.</p>")}
    spine = (
        '<spine><itemref idref="a.xhtml"/><itemref idref="note.xhtml" linear="no"/><itemref idref="gone"/>'
        '<itemref idref="nowhere"/><itemref idref="pdf"/><itemref idref="dmg"/><itemref idref="picture"/></spine>'
    )
    items = [
        '<item id="nowhere" href="nowhere.xhtml" media-type="application/xhtml+xml"/>',
        '<item id="pdf" href="x.pdf" media-type="application/pdf" fallback="a.xhtml"/>',
        '<item id="dmg" href="x.dmg" media-type="application/octet-stream" fallback="dmg"/>',
        '<item id="picture" href="x.jpg" media-type="image/jpeg"/>',
    ]
    book = read_book(write_epub(tmp_path / "b.epub", pages, items=items, spine=spine))
    assert spoken(book) == [["One."], ["One."]]  # the second time as a stand-in for a PDF
    assert skipped(book) == [("outside the reading order", "An aside.")]
    assert [why for _, why in book.missing] == [
        "the manifest has no such file",
        "the file is missing",
        "a file of the type 'application/octet-stream' is no page",
    ]


def test_a_drawing_in_the_reading_order_is_a_page(tmp_path: Path) -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><title>x</title><text>Once upon</text><text>a time</text></svg>'
    items = ['<item id="s" href="s.svg" media-type="image/svg+xml"/>']
    path = write_epub(
        tmp_path / "b.epub", {}, items=items, spine='<spine><itemref idref="s"/></spine>', files={"OPS/s.svg": svg}
    )
    assert spoken(read_book(path)) == [["x", "Once upon", "a time"]]


def test_a_book_says_its_title_author_language_and_cover(tmp_path: Path) -> None:
    metadata = (
        "<dc:title>On tea</dc:title><dc:title>A subtitle</dc:title><dc:creator>A. One</dc:creator>"
        "<dc:creator>B. Two</dc:creator><dc:language>en-GB</dc:language><meta name='cover' content='c'/>"
    )
    items = ['<item id="c" href="c.png" media-type="image/png"/>']
    path = write_epub(
        tmp_path / "b.epub", {"a.xhtml": page("a")}, items=items, metadata=metadata, files={"OPS/c.png": b"png"}
    )
    source = read_source(path)
    assert (source.title, source.author, source.language) == ("On tea", "A. One, B. Two", "en-GB")
    assert source.cover == (b"png", "image/png")


# Protection, damage, limits


def encryption(algorithm: str, uri: str) -> str:
    return (
        '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" '
        'xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData>'
        f'<enc:EncryptionMethod Algorithm="{algorithm}"/><enc:CipherData><enc:CipherReference URI="{uri}"/>'
        "</enc:CipherData></enc:EncryptedData></encryption>"
    )


@pytest.mark.parametrize("uri", ["OPS/a.xhtml", "OPS/%61.xhtml", "/OPS/a.xhtml"])
def test_a_protected_book_is_one_clear_error(tmp_path: Path, uri: str) -> None:
    files = {"META-INF/encryption.xml": encryption("http://www.w3.org/2001/04/xmlenc#aes128-cbc", uri)}
    book = write_epub(tmp_path / "b.epub", {"a.xhtml": b"\x8f\x00\xd1cipher"}, files=files)
    with pytest.raises(InputError, match="DRM"):
        read_source(book)


@pytest.mark.parametrize("algorithm", ["http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"])
def test_obfuscated_fonts_are_no_protection(tmp_path: Path, algorithm: str) -> None:
    files = {"META-INF/encryption.xml": encryption(algorithm, "OPS/font.otf")}
    book = write_epub(tmp_path / "b.epub", {"a.xhtml": page("<p>Text</p>")}, files=files)
    assert spoken(read_book(book)) == [["Text"]]


@pytest.mark.parametrize("entity", ['<!DOCTYPE x [<!ENTITY a "aaaa">]>', '<!DOCTYPE x SYSTEM "file:///etc/passwd">'])
def test_an_epub_with_entities_of_its_own_is_refused(tmp_path: Path, entity: str) -> None:
    container = f'{entity}<container xmlns="urn:c"><a>&a;</a></container>'
    with pytest.raises(InputError, match="can't be read"):
        read_source(write_epub(tmp_path / "b.epub", {}, container=container))


def damaged(path: Path) -> Path:
    """A byte flipped in a compressed page."""
    book = write_epub(path / "b.epub", {"a.xhtml": page("<p>" + "Text. " * 999 + "</p>")})
    with zipfile.ZipFile(book) as file:
        info = file.getinfo("OPS/a.xhtml")
    data = bytearray(book.read_bytes())
    data[info.header_offset + 30 + len(info.filename) + 20] ^= 0xFF
    book.write_bytes(data)
    return book


@pytest.mark.parametrize(
    ("container", "why"),
    [
        ("<container", "container.xml is damaged"),
        ("<container/>", "names no package"),
        (CONTAINER.replace("book.opf", "gone.opf"), "gone.opf is not in it"),
        ('<?xml version="1.0" encoding="x-klingon"?><container/>', "an encoding that is not known"),
    ],
)
def test_a_broken_package_is_one_clear_line(tmp_path: Path, container: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read_source(write_epub(tmp_path / "b.epub", {}, container=container))


def test_a_package_in_another_encoding_is_read(tmp_path: Path) -> None:
    package_ = (
        '<?xml version="1.0" encoding="Shift_JIS"?><package xmlns="http://www.idpf.org/2007/opf"><metadata '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>日本</dc:title></metadata><manifest>'
        '<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/></spine></package>'
    )
    container = CONTAINER.replace("book.opf", "sjis.opf")
    files = {"OPS/sjis.opf": package_.encode("shift_jis")}
    path = write_epub(tmp_path / "b.epub", {"a.xhtml": page("<p>Text</p>")}, files=files, container=container)
    assert read_source(path).title == "日本"


def test_a_damaged_page_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"b.epub can't be read: OPS/a.xhtml is damaged\."):
        read_source(damaged(tmp_path))


def test_what_is_read_of_a_book_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = write_epub(tmp_path / "b.epub", {f"{n}.xhtml": page("<p>" + "x" * 50_000 + "</p>") for n in range(3)})
    monkeypatch.setattr(package, "_MAX_TOTAL_BYTES", 100_000)
    with pytest.raises(InputError, match="its pages are larger than"):
        read_source(book)
    monkeypatch.setattr(package, "_MAX_FILE_BYTES", 10_000)
    with pytest.raises(InputError, match="is larger than"):
        read_source(book)


def test_elements_nested_without_end_are_refused_and_deep_ones_are_read(tmp_path: Path) -> None:
    deep = "<div>" * 1_000 + "Text" + "</div>" * 1_000
    assert spoken(read(tmp_path, deep)) == [["Text"]]
    with pytest.raises(InputError, match="nested more than"):
        read_source(write_epub(tmp_path / "x.epub", {"a.xhtml": "<div>" * 100_000 + "Text"}))
