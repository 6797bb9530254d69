"""A request's text made ready: what Markdown leaves, segments and pauses, and the language.

A long text takes a large part of a second of Python, during which a thread would hold up the event loop again and
again. So it is done in a process, and the keys take turns there.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio.to_process

from openai_frontend.pools import WorkerPool
from openai_frontend.text.language import detect_language, detect_script
from openai_frontend.text.script import Script, write_script
from openai_frontend.turns import Turns
from speech_protocol.languages import AUTO
from speech_text.markdown import plain_text

# A text of this length takes a few milliseconds at most.
_SHORT_CHARS: Final = 2_000
_PROCESSES: Final = 2


@dataclass(frozen=True, slots=True)
class Rules:
    """How texts are read. `whole`: as it stands, in one utterance; `guesses_language`: by words, not only by script."""

    whole: bool
    reads_markdown: bool
    guesses_language: bool


class TextPreparation:
    """Prepares texts: short ones in a thread of `pool`, long ones in processes of its own."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._turns = Turns(_PROCESSES, 0)

    async def prepare(self, text: str, language: str, rules: Rules, owner: Hashable) -> tuple[Script, str]:
        """The script of a text and its language, which is a guess where `language` is `auto`. Raises ApiError 400 where
        there is nothing to speak."""
        if len(text) <= _SHORT_CHARS:
            return await self._pool.run(prepare, text, language, rules)
        async with self._turns.take(owner):
            return await anyio.to_process.run_sync(partial(prepare, text, language, rules), cancellable=True)


def prepare(text: str, language: str, rules: Rules) -> tuple[Script, str]:
    """The work itself, in whatever thread or process it is called."""
    if rules.whole:
        script: Script = (text,)
    else:
        script = write_script(plain_text(text) if rules.reads_markdown else text)
    if language != AUTO:
        return script, language
    spoken = "\n".join(part for part in script if isinstance(part, str))
    return script, (detect_language if rules.guesses_language else detect_script)(spoken)
