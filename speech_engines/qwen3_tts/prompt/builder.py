"""Text and voice to the talker's prefill.

The prompt is two streams that are added position by position: text ids on one side, codes on the other.

    text   instruct, role | pad ... pad  bos             | spoken text          pad ...         | later: one a frame
    codec  -              | language     speaker  pad    | pad (whole text)     bos, reference  |

The spoken text is the transcript of the reference, if any, then the text, then `tts_eos`. With the whole text in the
prefill it lies over `pad` codes, ahead of `bos` and the reference frames. Otherwise it lies over `bos` and the
reference frames, and what is longer than those trails behind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from speech_engines.qwen3_tts.checkpoint.rules import DEFAULT_SPEAKER
from speech_engines.qwen3_tts.prompt.tokenizer import TextTokenizer
from speech_engines.qwen3_tts.prompt.tokens import PromptTokens
from speech_engines.qwen3_tts.prompt.voice_prompts import VoicePrompt, frames_of_reference, transcript_of
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.languages import AUTO, LANGUAGES
from speech_protocol.models import Task
from speech_protocol.request import SpeechRequest


@dataclass(frozen=True, slots=True)
class Prefill:
    """The inputs with which a talker starts an utterance."""

    embeds: Tensor  # [T, H]
    # [N, H], added to the inputs of frames 0 to N - 1; after them it is `PromptBuilder.tts_pad`.
    trailing: Tensor


class PromptBuilder:
    """`weights` are the checkpoint's, by upstream's names; everything is computed on their device and in their
    precision. Has no state of a request, so threads may share it."""

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, Tensor], tokenizer: TextTokenizer) -> None:
        self._talker = config["talker_config"]
        self._task = Task(config["tts_model_type"])
        # The 0.6B checkpoints with built-in speakers were not trained on instructions.
        self._obeys_instruct = self._task is not Task.CLONE and (
            self._task is Task.VOICE_DESIGN or config["tts_model_size"] != "0b6"
        )
        self._tokenizer = tokenizer
        self._role = tokenizer.role_ids("assistant")
        self._pad, self._bos, self._eos = (config[f"tts_{name}_token_id"] for name in ("pad", "bos", "eos"))
        self._text_table = weights["talker.model.text_embedding.weight"]
        self._projection = [
            weights[f"talker.text_projection.linear_fc{number}.{kind}"]
            for number in (1, 2)
            for kind in ("weight", "bias")
        ]
        self._code_tables = [weights["talker.model.codec_embedding.weight"]] + [
            weights[f"talker.code_predictor.model.codec_embedding.{index}.weight"]
            for index in range(self._talker["num_code_groups"] - 1)
        ]
        with torch.no_grad():
            self.tts_pad = self._text([self._pad])[0]  # [H]

    @torch.no_grad()
    def build(self, prompt_tokens: PromptTokens, voice: VoicePrompt | None = None) -> Prefill:
        """The sum of the prompt's streams, in the voice of its recording if it is a clone. Raises SpeechError."""
        length = len(prompt_tokens.text)
        if prompt_tokens.rest is None:
            embeds = self._text([*prompt_tokens.text, *prompt_tokens.trailing])  # [T + N, H]
            trailing = embeds[length:]
        else:
            embeds, trailing = self._text(prompt_tokens.text), self.trailing(prompt_tokens.trailing)
        embeds[prompt_tokens.codec_at : length] += self._codec(prompt_tokens, voice)
        return Prefill(embeds[:length], trailing)

    @torch.no_grad()
    def trailing(self, ids: Sequence[int]) -> Tensor:
        """Text ids of an open text as the talker's inputs: [n] -> [n, H]. One by one, as the last bits of a product
        depend on its number of rows, and the ids arrive in groups of any size."""
        return torch.cat([self._text([each]) for each in ids] or [self._text([self._pad])[:0]])

    def more(self, rest: str, *, final: bool) -> tuple[tuple[int, ...], str]:
        """The ids of the stable part of `rest`, which follows a stable text, and the remaining text. With `final`, the
        ids of all of it and of the text's end."""
        ids, rest = self._tokenizer.more_ids(rest, final=final)
        return (*ids, *[self._eos] * final), rest

    def write(self, request: SpeechRequest, whole_text: bool | None = None) -> PromptTokens:
        """The ids of both streams; computes nothing. `whole_text` None is upstream's choice: the whole text at once,
        but one token a frame for clones. Raises SpeechError."""
        is_open = request.stream_action is not None
        whole = not is_open and (self._task is not Task.CLONE if whole_text is None else whole_text)
        transcript = transcript_of(request) if self._task is Task.CLONE else None
        reference_frames = 0 if transcript is None else frames_of_reference(request)
        head = [*self._instruct_ids(request), *self._role]
        if is_open and transcript:
            message = "A clone with a transcript takes the whole text at once. Send it without stream_id."
            raise SpeechError(ErrorCode.UNSUPPORTED_TASK, message, "stream_id")
        rest = None
        if is_open:
            text, rest = self._tokenizer.open_text_ids(request.text)
        else:
            text = self._tokenizer.text_ids(request.text)
        if is_open and not text:
            message = "The text of a new stream must have a complete word, followed by a space or a punctuation mark."
            raise SpeechError(ErrorCode.INVALID_REQUEST, message, "text")
        spoken = [*self._tokenizer.text_ids(transcript or ""), *text, *[self._eos] * (not is_open)]
        frames = 1 + reference_frames  # `bos` is the first
        lying = [*spoken, *[self._pad] * frames] if whole else [*spoken, *[self._pad] * (frames - len(spoken))][:frames]
        codec, voice_at = self._codec_ids(request, pads=len(spoken) if whole else 0)
        beside = [self._pad] * (len(codec) + reference_frames - len(lying) - 1)
        return PromptTokens(
            text=(*head, *beside, self._bos, *lying),
            trailing=() if whole else tuple(spoken[frames:]),
            codec_at=len(head),
            codec=tuple(codec),
            voice_at=voice_at,
            text_tokens=len(text),
            rest=rest,
        )

    def _instruct_ids(self, request: SpeechRequest) -> list[int]:
        return self._tokenizer.instruct_ids(request.instruct or "") if self._obeys_instruct else []

    def _codec_ids(self, request: SpeechRequest, pads: int) -> tuple[list[int], int]:
        """The codec stream from the language up to `bos`, and the position of the voice in it."""
        talker = self._talker
        speaker = self._speaker(request) if self._task is Task.CUSTOM_VOICE else None
        ids = self._language_ids(request, speaker)
        voice_at = len(ids)
        match self._task:
            case Task.CUSTOM_VOICE:
                ids.append(talker["spk_id"][speaker])
            case Task.CLONE:
                ids.append(talker["codec_pad_id"])  # the x-vector replaces it
        return ids + [talker["codec_pad_id"]] * (1 + pads) + [talker["codec_bos_id"]], voice_at

    def _codec(self, prompt_tokens: PromptTokens, voice: VoicePrompt | None) -> Tensor:
        """The codec stream, [P, H]."""
        codec = functional.embedding(self._indices(prompt_tokens.codec), self._code_tables[0])
        if self._task is not Task.CLONE:
            return codec
        if voice is None:
            message = "This model has no voice of its own. Send ref_audio, the recording of a voice."
            raise SpeechError(ErrorCode.INVALID_REQUEST, message, "ref_audio")
        codec[prompt_tokens.voice_at] = voice.x_vector
        return codec if voice.ref_codes is None else torch.cat([codec, self._frames(voice.ref_codes)])

    def _speaker(self, request: SpeechRequest) -> str:
        known = self._talker["spk_id"]
        speaker = (request.speaker or (DEFAULT_SPEAKER if DEFAULT_SPEAKER in known else next(iter(known)))).lower()
        if speaker not in known:
            message = f"'{request.speaker}' is not a speaker of this model. Use one of: {', '.join(known)}."
            raise SpeechError(ErrorCode.UNKNOWN_SPEAKER, message, "speaker")
        return speaker

    def _language_ids(self, request: SpeechRequest, speaker: str | None) -> list[int]:
        """The language in its brackets. A speaker of a dialect uses it if the language is open or Chinese."""
        talker, language = self._talker, request.language.lower()
        known = talker["codec_language_id"]
        if language != AUTO and (language not in known or language not in LANGUAGES):
            choice = ", ".join((AUTO, *(name for name in LANGUAGES if name in known)))
            message = f"This model does not speak '{language}'. Use one of: {choice}."
            raise SpeechError(ErrorCode.UNSUPPORTED_LANGUAGE, message, "language")
        dialect = talker["spk_is_dialect"].get(speaker) if language in (AUTO, "chinese") else None
        if language == AUTO and not dialect:
            return [talker["codec_nothink_id"], talker["codec_think_bos_id"], talker["codec_think_eos_id"]]
        spoken = known[dialect or language]
        return [talker["codec_think_id"], talker["codec_think_bos_id"], spoken, talker["codec_think_eos_id"]]

    def _text(self, ids: Sequence[int]) -> Tensor:
        """Text ids as the talker's inputs: [n] -> [n, H]."""
        first, first_bias, second, second_bias = self._projection
        text = functional.embedding(self._indices(ids), self._text_table).to(first.dtype)
        return functional.linear(functional.silu(functional.linear(text, first, first_bias)), second, second_bias)

    def _frames(self, codes: Tensor) -> Tensor:
        """Frames as the talker's inputs, each the sum of its codes' embeddings: [R, 16] -> [R, H]."""
        columns = codes.to(self._text_table.device).unbind(1)
        rows = [functional.embedding(column, table) for column, table in zip(columns, self._code_tables, strict=True)]
        return torch.stack(rows).sum(0)

    def _indices(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor(ids, device=self._text_table.device)
