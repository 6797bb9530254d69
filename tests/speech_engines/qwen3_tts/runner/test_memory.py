"""The engine's GPU memory: the calculation, compared with its buffers on a fake GPU."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from speech_engines.qwen3_tts.codec.decoder import Codec
from speech_engines.qwen3_tts.model.frame_model import FrameModel
from speech_engines.qwen3_tts.runner.bucketed import (
    CALL_FRAMES,
    CALL_STREAMS,
    PROMPTS,
    SPANS,
    BucketedCodec,
    BucketedFrames,
    BucketedPrompts,
    ChunkShape,
    FrameShape,
    PromptShape,
)
from speech_engines.qwen3_tts.runner.memory import CONTEXT_BYTES, POOL_BYTES, Needs, Size, fit, wanted_positions
from tests.contract.test_documents import ROOT, table_after
from tests.support.fake_gpu import GPU, Memory, fake_checkpoint
from tests.support.tape import TapeRecorder

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")

GIB = 2**30
SIZES = {"0.6B": "full-0.6b", "1.7B": "full-1.7b"}
ACTIVATIONS_BYTES = 512 * 2**20
DOCUMENTED_ROWS = (4, 16, 64)


class Model:
    """A full-size one on the fake GPU, without buffers."""

    def __init__(self, memory: Memory, folder: Path) -> None:
        self.memory = memory
        self.frames, self.codec = FrameModel.read(folder, GPU, torch.bfloat16), Codec.read(folder, GPU)
        self.weights = memory.held
        self.needs = Needs.from_config(self.frames.config, self.frames.dtype.itemsize, self.codec.stream_bytes)


@pytest.fixture(scope="module", params=SIZES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    folder = tmp_path_factory.mktemp(name)
    with fake_checkpoint(folder, SIZES[name]), Memory() as memory:
        yield Model(memory, folder)


def test_rows_and_positions_take_what_the_arithmetic_says(model: Model) -> None:
    for rows, positions in ((4, 10_000), (64, 32_768)):
        model.frames.allocate(1, 1)
        model.codec.allocate(1)
        before = model.memory.held
        model.frames.allocate(rows, positions)
        model.codec.allocate(rows + 1)
        taken = model.memory.held - before
        assert taken == pytest.approx(model.needs.caches(rows, positions), rel=0.02)


def test_the_work_of_every_graph_fits_into_the_pool_that_is_reserved_for_them(model: Model) -> None:
    model.frames.allocate(64, 10_000)
    model.codec.allocate(65)
    frames, prompts = (make(model.frames, TapeRecorder()) for make in (BucketedFrames, BucketedPrompts))
    codec = BucketedCodec(model.codec, 64, TapeRecorder(), GPU)
    work = {
        "chunk": codec._work(ChunkShape(CALL_STREAMS, CALL_FRAMES[0])),
        "frame": frames._work(FrameShape(64, SPANS[-1], True)),
        "prompt": prompts._work(PromptShape(PROMPTS[-1])),
    }
    for what, run in work.items():
        before, model.memory.peak = model.memory.held, 0
        run()
        taken = model.memory.peak - before
        assert 0 < taken <= POOL_BYTES <= ACTIVATIONS_BYTES, what
    assert codec._codec.call_bytes(CALL_STREAMS, CALL_FRAMES[0]) >= model.memory.peak - before


def test_a_small_gpu_has_four_rows_and_a_large_one_no_more_than_it_needs(model: Model, name: str) -> None:
    # Of 6 and 8 GB, what a desktop leaves.
    small_bytes = {"0.6B": 5.7, "1.7B": 7.6}[name] * GIB
    size = fit(model.needs, int(small_bytes - CONTEXT_BYTES - model.weights), 0.5)
    assert size is not None
    assert size.rows >= 4
    large = [fit(model.needs, int(free * GIB - CONTEXT_BYTES - model.weights), 0.5) for free in (24, 80)]
    assert large == [Size(64, 32_768)] * 2
    together = sum(model.needs.parts(model.weights, Size(64, 32_768)).values())
    assert together < 16 * GIB


def test_the_documented_table_is_the_arithmetic(model: Model, name: str) -> None:
    document = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    rows = [row for row in table_after("GPU memory", document) if row[0] == name]
    assert rows == [documented(model, name, count) for count in DOCUMENTED_ROWS]


def documented(model: Model, name: str, rows: int) -> list[str]:
    """A line of the table: model, rows, seconds that they hold, GiB by part and together."""
    size = Size(rows, wanted_positions(rows))
    parts = model.needs.parts(model.weights, size)
    gib = [f"{value / GIB:.2f}" for value in (*parts.values(), sum(parts.values()))]
    return [name, str(rows), f"{size.positions:,}", *gib]


def test_without_memory_there_is_no_size_and_with_less_there_are_fewer_rows() -> None:
    needs = Needs(row=10 * 2**20, position=100_000)
    assert fit(needs, 2**28, 0.5) is None
    sizes = [fit(needs, free << 30, 0.5) for free in (1, 2, 4, 8, 16)]
    rows = [size.rows for size in sizes if size]
    assert rows == sorted(rows)
    assert rows[0] < rows[-1] == 64
    asked = fit(needs, 8 << 30, 0.5, rows=5)
    assert asked is not None
    assert asked.rows == 5
