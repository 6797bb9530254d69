"""The codec, however its work is split and batched, compared with upstream's decoder in one call."""

import gc
import importlib.util
import random
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.types import CheckpointOf

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")

FRAMES: Final = 210  # almost three attention windows
TOLERANCE: Final = 1e-4


@pytest.fixture(scope="module")
def folder(tiny_checkpoint: CheckpointOf) -> Path:
    return tiny_checkpoint("custom_voice")


@pytest.fixture(scope="module")
def codec(folder: Path) -> Any:
    import torch

    from speech_engines.qwen3_tts.codec.decoder import Codec

    return Codec.load(folder, torch.device("cpu"), max_streams=4)


@pytest.fixture(scope="module")
def codes() -> Any:
    """[4, FRAMES, 16] codes: an utterance a row."""
    return random_codes(4, FRAMES)


@pytest.fixture(scope="module")
def expected(folder: Path, codes: Any) -> Any:
    """[4, FRAMES * 1920] upstream's samples."""
    import torch
    from qwen_tts.core import Qwen3TTSTokenizerV2Model

    model = Qwen3TTSTokenizerV2Model.from_pretrained(folder / "speech_tokenizer", dtype=torch.float32)
    with torch.inference_mode():
        return model.decoder(codes.transpose(1, 2))[:, 0]


def random_codes(streams: int, frames: int) -> Any:
    import torch

    return torch.randint(0, 2048, (streams, frames, 16), generator=torch.Generator().manual_seed(frames))


def decode_in(codec: Any, codes: Any, sizes: Iterable[int], stream: int = 0) -> Any:
    """One utterance, [T, 16] codes -> [T * 1920] samples, in chunks of these sizes until nothing is left."""
    import torch

    codec.reset(stream)
    samples, start = [], 0
    for size in sizes:
        samples.append(codec.decode([stream], codes[None, start : start + size])[0])
        start += size
        if start >= len(codes):
            break
    return torch.cat(samples)


def assert_same(samples: Any, expected: Any) -> None:
    assert samples.shape == expected.shape
    assert abs(samples - expected).max() < TOLERANCE


def test_whole_utterances_are_upstreams(codec: Any, codes: Any, expected: Any) -> None:
    assert codec.frame_samples == 1920
    assert expected.std() > 0.05
    assert_same(codec.decode_whole(codes), expected)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 12, 25, 100, FRAMES])
def test_chunks_of_one_size_are_upstreams_samples(codec: Any, codes: Any, expected: Any, size: int) -> None:
    assert_same(decode_in(codec, codes[0], [size] * FRAMES), expected[0])


@pytest.mark.parametrize("seed", range(4))
def test_chunks_of_random_sizes_are_upstreams_samples(codec: Any, codes: Any, expected: Any, seed: int) -> None:
    choose = random.Random(seed)
    sizes = [choose.choice((1, 1, 2, 3, 4, 5, 8, 13, 40, 90)) for _ in range(FRAMES)]
    assert_same(decode_in(codec, codes[seed], sizes, stream=seed), expected[seed])


def test_a_batch_of_streams_at_any_positions_is_each_by_itself(codec: Any, codes: Any, expected: Any) -> None:
    import torch

    choose = random.Random(7)
    positions = [0] * 4
    samples: list[list[Any]] = [[] for _ in range(4)]
    for stream in range(4):
        codec.reset(stream)
    while behind := [stream for stream in range(4) if positions[stream] < FRAMES]:
        chosen = choose.sample(behind, choose.randint(1, len(behind)))  # in any order, some left out
        size = min(choose.choice((1, 2, 3, 6, 11)), *(FRAMES - positions[stream] for stream in chosen))
        chunk = torch.stack([codes[stream, positions[stream] : positions[stream] + size] for stream in chosen])
        for stream, part in zip(chosen, codec.decode(torch.tensor(chosen), chunk), strict=True):
            samples[stream].append(part)
            positions[stream] += size
    assert_same(torch.stack([torch.cat(parts) for parts in samples]), expected)


def test_a_slot_is_used_again_after_a_reset_and_others_are_not_disturbed(codec: Any, codes: Any, expected: Any) -> None:
    import torch

    half = FRAMES // 2
    for stream in (1, 2):
        codec.reset(stream)
    before = codec.decode([1, 2], codes[:2, :half])
    codec.reset(1)
    anew = codec.decode([1], codes[2:3, :half])
    codec.decode_whole(codes[3:])
    after = codec.decode([2], codes[1:2, half:])
    assert_same(anew[0], expected[2, : half * 1920])
    assert_same(torch.cat((before[1], after[0])), expected[1])


@pytest.fixture
def all_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """All weights are treated as large."""
    monkeypatch.setattr("speech_engines.qwen3_tts.codec.layers._LARGE", 0)
    monkeypatch.setattr("speech_engines.qwen3_tts.model.weights._SMALL_NUMBERS", 0)


@pytest.mark.usefixtures("all_large")
@pytest.mark.parametrize("size", [1, 5, 30])
def test_large_weights_give_the_same_samples(folder: Path, codes: Any, expected: Any, size: int) -> None:
    import torch

    from speech_engines.qwen3_tts.codec.decoder import Codec

    codec = Codec.load(folder, torch.device("cpu"), max_streams=1)
    assert_same(decode_in(codec, codes[0], [size] * FRAMES), expected[0])


