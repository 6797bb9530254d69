"""A prompt as ids."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """The streams of a prompt (see `prompt`), before anything is computed."""

    text: tuple[int, ...]  # [T] the text stream
    trailing: tuple[int, ...]
    codec_at: int  # the codec stream begins beside this one of `text`, and ends with it
    codec: tuple[int, ...]  # but for the frames of a reference
    voice_at: int  # in `codec`
    text_tokens: int
