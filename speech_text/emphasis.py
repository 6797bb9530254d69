"""CommonMark's emphasis for Chinese, Japanese and Korean, which put no space around an emphasised word.

In CommonMark, `**` after punctuation closes emphasis only if a space or punctuation follows it, so `**重要：**内容`
keeps its marks. Here a CJK character on either side counts like punctuation.
"""

from functools import lru_cache
from typing import Final

import regex
from markdown_it import MarkdownIt
from markdown_it.common.utils import isMdAsciiPunct, isPunctChar, isWhiteSpace
from markdown_it.parser_inline import ParserInline
from markdown_it.rules_inline.state_inline import Scanned, StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType

_CJK: Final = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Bopomofo}\u3000-\u303f\uff01-\uff60]")

# The class of a character for an adjacent delimiter run; 0 for a letter of another script, or a digit.
_SPACE, _PUNCTUATION, _BESIDE_CJK = 1, 2, 4


class CjkInlineParser(ParserInline):
    """markdown-it's inline parser with delimiter runs scanned as above; assign it to `MarkdownIt.inline`."""

    def parse(self, src: str, md: MarkdownIt, env: EnvType, tokens: list[Token]) -> list[Token]:
        state = _State(src, md, env, tokens)
        self.tokenize(state)
        for rule in self.ruler2.getRules(""):
            rule(state)
        return state.tokens


class _State(StateInline):
    def scanDelims(self, start: int, canSplitWord: bool) -> Scanned:  # noqa: N802, N803 - markdown-it's names
        source, marker, end = self.src, self.src[start], start + 1
        while end < self.posMax and source[end] == marker:
            end += 1
        before = _kind(source[start - 1]) if start else _SPACE
        after = _kind(source[end]) if end < self.posMax else _SPACE
        beside_cjk = before & _BESIDE_CJK or after & _BESIDE_CJK
        opens = not after & _SPACE and bool(beside_cjk or before or not after)
        closes = not before & _SPACE and bool(beside_cjk or after or not before)
        if canSplitWord:
            return Scanned(opens, closes, end - start)
        # `_` is also part of words.
        in_word = opens and closes
        return Scanned(
            opens and (not in_word or bool(before & _PUNCTUATION)),
            closes and (not in_word or bool(after & _PUNCTUATION)),
            end - start,
        )


@lru_cache(4096)
def _kind(character: str) -> int:
    if isWhiteSpace(ord(character)):
        return _SPACE
    is_punctuation = isMdAsciiPunct(ord(character)) or isPunctChar(character)
    return _PUNCTUATION * is_punctuation | _BESIDE_CJK * bool(_CJK.match(character))
