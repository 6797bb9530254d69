"""Our forward pass compared with qwen-tts, and rows of a batch with the same requests alone."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from speech_engines.qwen3_tts.model.cache_ranges import CacheRange
from speech_engines.qwen3_tts.model.frame_model import FrameModel, Sampling
from tests.speech_engines.conftest import EngineOf
from tests.support.types import CheckpointOf

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")

FRAMES = 72
POSITIONS = 256
PIECE = 20
GREEDY = Sampling(
    temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.05, greedy=True, predictor_temperature=1.0,
    predictor_top_k=0, predictor_top_p=1.0, predictor_greedy=True, seed=0, min_frames=FRAMES + 9,
)  # fmt: skip
DRAWN = replace(
    GREEDY, temperature=0.9, top_k=50, greedy=False, predictor_temperature=0.9, predictor_top_k=50,
    predictor_greedy=False, seed=1,
)  # fmt: skip
SETTINGS = (
    DRAWN,
    replace(DRAWN, seed=2**62 + 5, top_p=0.8, predictor_temperature=1.3),
    replace(DRAWN, seed=-3, top_k=0, predictor_top_k=3, repetition_penalty=1.5),
    replace(GREEDY, seed=4, repetition_penalty=1.2),
    replace(DRAWN, seed=5, predictor_greedy=True, temperature=1.5),
    replace(DRAWN, seed=6, predictor_top_p=0.6, predictor_top_k=0),
    DRAWN,
)


@dataclass(frozen=True)
class Trace:
    """One greedy generation of qwen-tts: the inputs of its talker, and the outputs of every head."""

    embeds: Tensor  # [T, H]
    trailing: Tensor  # [N, H]
    codes: Tensor  # [F, 16]
    talker_logits: list[Tensor]  # before each frame: [vocab]
    predictor_logits: list[list[Tensor]]  # for each frame, codebooks 1 to 15: [vocab]


@pytest.fixture(scope="module")
def upstream_trace(reference_engine: EngineOf) -> Any:
    """`upstream_trace(projection, text)`: made once for each."""

    @cache
    def trace(projection: bool, text: str = "A few words.") -> Trace:
        return trace_upstream(reference_engine("custom_voice", projection).synthesizer._upstream, text)  # type: ignore[attr-defined]

    return trace


def trace_upstream(upstream: Any, text: str) -> Trace:
    talker = upstream.model.talker
    outputs: dict[Any, list[Tensor]] = {head: [] for head in (talker.codec_head, *talker.code_predictor.lm_head)}
    asked: dict[str, Any] = {}
    generate, handles = talker.generate, []
    for head, seen in outputs.items():
        keep = lambda _, __, output, seen=seen: seen.append(output[0, -1].clone())  # noqa: E731
        handles.append(head.register_forward_hook(keep))

    def forced(**arguments: Any) -> Any:
        asked.update(arguments)
        return generate(**arguments | {"min_new_tokens": FRAMES + 1})

    talker.generate = forced
    try:
        greedy = {"do_sample": False, "subtalker_dosample": False, "temperature": 1.0, "subtalker_temperature": 1.0}
        ids = upstream._tokenize_texts([upstream._build_assistant_text(text)])
        codes, _ = upstream.model.generate(
            input_ids=ids, languages=["english"], speakers=["vivian"], non_streaming_mode=False,
            max_new_tokens=FRAMES + 1, **greedy,
        )  # fmt: skip
    finally:
        del talker.generate
        for handle in handles:
            handle.remove()
    predictor = [list(frame) for frame in zip(*(outputs[h] for h in talker.code_predictor.lm_head), strict=True)]
    return Trace(
        asked["inputs_embeds"][0], asked["trailing_text_hidden"][0], codes[0], outputs[talker.codec_head], predictor
    )


@pytest.fixture(scope="module")
def frame_model(tiny_checkpoint: CheckpointOf) -> Any:
    """`frame_model(projection)`: float32, of 8 slots."""
    return cache(lambda projection: load(tiny_checkpoint("custom_voice", projection)))


def load(folder: Path, rows: int = 8) -> FrameModel:
    return FrameModel.load(folder, "cpu", torch.float32, rows, rows * POSITIONS)


@pytest.fixture
def model(frame_model: Any) -> Iterator[FrameModel]:
    model: FrameModel = frame_model(False)
    yield model
    for slot in range(model.slots):
        model.release(slot)


def prefill(model: FrameModel, slot: int, embeds: Tensor, trailing: Tensor, sampling: Sampling) -> None:
    """In pieces, into a cache range of the slot."""
    model.begin(slot, CacheRange(slot * POSITIONS, POSITIONS), trailing, sampling)
    for piece in embeds.split(PIECE):
        model.extend(slot, piece)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("projection", [False, True])
def test_with_the_same_codes_before_every_logit_is_qwen_tts(
    projection: bool, upstream_trace: Any, frame_model: Any
) -> None:
    trace, model = upstream_trace(projection), frame_model(projection)
    assert trace.codes.shape == (FRAMES, 16)
    assert 10 < len(trace.trailing) < FRAMES - 10  # so that both text and padding are added
    prefill(model, 3, trace.embeds, trace.trailing, GREEDY)
    row, worst = torch.tensor([3]), 0.0
    for frame, codes in enumerate(trace.codes):
        worst = max(worst, relative_error(model._logits[3], trace.talker_logits[frame]))
        theirs = iter(trace.predictor_logits[frame])

        def forced(codebook: int, logits: Tensor, codes: Tensor = codes, theirs: Any = theirs) -> Tensor:
            nonlocal worst
            worst = max(worst, relative_error(logits[0], next(theirs)))
            return codes[codebook, None]

        with torch.inference_mode():
            others = model.predictor(model._hidden[row], model.talker.embed(codes[:1]), forced)
            assert others.tolist() == [codes[1:].tolist()]
            position = len(trace.embeds) + frame
            model._record(row, None, codes[None], model.talker.cache.rows([3 * POSITIONS], [position]))
    assert worst < 1e-4


@pytest.mark.parametrize("projection", [False, True])
def test_greedy_codes_are_qwen_tts(projection: bool, upstream_trace: Any, frame_model: Any) -> None:
    trace, model = upstream_trace(projection), frame_model(projection)
    prefill(model, 0, trace.embeds, trace.trailing, GREEDY)
    codes = torch.cat([model.step([0])[0] for _ in range(FRAMES)])
    assert len(codes.unique(dim=0)) > FRAMES / 2
    assert torch.equal(codes, trace.codes)


def test_an_utterance_ends_where_qwen_tts_ends_it_and_never_before_its_least_frames(
    upstream_trace: Any, model: FrameModel
) -> None:
    trace = upstream_trace(False)
    eos = model.config.codec_eos_id
    prefill(model, 0, trace.embeds, trace.trailing, replace(GREEDY, min_frames=0))
    ends = [bool(model.step([0])[1]) for _ in range(FRAMES)]
    choices = [int(masked(logits, eos).argmax()) for logits in trace.talker_logits]
    assert ends.index(True) == choices.index(eos)
    prefill(model, 0, trace.embeds, trace.trailing, replace(GREEDY, min_frames=ends.index(True) + 3))
    assert [bool(model.step([0])[1]) for _ in range(ends.index(True) + 3)] == [False] * (ends.index(True) + 3)


def masked(logits: Tensor, eos: int) -> Tensor:
    kept = logits.clone()
    kept[-1024:] = float("-inf")
    kept[eos] = logits[eos]
    return kept


@dataclass(frozen=True)
class Request:
    embeds: Tensor
    trailing: Tensor
    sampling: Sampling


def requests_like(model: FrameModel) -> list[Request]:
    """Prompts and trailing texts of different lengths, one for each of SETTINGS; the last has the first one's seed."""
    generator = torch.Generator().manual_seed(3)
    lengths = ((9, 5), (31, 1), (17, 40), (5, 0), (64, 12), (10, 3), (23, 7))
    hidden = model.config.talker.hidden_size
    draw = [torch.randn(sum(pair), hidden, generator=generator).split(pair) for pair in lengths]
    return [Request(*tensors, sampling) for tensors, sampling in zip(draw, SETTINGS, strict=True)]


