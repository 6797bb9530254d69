"""A prompt as token ids."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """The streams of a prompt (see `prompt`), before any computation."""

    text: tuple[int, ...]  # [T] the text stream
    trailing: tuple[int, ...]
    codec_at: int  # the codec stream begins beside this position of `text`, and ends with it
    codec: tuple[int, ...]  # except for the frames of a reference
    voice_at: int  # in `codec`
    text_tokens: int
    # For text that is still being written: the part that more text may change. None: the text is complete.
    rest: str | None = None
