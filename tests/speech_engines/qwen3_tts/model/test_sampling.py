"""Sampling compared with Hugging Face's logits processors, and the noise that makes it reproducible."""

import importlib.util

import pytest
import torch
from torch import Tensor

from speech_engines.qwen3_tts.model.sampling import TOP_K_ONLY_MAX, FrameNoise, Sampling, SamplingTable, penalize

VOCAB = 3072
EXTREMES = [
    # temperature, top_k, top_p
    (0.9, 50, 1.0),
    (0.9, 0, 1.0),
    (0.9, 10 * VOCAB, 1.0),
    (0.9, VOCAB, 0.9),
    (1.0, 1, 1.0),
    (0.9, TOP_K_ONLY_MAX, 1.0),
    (0.9, TOP_K_ONLY_MAX + 1, 1.0),
    (0.9, 50, 0.8),
    (0.9, 0, 0.95),
    (0.9, 0, 1e-9),
    (0.9, 0, 0.0),
    (0.9, 50, 0.999999),
    (0.01, 50, 0.9),
    (100.0, 0, 0.5),
    (1.7, 3, 0.3),
]


def sampling(temperature: float = 0.9, top_k: int = 50, top_p: float = 1.0, **changed: object) -> Sampling:
    values = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "greedy": False}
    predictor = {f"predictor_{name}": value for name, value in values.items()}
    return Sampling(**{"repetition_penalty": 1.05, "seed": 0} | values | predictor | changed)  # type: ignore[arg-type]


def table_of(*settings: Sampling) -> SamplingTable:
    table = SamplingTable(len(settings), torch.device("cpu"))
    for slot, one in enumerate(settings):
        table.put(slot, one)
    return table


def random_logits(kind: str, rows: int) -> Tensor:
    logits = torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(7)) * 4
    if kind == "with ties":
        logits = logits.round()
    if kind == "half precision":
        logits = logits.bfloat16().float()
    if kind == "all equal":
        logits = torch.full_like(logits, 1.5)
    if kind == "partly suppressed":
        logits[:, -1024:] = float("-inf")
    return logits