def alone(model: FrameModel, request: Request, frames: int, slot: int = 0) -> Tensor:
    """The codes [frames, 16] of the request without others."""
    prefill(model, slot, request.embeds, request.trailing, request.sampling)
    return torch.cat([model.step([slot])[0] for _ in range(frames)])


def run(model: FrameModel, plan: Sequence[tuple[int, int, int]], requests: Sequence[Request]) -> list[Tensor]:
    """Serve the requests together. The plan says for each: from which step on, in which slot, how many frames."""
    said: list[list[Tensor]] = [[] for _ in plan]
    for step in range(max(start + frames for start, _, frames in plan)):
        active = [index for index, (start, _, frames) in enumerate(plan) if start <= step < start + frames]
        for index in active:
            if plan[index][0] == step:
                model.release(plan[index][1])
                prefill(
                    model, plan[index][1], requests[index].embeds, requests[index].trailing, requests[index].sampling
                )
        codes, _ = model.step([plan[index][1] for index in active])
        for index, row in zip(active, codes, strict=True):
            said[index].append(row)
    return [torch.stack(rows) for rows in said]


PLANS = {
    "all at once": [(0, slot, 16) for slot in range(7)],
    "in other slots": [(0, 7 - slot, 16) for slot in range(7)],
    "late joins and early ends": [(0, 5, 20), (3, 1, 8), (3, 2, 14), (7, 0, 11), (9, 7, 14), (1, 3, 24), (19, 4, 5)],
    "slots used again": [(0, 0, 5), (5, 0, 8), (3, 1, 4), (13, 0, 7), (7, 1, 20), (20, 0, 10), (27, 1, 6)],
}


