"""The language model of Qwen3-ForcedAligner: one causal pass over text and audio, with a class for each time."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

PREFIX = "thinker.model."
HEAD = "thinker.lm_head.weight"


class Decoder:
    """Embeddings of a sequence [T, H] -> the class of each position asked for."""

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        self._config, self._weights = config, weights
        self._head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids [T] -> [T, H]."""
        return F.embedding(ids, self._weights[f"{PREFIX}embed_tokens.weight"])

    def classes(self, x: Tensor, places: Tensor) -> Tensor:
        """The most probable class at these places: x [T, H], places [N] -> [N]."""
        rotation = self._rotation(len(x), x)
        for layer in range(self._config["num_hidden_layers"]):
            x = self._layer(x, f"layers.{layer}.", rotation)
        logits = F.linear(self._norm(x[places], "norm"), self._weights[HEAD])
        return logits.argmax(-1)

    def _layer(self, x: Tensor, name: str, rotation: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self._attend(self._norm(x, f"{name}input_layernorm"), f"{name}self_attn.", rotation)
        y = self._norm(x, f"{name}post_attention_layernorm")
        gate, up = (self._linear(y, f"{name}mlp.{part}_proj") for part in ("gate", "up"))
        return x + self._linear(F.silu(gate) * up, f"{name}mlp.down_proj")

    def _attend(self, x: Tensor, name: str, rotation: tuple[Tensor, Tensor]) -> Tensor:
        q, k, v = (self._linear(x, f"{name}{part}_proj").unflatten(-1, (-1, self._head_dim)) for part in "qkv")
        q, k = (_rotate(self._norm(each, f"{name}{part}_norm"), *rotation) for each, part in ((q, "q"), (k, "k")))
        q, k, v = (each.transpose(0, 1)[None] for each in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self._linear(attended[0].transpose(0, 1).flatten(1), f"{name}o_proj")

    def _rotation(self, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
        # Text and audio have the same positions in all three sections of the rotary embedding.
        steps = self._config["rope_theta"] ** (-torch.arange(0, self._head_dim, 2).float() / self._head_dim)
        angles = torch.arange(length).float()[:, None] * steps
        both = torch.cat((angles, angles), -1)[:, None]  # [T, 1, head_dim]
        return both.cos().to(like), both.sin().to(like)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._weights[f"{PREFIX}{name}.weight"], self._weights.get(f"{PREFIX}{name}.bias"))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight = self._weights[f"{PREFIX}{name}.weight"]
        normed = F.rms_norm(x.float(), weight.shape, eps=self._config["rms_norm_eps"])
        return weight * normed.to(weight.dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin
