"""Word times of an utterance: the words of its text, at the times of the words that the model spoke."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import accumulate

from speech_protocol.events import Word
from speech_text.characters import normalized

# The tags of SequenceMatcher for words that only the text has, and words that only the model has.
_UNSPOKEN, _ADDED, _SAME = "delete", "insert", "equal"


@dataclass(frozen=True, slots=True)
class TimedText:
    """A text, and its begin and end in a recording, in seconds."""

    text: str
    begin_s: float
    end_s: float


def match_words(text: str, spoken: Sequence[Word]) -> list[Word]:
    """The words of a text with the times of the spoken ones, which may differ: a model reads `3 May` as `the third of
    May`, and a dictionary respells terms.

    A word that is read as several has their whole time, and words that are read as one have the same time. Punctuation
    belongs to the word before it. An unspoken word begins and ends where the word before it ends.
    """
    written, heard = _merged([Word(each, 0, 0) for each in text.split()]), _merged(spoken)
    keys = [_key(each.text) for each in written], [_key(each.text) for each in heard]
    found: list[Word] = []
    for tag, begin, end, heard_begin, heard_end in SequenceMatcher(None, *keys, autojunk=False).get_opcodes():
        block, times = written[begin:end], heard[heard_begin:heard_end]
        if tag == _SAME:
            found += (replace(at, text=each.text) for each, at in zip(block, times, strict=True))
        elif tag == _UNSPOKEN:
            sample = found[-1].end if found else heard[0].start if heard else 0
            found += (Word(each.text, sample, sample) for each in block)
        elif tag == _ADDED:
            found[-1:] = [replace(each, end=times[-1].end) for each in found[-1:]]
        else:
            found += _shared(block, times)
    return found


def _merged(words: Sequence[Word]) -> list[Word]:
    """The words, with those that are punctuation only appended to the word before; at the start, to the word after."""
    found: list[Word] = []
    for word in words:
        if found and not (_key(word.text) and _key(found[-1].text)):
            found[-1] = Word(f"{found[-1].text} {word.text}", found[-1].start, word.end)
        else:
            found.append(word)
    return found


def _key(word: str) -> str:
    """The letters and digits of a word, without regard to capitals."""
    return "".join(filter(str.isalnum, normalized(word).casefold()))


def _shared(written: Sequence[Word], heard: Sequence[Word]) -> list[Word]:
    """Words that the model reads differently: each begins with the spoken word at its share of the characters."""
    shares = _shares(heard)
    begins = [min(range(len(heard)), key=lambda number: abs(shares[number] - share)) for share in _shares(written)]
    ends = [*begins[1:], len(heard)]
    return [
        Word(word.text, heard[begin].start, heard[max(begin, end - 1)].end)
        for word, begin, end in zip(written, begins, ends, strict=True)
    ]


def _shares(words: Sequence[Word]) -> list[float]:
    """The share of the characters before each word, 0 to 1."""
    ends = list(accumulate((len(each.text) for each in words), initial=0))
    return [end / ends[-1] for end in ends[:-1]]
