"""Text to token ids: the byte-level BPE of a checkpoint folder, with the ids that upstream's processor gives."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from packaging.version import Version
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from speech_engines.qwen3_tts.text import PlainText
from speech_protocol.errors import ErrorCode, SpeechError

logger = logging.getLogger(__name__)

IM_START: Final = "<|im_start|>"
IM_END: Final = "<|im_end|>"
# The last three alternatives of both: punctuation, line breaks, other space.
_SPACES: Final = r"\s*[\r\n]+|\s+(?!\S)|\s+"
# What Qwen2 was published with: a run of letters of any case is one piece, a combining mark is none of it.
_QWEN2_PIECES: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _SPACES
)
# What transformers puts in its place, meant for Mistral: a piece ends where lower case turns to upper case.
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_MISTRAL_PIECES: Final = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + _SPACES
)


class TextTokenizer:
    """Control ids come from the template alone: the BPE below knows no control token, so no text can make one. Threads
    may share it."""

    def __init__(self, folder: Path) -> None:
        try:
            self._bpe = _load_bpe(folder, _read_json(folder / "config.json"))
            self.control_ids = _control_ids(_read_json(folder / "tokenizer_config.json"))
            self._start, self._end = self.control_ids[IM_START], self.control_ids[IM_END]
        except Exception as error:  # `tokenizers` raises nothing narrower
            logger.exception("the tokenizer of %s can't be read", folder)
            message = f"The tokenizer of {folder} can't be read: {type(error).__name__}: {error}"
            raise SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, message) from None
        self._plain = PlainText(self.control_ids)
        self._newline = self._bpe.encode("\n").ids

    def text_ids(self, text: str) -> list[int]:
        """What a user wrote. Stripped by the rule for plain text, it has the same ids here as inside a template."""
        ids: list[int] = self._bpe.encode(self._plain(text)).ids
        return ids

    def role_ids(self, role: str) -> list[int]:
        """`<|im_start|>role` and a line break: three ids."""
        return [self._start, *self._bpe.encode(role).ids, *self._newline]

    def instruct_ids(self, instruct: str) -> list[int]:
        """The user's turn of the template with `instruct` in it, whole; empty where nothing is said."""
        ids = self.text_ids(instruct)
        return [*self.role_ids("user"), *ids, self._end, *self._newline] if ids else []


def _read_json(path: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return parsed


def _control_ids(tokenizer_config: Mapping[str, Any]) -> dict[str, int]:
    return {token["content"]: int(index) for index, token in tokenizer_config["added_tokens_decoder"].items()}


def _load_bpe(folder: Path, config: Mapping[str, Any]) -> Tokenizer:
    bpe = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(_pieces(config.get("transformers_version"))), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    return bpe


def _pieces(transformers_version: str | None) -> str:
    """Upstream asks transformers 4.57.3 to mend Mistral's pieces, and that mends every large vocabulary in a folder
    whose config.json was not written by a version it takes for safe."""
    if transformers_version and not Version("4.57.2") < Version(transformers_version) < Version("5.0.0"):
        return _QWEN2_PIECES
    return _MISTRAL_PIECES