@pytest.mark.usefixtures("all_large")
def test_large_weights_in_fp16_are_off_by_less_than_50_db_however_the_work_is_split(
    folder: Path, codes: Any, expected: Any
) -> None:
    import torch

    from speech_engines.qwen3_tts.codec.decoder import Codec

    codec = Codec.load(folder, torch.device("cpu"), max_streams=2, exact=False)
    whole = codec.decode_whole(codes)
    error = (whole - expected).norm() / expected.norm()
    assert 10 ** (-100 / 20) < error < 10 ** (-50 / 20)  # it is in fp16
    for size in (1, 5, 30):
        assert_same(decode_in(codec, codes[0], [size] * FRAMES, stream=1), whole[0])


@pytest.mark.parametrize("cached", [0, 20_000])
def test_convolutions_that_take_some_streams_after_the_other_give_the_same_samples(
    codec: Any, codes: Any, expected: Any, monkeypatch: pytest.MonkeyPatch, cached: int
) -> None:
    from speech_engines.qwen3_tts.codec import layers as codec_layers

    monkeypatch.setattr(codec_layers, "_CACHED", cached)
    frames = 40  # of which each sample is made of what came before
    assert_same(codec.decode_whole(codes[:, :frames]), expected[:, : frames * 1920])


@pytest.mark.parametrize("reference_frames", [1, 30, 100])
@pytest.mark.parametrize("streams", [[0, 1, 2], [2, 0, 3]])
def test_streams_restored_from_one_state_go_on_as_if_they_had_decoded_the_reference(
    codec: Any, codes: Any, expected: Any, reference_frames: int, streams: list[int]
) -> None:
    import torch

    reference, rest = codes[0, :reference_frames], codes[0, reference_frames:]
    state = codec.state_after(reference)
    restored, decoded, again = streams
    for stream in streams:  # what was there before must not be heard
        codec.reset(stream)
        codec.decode([stream], codes[1:2, :90])
    codec.restore(restored, state)
    codec.reset(decoded)
    codec.decode([decoded], reference[None])
    first = codec.decode([restored, decoded], torch.stack([rest[:50]] * 2))
    codec.restore(again, state)  # the stream before it has gone on, the state has not
    second = codec.decode([again], rest[None])
    tail = codec.decode([decoded, restored], torch.stack([rest[50:]] * 2))
    start = reference_frames * 1920
    for samples in (torch.cat((first[0], tail[1])), torch.cat((first[1], tail[0])), second[0]):
        assert_same(samples, expected[0, start:])


def test_a_state_is_made_in_another_thread_while_streams_decode(codec: Any, codes: Any, expected: Any) -> None:
    import torch

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(codec.state_after, codes[1, :100])
        assert_same(decode_in(codec, codes[0], [1] * FRAMES), expected[0])
        state = future.result(timeout=60)
    codec.restore(3, state)
    assert_same(codec.decode(torch.tensor([3]), codes[1:2, 100:])[0], expected[1, 100 * 1920 :])


def test_a_state_holds_no_more_than_later_frames_can_see(codec: Any, codes: Any) -> None:
    short, window, long = (codec.state_after(codes[0, :frames]) for frames in (10, 71, FRAMES))
    assert short.size_bytes < window.size_bytes == long.size_bytes
    for state in (short, long):
        tensors = (state.histories, state.ring)
        assert state.size_bytes == sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def test_samples_never_leave_the_range_of_audio(codec: Any) -> None:
    samples = codec.decode_whole(random_codes(1, 3))
    assert samples.dtype.is_floating_point
    assert abs(samples).max() <= 1


def test_long_utterances_stay_exact_far_from_their_start(codec: Any, codes: Any) -> None:
    """What is far back is forgotten: the same frames after another start give the same samples."""
    import torch

    tail = codes[0, :200]
    late = decode_in(codec, torch.cat((random_codes(1, 1000)[0], tail)), [200] * 6)
    # The window of 8 layers reaches back 8 x 71 frames in all; this checkpoint has 2.
    early = decode_in(codec, torch.cat((codes[1, :30], tail)), [50] * 9)
    assert_same(late[-20 * 1920 :], early[-20 * 1920 :])


def test_memory_does_not_grow_with_the_utterance(codec: Any) -> None:
    import torch

    def held_bytes() -> int:
        gc.collect()
        tensors = [thing for thing in gc.get_objects() if type(thing) is torch.Tensor]
        return sum({tensor.data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())

    frame = random_codes(1, 1)
    codec.reset(0)
    codec.decode([0], frame)
    before = held_bytes()
    for _ in range(500):
        codec.decode([0], frame)
    assert held_bytes() == before


def test_loading_and_decoding_import_neither_transformers_nor_qwen_tts(folder: Path) -> None:
    script = """
import sys
from pathlib import Path
import torch
from speech_engines.qwen3_tts.codec.decoder import Codec

torch.set_num_threads(1)
codec = Codec.load(Path(sys.argv[1]), torch.device("cpu"), 1)
assert codec.decode([0], torch.zeros(1, 1, 16, dtype=torch.int64)).shape == (1, 1920)
assert not {"transformers", "qwen_tts"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
