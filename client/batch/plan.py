"""What has to be synthesised for some items: utterances, each with a key that says all about its audio."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from client.batch.items import Item
from speech_protocol.request import SpeechRequest
from speech_text.segments import PARAGRAPH_PAUSE_S, SEGMENT_WIDTH, is_spoken, pause_after_s, split_segments, text_width

# Seconds that a Latin letter takes, roughly: for estimates only.
SECONDS_PER_WIDTH: Final = 0.065
_PARAGRAPH: Final = re.compile(r"\n[^\S\n]*\n")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One request to the model. `key` is a hash of all that makes its audio: who has the key has the audio."""

    key: str
    text: str
    request: SpeechRequest
    pause_s: float  # behind it, but for the last of its item

    @property
    def width(self) -> int:
        return text_width(self.text)


@dataclass(frozen=True, slots=True)
class Work:
    """An item and its utterances in order."""

    item: Item
    utterances: tuple[Utterance, ...]

    @property
    def estimated_s(self) -> float:
        return sum(each.width * SECONDS_PER_WIDTH + each.pause_s for each in self.utterances)


@dataclass(frozen=True, slots=True)
class Manner:
    """How items are spoken that do not say so themselves."""

    model: str
    voice: str | None = None
    language: str = "auto"
    instruct: str | None = None
    seed: int = 0


def plan(items: Iterable[Item], manner: Manner) -> list[Work]:
    """The work that items are; one without a letter or a digit has no utterances."""
    return [Work(item, tuple(_utterances(item, manner))) for item in items]


def _utterances(item: Item, manner: Manner) -> Iterable[Utterance]:
    for segment, pause_s in _segments(item.text):
        text = segment.strip()
        how = {
            "model": manner.model,
            "text": text,
            "speaker": item.voice or manner.voice,
            "language": item.language or manner.language,
            "instruct": item.instruct or manner.instruct,
            "seed": manner.seed if item.seed is None else item.seed,
        }
        digest = hashlib.sha256(json.dumps(how, sort_keys=True).encode()).digest()
        request = SpeechRequest(
            text,
            language=str(how["language"]),
            speaker=item.voice or manner.voice,
            instruct=item.instruct or manner.instruct,
            # A seed of its own for each, the same in every run.
            seed=int.from_bytes(digest[:7]),
        )
        yield Utterance(digest.hex()[:32], text, request, pause_s)


def _segments(text: str) -> Iterable[tuple[str, float]]:
    """Each with the pause behind it. A paragraph ends one, so that its pause is ours, and a caption is not of two."""
    for paragraph in _PARAGRAPH.split(text):
        # Nobody waits for the first one here, so it may be as long as the others.
        segments = [each for each in split_segments(paragraph, first_width=SEGMENT_WIDTH) if is_spoken(each)]
        for number, segment in enumerate(segments, 1):
            yield segment, PARAGRAPH_PAUSE_S if number == len(segments) else pause_after_s(segment)
