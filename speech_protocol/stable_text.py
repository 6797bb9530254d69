"""How much of a text that is still being written is final for a tokenizer."""

import re
import unicodedata
from typing import Final

# Tokenizers split at these places, whatever follows: before a space, and after the last letter or digit of a word.
_BOUNDARY: Final = re.compile(r"(?<=\S)(?= )|(?<=[^\W_])(?=[\W_])")


def stable_length(text: str) -> int:
    """The number of leading characters whose tokens are the same whatever text follows; 0 if none are.

    Holds for byte-level BPE with the pieces of Qwen2: a piece never crosses such a boundary. Text without spaces is
    stable up to its last punctuation mark.
    """
    places = [match.start() for match in _BOUNDARY.finditer(text)]
    return next((at for at in reversed(places) if _is_final(text, at)), 0)


def _is_final(text: str, at: int) -> bool:
    # Tokenizers compose and decompose letters first: some become a letter and a mark.
    before, after = (unicodedata.normalize("NFC", char) for char in (text[at - 1], text[at]))
    if after == " ":  # they differ in which control characters are spaces
        splits = unicodedata.category(before[-1])[0] in "LNPSM"
    else:
        splits = before[-1].isalnum() and unicodedata.category(after[0])[0] != "M"
    # A control token such as `<|im_end|>` is escaped as a whole.
    begin = text.rfind("<", 0, at)
    return splits and (begin < 0 or any(map(str.isspace, text[begin:at])))
