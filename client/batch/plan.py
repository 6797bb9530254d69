"""What has to be synthesised for some items: utterances in order, each with the voice that it is spoken in."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from speech_text.segments import PARAGRAPH_PAUSE_S, SEGMENT_WIDTH, is_spoken, pause_after_s, split_segments, text_width

from .casting import Casting
from .document import Block, Reason, Skipped
from .items import Item
from .marks import PauseMark, VoiceMark, split_marks

# Seconds that a Latin letter takes, roughly: for estimates only.
SECONDS_PER_WIDTH: Final = 0.065
_PARAGRAPH: Final = re.compile(r"\n[^\S\n]*\n")


@dataclass(frozen=True, slots=True)
class SpeechDefaults:
    """How a text is spoken, in the words of the API; None is the server's own choice."""

    model: str | None = None
    voice: str | None = None
    language: str | None = None
    instruct: str | None = None


@dataclass(frozen=True, slots=True)
class Utterance:
    """One request to a model. `pause_s` is the silence behind it, `lead_s` that before it if a mark asks for it."""

    text: str
    manner: SpeechDefaults
    seed: int
    pause_s: float
    lead_s: float = 0.0
    block: int = 0  # of the item

    @property
    def width(self) -> int:
        return text_width(self.text)


@dataclass(frozen=True, slots=True)
class Work:
    """An item, its utterances in order, and what of it is not spoken."""

    item: Item
    utterances: tuple[Utterance, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def title(self) -> str:
        return self.item.title or self.item.name

    @property
    def width(self) -> int:
        return sum(each.width for each in self.utterances)

    @property
    def estimated_s(self) -> float:
        return sum(each.width * SECONDS_PER_WIDTH + each.pause_s + each.lead_s for each in self.utterances)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the command line says for items that say nothing themselves."""

    manner: SpeechDefaults = field(default_factory=SpeechDefaults)
    seed: int = 0


def plan(items: Sequence[Item], defaults: Defaults, casting: Casting) -> list[Work]:
    """The work that items are; one without a letter or a digit has no utterances."""
    return [_Planner(item, number, defaults, casting).work() for number, item in enumerate(items, 1)]


class _Planner:
    """Plans one item."""

    def __init__(self, item: Item, number: int, defaults: Defaults, casting: Casting) -> None:
        given = defaults.manner
        voice = item.voice or casting.chapter_voice(item.title, number) or given.voice
        self._item = item
        self._casting = casting
        self._manner = SpeechDefaults(
            item.model or given.model,
            casting.named(voice) if voice else None,
            item.language or given.language,
            item.instruct or given.instruct,
        )
        self._seed = defaults.seed if item.seed is None else item.seed
        self._marked: str | None = None  # the voice of the last mark
        self._lead_s = 0.0
        self._paused_s: float | None = None  # by marks, since the last utterance
        self._utterances: list[Utterance] = []
        self._skipped: list[Skipped] = []

    def work(self) -> Work:
        for number, block in enumerate(self._item.blocks):
            self._skipped += block.skipped()
            self._read(block, number)
        return Work(self._item, tuple(self._utterances), tuple(self._skipped))

    def _read(self, block: Block, number: int) -> None:
        for part in split_marks(block.speech()):
            if isinstance(part, VoiceMark):
                self._marked = self._casting.named(part.voice) if part.voice else None
            elif isinstance(part, PauseMark):
                self._pause(part.seconds)
            else:
                for text, pause_s, voice in self._segments(part):
                    manner = replace(self._manner, voice=voice or self._marked or self._manner.voice)
                    self._utterances.append(Utterance(text, manner, self._seed, pause_s, self._lead_s, number))
                    self._lead_s, self._paused_s = 0.0, None

    def _pause(self, seconds: float) -> None:
        """Several marks in a row add up."""
        if self._utterances:
            marked_s = seconds if self._paused_s is None else self._paused_s + seconds
            self._utterances[-1] = replace(self._utterances[-1], pause_s=marked_s)
            self._paused_s = marked_s
        else:
            self._lead_s += seconds

    def _segments(self, text: str) -> Iterator[tuple[str, float, str | None]]:
        """Each with the pause behind it and the voice of a quotation. A paragraph ends one, so that its pause is ours,
        and a caption is not of two."""
        for paragraph in _PARAGRAPH.split(text):
            pieces = [
                (segment, voice)
                for piece, voice in self._casting.split_dialogue(paragraph)
                # In a batch the first segment needs no early start, so it may be as long as the others.
                for segment in split_segments(piece, first_width=SEGMENT_WIDTH)
            ]
            spoken = list(self._only_spoken(pieces))
            for number, (segment, voice) in enumerate(spoken, 1):
                pause_s = PARAGRAPH_PAUSE_S if number == len(spoken) else pause_after_s(segment)
                yield segment.strip(), pause_s, voice

    def _only_spoken(self, pieces: Iterable[tuple[str, str | None]]) -> Iterator[tuple[str, str | None]]:
        for segment, voice in pieces:
            if is_spoken(segment):
                yield segment, voice
            elif segment.strip():
                self._skipped.append(Skipped(Reason.SYMBOLS, segment.strip()))
