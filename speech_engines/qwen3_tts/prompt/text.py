"""Escapes control tokens in user text: a tokenizer reads `<|im_end|>` anywhere as the token of that name."""

import re
from collections.abc import Iterable


class PlainText:
    """Breaks up control tokens: `<|im_end|>` becomes `< |im_end|>`. Other text is only stripped: a line break at its
    start would merge with the one before it in the prompt, and shift what is split by position."""

    def __init__(self, control_tokens: Iterable[str]) -> None:
        self._pattern = re.compile(
            "|".join(re.escape(token) for token in sorted(control_tokens, key=len, reverse=True))
        )

    def __call__(self, text: str) -> str:
        return self.escape(text.strip())

    def escape(self, text: str) -> str:
        """The same for a part of a text, whose spaces count."""
        return self._pattern.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