def warped_by_hugging_face(logits: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """As `generate` puts its processors together: those whose value changes nothing are left out."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k:
        scores = TopKLogitsWarper(top_k)(None, scores)
    return TopPLogitsWarper(top_p)(None, scores) if top_p < 1 else scores


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs the extra 'qwen'")
@pytest.mark.parametrize("kind", ["random", "half precision", "with ties", "all equal", "partly suppressed"])
def test_temperature_top_k_and_top_p_leave_what_hugging_face_leaves_for_rows_that_differ_in_all_of_them(
    kind: str,
) -> None:
    logits = random_logits(kind, len(EXTREMES))
    ours = table_of(*(sampling(*values) for values in EXTREMES)).talker(logits)
    theirs = torch.cat(
        [warped_by_hugging_face(row[None], *values) for row, values in zip(logits, EXTREMES, strict=True)]
    )
    if kind in ("half precision", "with ties", "all equal"):
        # Which of the equal ones top-p keeps is up to an unstable sort over there.
        ours, theirs = ours.sort().values, theirs.sort().values
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", ["random", "half precision", "partly suppressed"])
def test_a_small_top_k_alone_needs_no_sort_and_gives_the_same(kind: str) -> None:
    settings = [sampling(0.9, top_k) for top_k in (1, 2, 50, TOP_K_ONLY_MAX)] + [sampling(greedy=True)]
    table, logits = table_of(*settings), random_logits(kind, len(settings))
    assert table.is_top_k_only([0, 1, 2, 3])
    scores, codes = table.talker.best(logits)
    best = torch.full_like(logits, float("-inf")).scatter(1, codes, scores)
    assert torch.equal(best, table.talker(logits))
    for frame in range(20):
        noise = FrameNoise(torch.arange(5), torch.full((5,), frame), 1, VOCAB, at_once=False).of(0)
        assert torch.equal(table.talker.choose(logits, noise, True), table.talker.choose(logits, noise, False))


@pytest.mark.parametrize(
    ("changed", "top_k_only"),
    [
        ({}, True),
        ({"top_k": 0}, False),
        ({"top_k": TOP_K_ONLY_MAX + 1}, False),
        ({"top_p": 0.9}, False),
        ({"predictor_top_p": 0.9}, False),
        ({"top_p": 0.9, "greedy": True, "predictor_top_p": 0.9, "predictor_greedy": True}, True),
    ],
)
def test_one_row_that_needs_a_sort_gives_it_to_its_batch_and_leaves_with_its_release(
    changed: dict[str, object], top_k_only: bool
) -> None:
    table = table_of(sampling(), sampling(**changed))  # type: ignore[arg-type]
    assert (table.is_top_k_only(), table.is_top_k_only([0]), table.is_top_k_only([1])) == (top_k_only, True, top_k_only)
    table.clear(1)
    assert table.is_top_k_only()


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs the extra 'qwen'")
@pytest.mark.parametrize("penalty", [1.0, 1.05, 2.0, 0.5])
def test_the_repetition_penalty_is_hugging_faces(penalty: float) -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    logits = random_logits("partly suppressed", 2)
    said = torch.randint(0, VOCAB, (2, 40), generator=torch.Generator().manual_seed(1))
    theirs = RepetitionPenaltyLogitsProcessor(penalty)(said, logits.clone())
    seen = torch.zeros(2, VOCAB, dtype=torch.bool).scatter_(1, said, True)
    assert torch.equal(penalize(logits, seen, torch.full((2, 1), penalty)), theirs)


def test_greedy_takes_the_first_of_the_best_whatever_the_noise() -> None:
    table = table_of(sampling(greedy=True, temperature=0.0, top_k=3, top_p=0.1))
    logits = random_logits("with ties", 1)
    for top_k_only in (True, False):
        for frame in range(20):
            noise = FrameNoise(torch.tensor([3]), torch.tensor([frame]), 1, VOCAB, at_once=False).of(0)
            assert table.talker.choose(logits, noise, top_k_only).tolist() == [int(logits.argmax())]


def gumbel_noise(seed: Tensor, frame: Tensor, codebooks: int, vocab: int) -> Tensor:
    """[B, codebooks, vocab]"""
    noise = FrameNoise(seed, frame, codebooks, vocab, at_once=False)
    return torch.stack([noise.of(codebook)(torch.arange(vocab)) for codebook in range(codebooks)], 1)


def test_codes_are_drawn_as_often_as_their_probability_says() -> None:
    draws = 4096
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5, float("-inf")])
    expected = logits.softmax(-1)[:5] * draws
    seed = torch.full((draws,), 5)
    noise = gumbel_noise(seed, torch.arange(draws), 4, 6)  # [draws, 4, 6]
    for codebook in range(4):
        counts = torch.bincount((logits + noise[:, codebook]).argmax(-1), minlength=6)
        assert counts[5] == 0
        assert float(((counts[:5] - expected) ** 2 / expected).sum()) < 23.5  # chi-square of 4 degrees, p = 1e-4


def uniform_noise(seeds: list[int], frames: list[int], codebooks: int, vocab: int) -> Tensor:
    gumbel = gumbel_noise(torch.tensor(seeds), torch.tensor(frames), codebooks, vocab)
    return torch.exp(-torch.exp(-gumbel.double()))


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63 - 1, -(2**63), 123456789])
def test_noise_is_uniform_over_codes_frames_and_codebooks(seed: int) -> None:
    uniform = uniform_noise([seed] * 8, list(range(8)), 16, 2048)  # [8, 16, 2048]
    for sample in (uniform, uniform[0, 0], uniform[:, :, 0], uniform[:, 3, 5:700], uniform[2, :, 17:80]):
        counts = torch.histc(sample.float(), 16, 0, 1)
        expected = sample.numel() / 16
        assert float(((counts - expected) ** 2 / expected).sum()) < 44.3  # chi-square of 15 degrees, p = 1e-4


def test_noise_of_other_seeds_frames_and_codebooks_is_unrelated() -> None:
    streams = uniform_noise([0, 0, 0, 1, 2, 2**40], [0, 1, 2, 0, 0, 0], 16, 2048).flatten(0, 1)  # [96, 2048]
    correlation = torch.corrcoef(streams) - torch.eye(len(streams))
    assert float(correlation.abs().max()) < 5.5 / 2048**0.5
    shifted = torch.corrcoef(torch.cat((streams[:, 1:], streams[:, :-1])))
    assert float((shifted - torch.eye(len(shifted))).abs().max()) < 5.5 / 2047**0.5


def test_noise_is_finite_and_a_rows_noise_is_the_same_in_any_batch() -> None:
    seeds, frames = torch.tensor([4, 9, 4, 2**50]), torch.tensor([0, 1, 700, 2])
    together = gumbel_noise(seeds, frames, 16, 512)
    assert bool(together.isfinite().all())
    for row in range(4):
        assert torch.equal(together[row : row + 1], gumbel_noise(seeds[row : row + 1], frames[row : row + 1], 16, 512))


def test_noise_drawn_at_once_equals_the_noise_drawn_for_selected_codes() -> None:
    seeds, frames = torch.tensor([4, 9]), torch.tensor([0, 8])
    asked, at_once = (FrameNoise(seeds, frames, 3, 512, at_once=value).of(2) for value in (False, True))
    codes = torch.tensor([[3, 511, 40], [0, 9, 9]])
    assert torch.equal(asked(codes), at_once(codes))
    assert torch.equal(asked(torch.arange(100)), at_once(torch.arange(100)))
