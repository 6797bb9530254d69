"""Text to token ids: the byte-level BPE of a checkpoint folder, with the same ids as Qwen2's tokenizer.

Upstream loads its processor with `fix_mistral_regex=True`. For a checkpoint in a folder, transformers then splits text
by Mistral's regular expression instead of Qwen2's; for a hub id, it does not. The models were trained with Qwen2's, so
it is used here for both, whatever a `tokenizer.json` says: a fine-tuned checkpoint may have been saved with the other.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from speech_engines.qwen3_tts.prompt.text import PlainText
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.stable_text import stable_length

logger = logging.getLogger(__name__)

IM_START: Final = "<|im_start|>"
IM_END: Final = "<|im_end|>"
# Qwen2's: a run of letters of any case is one piece, without combining marks.
_PIECES: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class TextTokenizer:
    """Control ids come from the template only: the BPE here has no control tokens, so text cannot produce any. Threads
    may share it."""

    def __init__(self, folder: Path) -> None:
        try:
            whole = _optional_json(folder / "tokenizer.json")
            self._bpe = _load_bpe(folder, whole)
            self.control_ids = _control_ids(folder, whole)
            self._start, self._end = self.control_ids[IM_START], self.control_ids[IM_END]
        except Exception as error:  # `tokenizers` raises nothing narrower
            logger.exception("the tokenizer of %s can't be read", folder)
            message = f"The tokenizer of {folder} can't be read: {type(error).__name__}: {error}"
            raise SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, message) from None
        self._plain = PlainText(self.control_ids)
        self._newline = self._bpe.encode("\n").ids

    def text_ids(self, text: str) -> list[int]:
        """The ids of user text. Stripped as plain text, it has the same ids here as inside a template."""
        ids: list[int] = self._bpe.encode(self._plain(text)).ids
        return ids

    def open_text_ids(self, text: str) -> tuple[list[int], str]:
        """The ids of the beginning of a text that is still being written, and the part that is not tokenized yet."""
        end = stable_length(text)
        return self.text_ids(text[:end]), text[end:]

    def more_ids(self, rest: str, *, final: bool) -> tuple[list[int], str]:
        """The same for a `rest` with more text; all ids if the text is `final`. Together, the ids are those of
        `text_ids` for the whole text, however it was split."""
        end = len(rest.rstrip()) if final else stable_length(rest)
        ids: list[int] = self._bpe.encode(self._plain.escape(rest[:end])).ids
        return ids, "" if final else rest[end:]

    def role_ids(self, role: str) -> list[int]:
        """`<|im_start|>role` and a line break: three ids."""
        return [self._start, *self._bpe.encode(role).ids, *self._newline]

    def instruct_ids(self, instruct: str) -> list[int]:
        """The template's user turn with `instruct` in it; empty without one."""
        ids = self.text_ids(instruct)
        return [*self.role_ids("user"), *ids, self._end, *self._newline] if ids else []


def _read_json(path: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return parsed


def _optional_json(path: Path) -> dict[str, Any]:
    return _read_json(path) if path.is_file() else {}


def _control_ids(folder: Path, whole: Mapping[str, Any]) -> dict[str, int]:
    """Added tokens by name, from the first source that has any: the tokenizer's config in a published checkpoint,
    tokenizer.json (`whole`) in one saved by a newer transformers, added_tokens.json by an older one. The two that the
    template needs are also in config.json."""
    config = _read_json(folder / "config.json")
    decoder = _read_json(folder / "tokenizer_config.json").get("added_tokens_decoder") or {}
    return (
        {token["content"]: int(index) for index, token in decoder.items()}
        or {token["content"]: int(token["id"]) for token in whole.get("added_tokens", ())}
        or _optional_json(folder / "added_tokens.json")
        or {IM_START: config["im_start_token_id"], IM_END: config["im_end_token_id"]}
    )


def _load_bpe(folder: Path, whole: Mapping[str, Any]) -> Tokenizer:
    bpe = Tokenizer(_load_merges(folder, whole))
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    return bpe


def _load_merges(folder: Path, whole: Mapping[str, Any]) -> models.BPE:
    """From vocab.json and merges.txt, or from tokenizer.json in a checkpoint without them."""
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    if vocabulary.is_file() and merges.is_file():
        return models.BPE.from_file(str(vocabulary), str(merges))
    model = whole["model"]
    # A merge is "a b" in older files and ["a", "b"] in newer ones.
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    return models.BPE(vocab=model["vocab"], merges=pairs)
