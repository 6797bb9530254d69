"""Text preparation: Markdown, segments, pauses and the language.

A long text takes a considerable part of a second in Python, during which a thread would repeatedly block the event
loop. So it is prepared in a process; requests queue for it round-robin by API key.
"""

import logging
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio
import anyio.to_process

from openai_frontend.errors import ApiError
from openai_frontend.synthesis.fair_queue import FairQueue
from openai_frontend.synthesis.language import detect_language
from openai_frontend.synthesis.script import Script, write_script
from openai_frontend.thread_pools import WorkerPool
from speech_protocol.languages import AUTO
from speech_text.characters import latin_only, normalized
from speech_text.markdown import plain_text
from speech_text.segments import is_spoken

logger = logging.getLogger(__name__)

# A text of this length takes a few milliseconds at most.
_SHORT_CHARS: Final = 2_000
_PROCESSES: Final = 2
_LEFT_OUT: Final = "letters of other scripts were skipped: the model reads English only"


@dataclass(frozen=True, slots=True)
class Rules:
    """How texts are prepared. `whole`: in one utterance, pause marks unchanged; `guesses_language`: detect an
    unspecified language; `reads_latin_only`: skip letters of other scripts."""

    whole: bool
    reads_markdown: bool
    guesses_language: bool
    reads_latin_only: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared text, and a warning for the client, if any."""

    script: Script
    language: str
    warnings: tuple[str, ...] = ()


class TextPreparation:
    """Prepares texts: short ones in a thread of `pool`, long ones in separate processes."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._fair_queue = FairQueue(_PROCESSES, 0)

    async def prepare(self, text: str, language: str, rules: Rules, owner: Hashable) -> Prepared:
        """The script of a text and its language. Raises ApiError 400 if there is nothing to speak."""
        if len(text) <= _SHORT_CHARS:
            return await self._pool.run(prepare, text, language, rules)
        async with self._fair_queue.take(owner):
            try:
                return await anyio.to_process.run_sync(partial(prepare, text, language, rules), cancellable=True)
            except (anyio.BrokenWorkerProcess, OSError) as error:
                logger.error("no process for a long text: %s: %s", type(error).__name__, error)
                message = "The server cannot prepare a long text now. Retry later, or send it in parts."
                raise ApiError(503, "server_overloaded", message, headers={"Retry-After": "2"}) from error


def prepare(text: str, language: str, rules: Rules) -> Prepared:
    """The preparation itself, in the calling thread or process."""
    text, left_out = normalized(text), False
    if rules.reads_latin_only:
        text, left_out = latin_only(text)
    script = _script(text, rules, left_out)
    if language == AUTO and rules.guesses_language:
        language = detect_language("\n".join(part for part in script if isinstance(part, str)))
    return Prepared(script, language, (_LEFT_OUT,) * left_out)


def _script(text: str, rules: Rules, left_out: bool) -> Script:
    if rules.whole:
        return (text,)
    try:
        script = write_script(plain_text(text) if rules.reads_markdown else text)
    except ApiError as error:
        if error.code != "empty_input" or not left_out:
            raise
        script = ()
    if left_out and not any(is_spoken(part) for part in script if isinstance(part, str)):
        message = "The input has no Latin letter, and this model reads English only. Use a Qwen3-TTS model for it."
        raise ApiError(400, "unspeakable_text", message, param="input")
    return script
