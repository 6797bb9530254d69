"""Sizes and ids of a checkpoint's talker and code predictor, read from its config.json. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

# At the end of the talker's vocabulary: ids of the prompt (speakers, languages, marks) that are not codes.
PROMPT_IDS: Final = 1024


@dataclass(frozen=True, slots=True)
class StackConfig:
    """A stack of decoder layers, and the number of codes that its head distinguishes."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    rms_norm_eps: float
    rope_theta: float

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Self:
        """Raises ValueError if a layer needs unsupported features."""
        _require(fields, hidden_act="silu", attention_bias=False, sliding_window=None)
        _require(fields.get("rope_scaling") or {}, rope_type="default")
        return cls(
            hidden_size=fields["hidden_size"],
            intermediate_size=fields["intermediate_size"],
            layers=fields["num_hidden_layers"],
            heads=fields["num_attention_heads"],
            kv_heads=fields["num_key_value_heads"],
            head_dim=fields["head_dim"],
            vocab_size=fields["vocab_size"],
            rms_norm_eps=fields["rms_norm_eps"],
            rope_theta=fields["rope_theta"],
        )


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The sizes of one checkpoint: both stacks, the number of codebooks, and the ids that the frame loop needs."""

    talker: StackConfig
    predictor: StackConfig
    codebooks: int
    codec_eos_id: int
    tts_pad_id: int

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        """From the dict of config.json."""
        talker = config["talker_config"]
        return cls(
            talker=StackConfig.parse(talker),
            predictor=StackConfig.parse(talker["code_predictor_config"]),
            codebooks=talker["num_code_groups"],
            codec_eos_id=talker["codec_eos_token_id"],
            tts_pad_id=config["tts_pad_token_id"],
        )

    @property
    def first_prompt_id(self) -> int:
        """From here on, EOS is the only id that the talker may generate."""
        return self.talker.vocab_size - PROMPT_IDS


def _require(fields: Mapping[str, Any], **expected: object) -> None:
    for name, value in expected.items():
        if fields.get(name, value) != value:
            raise ValueError(f"{name} is {fields[name]!r}; only {value!r} is supported")
