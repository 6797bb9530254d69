"""Markdown as plain text for speech."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_text.markdown import plain_text


@pytest.mark.parametrize(
    ("markdown", "spoken"),
    [
        ("# The *big* title\nText follows.", "The big title.\n\nText follows."),
        ("## 標題", "標題。"),
        ("Title?\n===", "Title?"),
        ("Some **bold**, _italic_, ~~old~~ and `code` words.", "Some bold, italic, old and code words."),
        ("- one\n- two!\n  - three\n", "one.\n\ntwo!\n\nthree."),
        ("1. first\n2. second", "1. first.\n\n2. second."),
        ("See [the manual](https://example.com/a?b=c) now.", "See the manual now."),
        ("![a cat](cat.png) sleeps", "a cat sleeps"),
        ("Look:\n\n```python\nprint(1)\n```\n\nDone.", "Look:\n\nDone."),
        ("| name | age |\n|---|---|\n| Ann | 7 |\n| Bob | |", "name, age.\n\nAnn, 7.\n\nBob."),
        ("> quoted\n> text", "quoted\ntext"),
        ("before\n\n---\n\nafter", "before\n\nafter"),
        ("a <b>bold</b> word<br>", "a bold word"),
        ("<div>inside</div>", "inside"),
        ("    An indented paragraph.", "An indented paragraph."),
        ("Fish &amp; chips \\*really\\*", "Fish & chips *really*"),
    ],
)
def test_marks_go_and_words_stay(markdown: str, spoken: str) -> None:
    assert plain_text(markdown) == spoken


@pytest.mark.parametrize(
    ("markdown", "spoken"),
    [
        ("**重要：**内容", "重要：内容"),
        ("**강조(x)**는 말", "강조(x)는 말"),
        ("これは**「重要」**です。", "これは「重要」です。"),
        ("他说**“好。”**然后走", "他说“好。”然后走"),
        ("*(強調)*の~~削除。~~次", "(強調)の削除。次"),
        ("***重要！***だ", "重要！だ"),
        ("snake_case_名前_です 2 * 3 * 4 と", "snake_case_名前_です 2 * 3 * 4 と"),
        ("`**重要**`は", "**重要**は"),
    ],
)
def test_emphasis_needs_no_space_around_it_in_chinese_japanese_and_korean(markdown: str, spoken: str) -> None:
    assert plain_text(markdown) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Read https://www.example.com/path?x=1#y, please.", "Read example.com, please."),
        ("(see http://docs.example.org/).", "(see docs.example.org)."),
        ("看https://example.com/a，谢谢", "看example.com，谢谢"),
        ("At <https://example.com/x> and www.example.net.", "At example.com and example.net."),
        ("https://[broken and http:// alone", "https://[broken and http:// alone"),
        ("Mail me@example.com", "Mail me@example.com"),
    ],
)
def test_an_address_is_named_by_its_host(text: str, spoken: str) -> None:
    assert plain_text(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Great 👍🏽 work 🎉!", "Great work !"),
        ("Family 👨‍👩‍👧‍👦 from 🇩🇪 with ❤️", "Family from with"),
        ("Press 1️⃣ or #", "Press 1 or #"),
        ("© 2026 Acme™ 5 ‼", "© 2026 Acme™ 5 ‼"),
    ],
)
def test_emoji_go_and_signs_stay(text: str, spoken: str) -> None:
    assert plain_text(text) == spoken


@pytest.mark.parametrize(
    "text",
    [
        "He paid 2 * 3 = 6 dollars for snake_case_name.",
        "Dr. Smith said: “It’s 5 p.m.” — and left…",
        "First line.\nSecond line.\n\nNew paragraph. [pause:0.5s] And [pause] [1].",
        "今天天气很好。「はい」と言った。",
    ],
)
def test_a_text_without_marks_is_not_changed(text: str) -> None:
    assert plain_text(text) == text


@given(st.one_of(st.text(max_size=500), st.text("#*_-`~[]()<>|!&;\\ \n1.a你🙂:/htpw", max_size=500)))
@settings(max_examples=300, deadline=None)
def test_any_text_can_be_cleaned(text: str) -> None:
    assert "\N{PARTY POPPER}" not in plain_text(text)