@pytest.fixture(scope="module")
def codes_alone(frame_model: Any) -> Any:
    """`codes_alone(projection)`: 24 frames of each request without others."""
    return cache(
        lambda projection: [alone(frame_model(projection), r, 24) for r in requests_like(frame_model(projection))]
    )


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_each_row_of_any_batch_gets_the_codes_it_would_get_alone(
    plan: list[tuple[int, int, int]], projection: bool, frame_model: Any, codes_alone: Any
) -> None:
    model = frame_model(projection)
    together = run(model, plan, requests_like(model))
    for expected, (_, _, frames), codes in zip(codes_alone(projection), plan, together, strict=True):
        assert torch.equal(codes, expected[:frames])


def test_requests_that_differ_in_the_seed_alone_differ_in_their_codes_and_the_same_seed_repeats_them(
    model: FrameModel,
) -> None:
    request = requests_like(model)[0]
    other = replace(request, sampling=replace(request.sampling, seed=2))
    first, second, third = run(model, [(0, 0, 12), (0, 1, 12), (0, 2, 12)], [request, other, request])
    assert torch.equal(first, third)
    assert (first != second).float().mean() > 0.5


def test_a_step_allocates_nothing_that_lasts_and_moves_no_buffer(model: FrameModel) -> None:
    request = requests_like(model)[0]
    alone(model, request, 2)
    before = {name: value.data_ptr() for name, value in vars(model).items() if isinstance(value, Tensor)}
    alone(model, request, 8)
    assert before == {name: value.data_ptr() for name, value in vars(model).items() if isinstance(value, Tensor)}


def test_a_prompt_or_a_step_beyond_the_positions_is_refused(model: FrameModel) -> None:
    hidden = model.config.talker.hidden_size
    with pytest.raises(ValueError, match="256"):
        prefill(model, 0, torch.zeros(256, hidden), torch.zeros(0, hidden), GREEDY)
    prefill(model, 0, torch.zeros(254, hidden), torch.zeros(1, hidden), GREEDY)
    model.step([0])
    model.step([0])
    with pytest.raises(ValueError, match="256"):
        model.step([0])


def test_the_weights_left_for_prompts_are_the_checkpoints(model: FrameModel, tiny_checkpoint: CheckpointOf) -> None:
    from safetensors.torch import load_file

    file = load_file(tiny_checkpoint("custom_voice", False) / "model.safetensors")
    kept = {name for name in file if "embedding" in name or "text_projection" in name}
    assert set(model.weights) == kept
    assert all(torch.equal(model.weights[name].float(), file[name].float()) for name in kept)


def test_loading_imports_neither_transformers_nor_qwen_tts(tiny_checkpoint: CheckpointOf) -> None:
    script = (
        "import sys, torch; from pathlib import Path\n"
        "from speech_engines.qwen3_tts.model.frame_model import FrameModel\n"
        "FrameModel.load(Path(sys.argv[1]), 'cpu', torch.bfloat16, 2, 64)\n"
        "sys.exit(bool({'transformers', 'qwen_tts', 'torchaudio', 'librosa'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, str(tiny_checkpoint("custom_voice", False))]
    assert subprocess.run(command, check=False, timeout=120).returncode == 0
