"""Casting: a rule file assigns voices to chapters, to quoted speech, and to the names in `[voice:NAME]` marks."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .rulefile import only, read_toml, table, text, texts

_QUOTES: Final = ("“”", "„“", "«»", "»«", "「」", "『』", '""')
# A quotation is speech if it ends like speech, or is longer than a word or two: titles and nicknames are not.
_SPEECH_END: Final = re.compile(r"[.,!?…;:—–。！？、，][\"'’”»」』]*\Z|[-—–]\Z")
_SPEECH_WORDS: Final = 4
_COMMA_BEHIND: Final = ("„,", "«,", "»,")


@dataclass(frozen=True, slots=True)
class Casting:
    """The rules of one file. `people`: the voice of a quotation if its paragraph contains the name."""

    chapters: Mapping[str, str] = field(default_factory=dict)
    voices: Mapping[str, str] = field(default_factory=dict)
    dialogue: str | None = None
    people: Mapping[str, str] = field(default_factory=dict)
    quotes: tuple[str, ...] = _QUOTES

    @classmethod
    def read(cls, path: Path) -> "Casting":
        """Raises InputError."""
        rules = read_toml(path)
        only(path, rules, ("chapters", "voices", "dialogue"))
        dialogue = table(path, "dialogue", rules.get("dialogue", {}))
        only(path, dialogue, ("voice", "people", "quotes"), "[dialogue]")
        quotes = text(path, "dialogue.quotes", dialogue["quotes"]).split() if "quotes" in dialogue else _QUOTES
        return cls(
            {key.casefold(): voice for key, voice in texts(path, "chapters", rules.get("chapters", {})).items()},
            {key.casefold(): voice for key, voice in texts(path, "voices", rules.get("voices", {})).items()},
            text(path, "dialogue.voice", dialogue["voice"]) if "voice" in dialogue else None,
            texts(path, "dialogue.people", dialogue.get("people", {})),
            tuple(pair for pair in quotes if len(pair) == 2),
        )

    def chapter_voice(self, title: str, number: int) -> str | None:
        """The voice of a chapter, by its title or by its number, counted from 1."""
        return self.chapters.get(title.casefold()) or self.chapters.get(str(number))

    def named(self, voice: str) -> str:
        """The voice of a mark."""
        return self.voices.get(voice.casefold(), voice)

    def split_dialogue(self, paragraph: str) -> Iterator[tuple[str, str | None]]:
        """The pieces of a paragraph, each with the voice of its quotation; None for narration. Concatenated, they are
        the paragraph."""
        if self.dialogue is None and not self.people:
            yield paragraph, None
            return
        pieces = list(self._quoted(paragraph))
        told = " ".join(piece for piece, is_quoted in pieces if not is_quoted)
        voice = next(
            (voice for name, voice in self.people.items() if re.search(rf"\b{re.escape(name)}\b", told)), self.dialogue
        )
        for piece, is_quoted in pieces:
            yield piece, voice if is_quoted else None

    def _quoted(self, paragraph: str) -> Iterator[tuple[str, bool]]:
        begin = position = 0
        while position < len(paragraph):
            pair = next((pair for pair in self.quotes if paragraph[position] == pair[0]), None)
            if pair is None:
                position += 1
                continue
            end = paragraph.find(pair[1], position + 1)
            # A quotation that continues in the next paragraph has no closing quote in this one.
            end = len(paragraph) if end < 0 else end + 1
            if _is_speech(paragraph[position + 1 : end].rstrip(pair[1]), pair[0] + paragraph[end : end + 1]):
                if position > begin:
                    yield paragraph[begin:position], False
                yield paragraph[position:end], True
                begin = end
            position = end
        if begin < len(paragraph):
            yield paragraph[begin:], False


def _is_speech(quoted: str, around: str) -> bool:
    """`around`: the opening quote and the text after the closing one; outside English, this includes the comma after
    speech."""
    if around in _COMMA_BEHIND:
        return True
    return bool(_SPEECH_END.search(quoted.rstrip())) or len(quoted.split()) >= _SPEECH_WORDS
