"""The effect of int8 weights: logits after the same codes, compared with those of full weights."""

from dataclasses import dataclass, replace
from typing import Final, Self

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from speech_engines.qwen3_tts.check.agreement import Check, request_of, run
from speech_engines.qwen3_tts.checkpoint.checkpoint import Checkpoint
from speech_engines.qwen3_tts.config import EngineConfig
from speech_engines.qwen3_tts.model import int8
from speech_engines.qwen3_tts.runner.model_runner import TorchModelRunner
from speech_engines.qwen3_tts.runner.placement import Placement
from speech_protocol.models import ModelSpec

MIN_TOP_1: Final = 0.97  # of codebook 0
# Trained weights are more certain than this for most codes. Random ones are not: their best codes are almost equally
# probable, so the order of the first ones is not significant.
_MIN_CONFIDENCE: Final = 0.2
_NAME: Final = "int8 = full weights"


@dataclass(frozen=True, slots=True)
class Agreement:
    """Means over positions. `kl` is in nats, from the full weights' distribution to that of int8; `confidence` is the
    probability of the full weights' first choice."""

    top_1: float
    top_5: float
    kl: float
    confidence: float

    @classmethod
    def of(cls, full: Tensor, quantized: Tensor) -> Self:
        """From the logits [..., vocab] of both."""
        full, quantized = full.float().flatten(0, -2), quantized.float().flatten(0, -2)
        best, other = full.topk(5).indices, quantized.topk(5).indices
        expected, found = full.log_softmax(-1), quantized.log_softmax(-1)
        return cls(
            top_1=float((best[:, 0] == other[:, 0]).float().mean()),
            top_5=float((best[:, :, None] == other[:, None]).any(-1).float().mean()),
            kl=float(F.kl_div(found, expected, reduction="batchmean", log_target=True)),
            confidence=float(expected.amax(-1).exp().mean()),
        )

    def __str__(self) -> str:
        return f"top-1 {self.top_1:.1%}, top-5 {self.top_5:.1%}, KL {self.kl:.1e}"


def check_int8(spec: ModelSpec, checkpoint: Checkpoint, config: EngineConfig, frames: int) -> Check:
    """On a CPU, whatever WEIGHTS is. Two loads, one after the other."""
    placement = Placement.from_config(replace(config, weights="full"))
    if placement.device != "cpu" or not int8.is_available():
        return Check(_NAME, None, "int8 weights are for CPUs with AVX2")
    logits, codes, request = [], None, request_of(spec.task)
    for weights in ("full", "int8"):
        runner = TorchModelRunner(spec, checkpoint, replace(placement, weights=weights), replace(config, max_batch=1))
        codes = codes or run(runner, {0: request}, frames)[0][0]
        logits.append(runner.forced_logits(request, codes))
        runner.close()
        del runner
    (full, full_others), (quantized, quantized_others) = logits
    first, others = Agreement.of(full, quantized), Agreement.of(full_others, quantized_others)
    detail = f"{len(codes or ())} frames; codebook 0: {first}; predictor: {others}"
    if first.confidence < _MIN_CONFIDENCE and first.top_1 < MIN_TOP_1:
        detail += f"; not judged: the weights seem random, {first.confidence:.0%} sure of their first choice"
        return Check(_NAME, None, detail)
    return Check(_NAME, first.top_1 >= MIN_TOP_1, detail)
