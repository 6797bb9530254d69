"""Markdown as plain text for speech: words without marks. Emoji are removed, a URL is replaced by its host name."""

from collections.abc import Iterator
from typing import Final

import regex
from markdown_it import MarkdownIt
from markdown_it.token import Token

from speech_text.emphasis import CjkInlineParser


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark")
    parser.inline = CjkInlineParser()
    # Without indented code: in prose, four spaces are the start of a paragraph.
    return parser.configure("commonmark").enable(["table", "strikethrough"]).disable("code")


_PARSER: Final = _parser()
# In Chinese and Japanese, punctuation may follow a URL directly.
ADDRESS: Final = regex.compile(
    r"(?:https?://(?:www\.)?|www\.)(?P<host>\w[\w.-]*\w)"
    r"(?:[:/?#](?:[^\s<>\"'，。！？、；：）」』]*[^\s<>\"'，。！？、；：）」』.,;:!?)\]}])?)?",
    regex.IGNORECASE,
)
_TAG: Final = regex.compile(r"<[^<>]*>")
# Characters that are pictures in Unicode but words or punctuation to a reader are kept.
EMOJI: Final = regex.compile(
    r"[\p{Extended_Pictographic}--[©®™‼⁉]][\p{Emoji_Modifier}\u200d\ufe0f\U000e0020-\U000e007f]*"
    r"|\p{Regional_Indicator}+|[\ufe0f\u20e3]",
    regex.VERSION1,
)
_SPACES: Final = regex.compile(r"[^\S\n]+")
_CJK_END: Final = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]$")
_WORD_END: Final = regex.compile(r"[\p{L}\p{N}]$")
# Elements on their own line, often without an end mark, which need one for the pause.
_LINES: Final = ("heading", "list_item")


def plain_text(markdown: str) -> str:
    """The text of a Markdown document, a blank line between its blocks. Code blocks, rules and tags are removed."""
    blocks: list[str] = []
    cells: list[str] | None = None
    number, is_line = "", False
    for token in _PARSER.parse(markdown):
        kind, _, part = token.type.rpartition("_")
        if kind in _LINES:
            is_line = part == "open"
            number = f"{token.info}. " if is_line and token.info else ""
        elif token.type == "tr_open":
            cells = []
        elif token.type == "tr_close":
            blocks.append(closed(", ".join(cells or [])))
            cells = None
        elif token.type == "html_block":
            blocks.append(_tidy(_TAG.sub(" ", token.content)))
        elif token.type == "inline" and (text := _tidy("".join(_words(token.children or [])))):
            if cells is not None:
                cells.append(text)
            else:
                blocks.append(number + (closed(text) if is_line else text))
                number = ""
    return "\n\n".join(block for block in blocks if block)


def _words(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type in {"text", "code_inline"}:
            yield token.content
        elif token.type == "image":
            yield from _words(token.children or [])
        elif token.type in {"softbreak", "hardbreak"}:
            yield "\n"


def _tidy(text: str) -> str:
    return str(_SPACES.sub(" ", EMOJI.sub("", ADDRESS.sub(r"\g<host>", text)))).strip()


def closed(text: str) -> str:
    """The line with an end mark."""
    if _CJK_END.search(text):
        return text + "。"
    return text + "." if _WORD_END.search(text) else text
