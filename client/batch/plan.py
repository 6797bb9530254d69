"""The plan of a run: the utterances of its items in order, each with its voice."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from speech_text.segments import PARAGRAPH_PAUSE_S, SEGMENT_WIDTH, is_spoken, pause_after_s, split_segments, text_width

from .casting import Casting
from .document import Block, Reason, Skipped
from .items import Item
from .marks import PauseMark, VoiceMark, split_marks

# Approximate seconds for a Latin letter, for estimates only.
SECONDS_PER_WIDTH: Final = 0.065
_PARAGRAPH: Final = re.compile(r"\n[^\S\n]*\n")


@dataclass(frozen=True, slots=True)
class SpeechDefaults:
    """The options of a text, in the API's terms; None is the server's default."""

    model: str | None = None
    voice: str | None = None
    language: str | None = None
    instruct: str | None = None


@dataclass(frozen=True, slots=True)
class Utterance:
    """One request to a model. `pause_s`: the silence after it; `lead_s`: the silence before it if a mark requests
    it."""

    text: str
    manner: SpeechDefaults
    seed: int
    pause_s: float
    lead_s: float = 0.0
    block: int = 0  # of the item

    @property
    def width(self) -> int:
        """The speaking length of the text, in Latin letters."""
        return text_width(self.text)


@dataclass(frozen=True, slots=True)
class Work:
    """An item, its utterances in order, and its skipped text."""

    item: Item
    utterances: tuple[Utterance, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def title(self) -> str:
        """The title of the item, else its name."""
        return self.item.title or self.item.name

    @property
    def width(self) -> int:
        """The speaking length of all utterances, in Latin letters."""
        return sum(each.width for each in self.utterances)

    @property
    def estimated_s(self) -> float:
        """The estimated length of the audio, in seconds."""
        return sum(each.width * SECONDS_PER_WIDTH + each.pause_s + each.lead_s for each in self.utterances)


@dataclass(frozen=True, slots=True)
class Defaults:
    """The command line's values for items without their own."""

    manner: SpeechDefaults = field(default_factory=SpeechDefaults)
    seed: int = 0


def plan(items: Sequence[Item], defaults: Defaults, casting: Casting) -> list[Work]:
    """The work for each item; one without a letter or a digit has no utterances."""
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
        self._paused_s: float | None = None  # from marks, since the last utterance
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
        """Consecutive marks are added."""
        if self._utterances:
            marked_s = seconds if self._paused_s is None else self._paused_s + seconds
            self._utterances[-1] = replace(self._utterances[-1], pause_s=marked_s)
            self._paused_s = marked_s
        else:
            self._lead_s += seconds

    def _segments(self, text: str) -> Iterator[tuple[str, float, str | None]]:
        """Segments, each with the pause after it and the voice of a quotation. A paragraph ends a segment, so that the
        pause is ours, and a caption does not span two."""
        for paragraph in _PARAGRAPH.split(text):
            pieces = [
                (segment, voice)
                for piece, voice in self._casting.split_dialogue(paragraph)
                # In a batch the first segment need not start early, so it may be as long as the others.
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
