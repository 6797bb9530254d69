"""Checkpoints as saved by fine-tuning tools: sharded weights, and a tokenizer in one file."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from speech_engines.base import Samples
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.request import SpeechRequest
from tests.speech_engines.conftest import spec_of
from tests.speech_engines.qwen3_tts.batching.test_batching_engine import recording
from tests.support.sinks import CollectingSink
from tests.support.types import CheckpointOf

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")

INDEX = "model.safetensors.index.json"


@pytest.fixture
def fine_tuned(tiny_checkpoint: CheckpointOf, tmp_path: Path) -> Path:
    """The tiny checkpoint that clones, in shards and with tokenizer.json alone."""
    from tokenizers import Tokenizer, models

    folder = Path(shutil.copytree(tiny_checkpoint("base"), tmp_path / "fine-tuned"))
    for part in (folder, folder / "speech_tokenizer"):
        shard(part, 3)
    added = json.loads((folder / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    whole = json.loads(
        Tokenizer(models.BPE.from_file(*(str(folder / f) for f in ("vocab.json", "merges.txt")))).to_str()
    )
    whole["added_tokens"] = [{"id": int(index), **token} for index, token in added.items()]
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "Qwen2Tokenizer"}')
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    return folder


def shard(folder: Path, count: int) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    cache_positions = {}
    for number in range(count):
        name = f"model-{number + 1:05}-of-{count:05}.safetensors"
        part = dict(list(tensors.items())[number::count])
        save_file(part, folder / name)
        cache_positions |= dict.fromkeys(part, name)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": cache_positions}))


def clone(folder: Path) -> Samples:
    from speech_engines.qwen3_tts.factory import create_engine

    environment = {"BASE_MODEL_ID": str(folder), "DEVICE": "cpu", "DTYPE": "float32", "MAX_BATCH": "1"}
    engine = create_engine(spec_of("base"), environment)
    try:
        sink = CollectingSink()
        request = SpeechRequest("Hello.", ref_audio=recording(180), ref_text="La.", seed=1, max_audio_seconds=0.4)
        engine.submit(request, sink)
        sink.result()
        return sink.samples
    finally:
        engine.close()


def test_a_fine_tuned_checkpoint_in_shards_says_what_the_published_one_says(
    fine_tuned: Path, tiny_checkpoint: CheckpointOf
) -> None:
    np.testing.assert_allclose(clone(fine_tuned), clone(tiny_checkpoint("base")), atol=1e-4)


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "shard": (lambda f: (f / "model-00002-of-00003.safetensors").unlink(), r"lacks model-00002-of-00003\.safetensors"),
    "codec": (lambda f: (f / "speech_tokenizer" / INDEX).unlink(), r"lacks speech_tokenizer/model"),
    "tokenizer": (lambda f: (f / "tokenizer.json").unlink(), r"lacks vocab\.json, merges\.txt"),
    "index": (lambda f: (f / INDEX).write_text("{"), r"index of the weights of .* can't be read"),
    "no map": (lambda f: (f / INDEX).write_text("[]"), r"index of the weights of .* can't be read"),
    "another folder": (
        lambda f: (f / INDEX).write_text('{"weight_map": {"talker.a": "../elsewhere.safetensors"}}'),
        r"index of the weights of .* can't be read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BREAKS)
def test_what_a_sharded_checkpoint_lacks_is_named(fine_tuned: Path, case: str) -> None:
    from speech_engines.qwen3_tts.checkpoint.checkpoint import open_checkpoint

    damage, message = BREAKS[case]
    damage(fine_tuned)
    with pytest.raises(SpeechError, match=message) as error:
        open_checkpoint(spec_of("base"), {"BASE_MODEL_ID": str(fine_tuned)})
    assert error.value.code is ErrorCode.CHECKPOINT_UNAVAILABLE
