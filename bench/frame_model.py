"""Decode speed of talker and code predictor, compared with qwen-tts on the same weights in the same run.

    python -m bench.frame_model --checkpoint FOLDER [--streams 1 8 16] [--frames 25] [--rounds 5]

Both sides get the same prompt, sample with the checkpoint's settings and generate the same forced number of frames.
Timed from the end of the prefill to the last code, without the codec. A round measures each side once: qwen-tts with
one utterance (it has no batching, so this is also its rate for many, one after another), ours with 1, 8 and 16 streams
together.
"""

import json
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.report import parser, table, write
from bench.rounds import in_turns, medians
from bench.utterances import FRAMES_PER_SECOND
from speech_engines.qwen3_tts.model.cache_ranges import CacheRange
from speech_engines.qwen3_tts.model.frame_model import FrameModel, Sampling
from speech_engines.qwen3_tts.upstream import import_upstream

PROMPT_POSITIONS = 24
TRAILING_FRAMES = 16
QWEN_TTS = "qwen-tts"


def main() -> None:
    options = parser(__doc__, "frame_model", frames=25)
    options.add_argument("--streams", type=int, nargs="+", default=[1, 8, 16])
    options.add_argument("--device", default="cpu")
    options.add_argument("--dtype", default="bfloat16", help="data type of the weights, on both sides")
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    prompt, frames = random_prompt(options.checkpoint), options.frames
    ours, theirs = load_ours(options), load_upstream(options.checkpoint, options.device, options.dtype)
    sides: dict[str, Callable[[], float]] = {QWEN_TTS: lambda: time_upstream(theirs, prompt, frames)}
    sides |= {str(rows): lambda rows=rows: time_ours(ours, rows, prompt, frames) for rows in options.streams}  # type: ignore[misc]
    seconds = in_turns(sides, options.rounds)
    rates = {
        name: (1 if name == QWEN_TTS else int(name)) * frames / median_s for name, median_s in medians(seconds).items()
    }
    ratios = {name: rate / rates[QWEN_TTS] for name, rate in rates.items()}
    rows = [(name, rate, rate / FRAMES_PER_SECOND, ratios[name]) for name, rate in rates.items()]
    print(table(("streams", "frames/s", "x real time", "x qwen-tts"), rows))
    stats = {f"streams_{name}": ratio for name, ratio in ratios.items() if name != QWEN_TTS}
    write(options, stats, {"frames_per_s": rates, "seconds": seconds})


def random_prompt(folder: Path) -> tuple[Tensor, Tensor]:
    """embeds [T, H] and trailing [N, H]"""
    hidden = json.loads((folder / "config.json").read_text(encoding="utf-8"))["talker_config"]["hidden_size"]
    generator = torch.Generator().manual_seed(0)
    positions = (PROMPT_POSITIONS, TRAILING_FRAMES)
    return torch.randn(sum(positions), hidden, generator=generator).split(positions)  # type: ignore[return-value]


# Ours


def load_ours(options: Namespace) -> FrameModel:
    dtype, positions = getattr(torch, options.dtype), PROMPT_POSITIONS + options.frames
    slots = max(options.streams)
    return FrameModel.load(options.checkpoint, options.device, dtype, slots, slots * positions)


def time_ours(model: FrameModel, rows: int, prompt: tuple[Tensor, Tensor], frames: int) -> float:
    embeds, trailing = (tensor.to(model.device) for tensor in prompt)
    for slot in range(rows):
        sampling = Sampling(0.9, 50, 1.0, 1.05, False, 0.9, 50, 1.0, False, seed=slot, min_frames=frames + 1)
        positions = model.cache_positions // model.slots
        model.begin(slot, CacheRange(slot * positions, positions), trailing[: frames - 1], sampling)
        model.extend(slot, embeds)
    synchronize(model.device)
    start_s = time.perf_counter()
    for _ in range(frames):
        codes, _ = model.step(range(rows))
    codes.cpu()
    return time.perf_counter() - start_s


# qwen-tts


def load_upstream(folder: Path, device: str, dtype: str) -> Any:
    model_class, _ = import_upstream()
    upstream = model_class.from_pretrained(
        str(folder), dtype=getattr(torch, dtype), device_map=device, attn_implementation="sdpa"
    )
    talker = upstream.model.eval().talker
    talker.generation_config.pad_token_id = talker.config.codec_eos_token_id
    return talker


def time_upstream(talker: Any, prompt: tuple[Tensor, Tensor], frames: int) -> float:
    """As `Qwen3TTSForConditionalGeneration.generate` calls it, except for the forced length."""
    eos, vocab = talker.config.codec_eos_token_id, talker.config.vocab_size
    embeds, trailing = (tensor[None].to(talker.device, talker.dtype) for tensor in prompt)
    done_s: list[float] = []  # the head runs once after the prefill and once after each frame

    def note(*_: object) -> None:
        synchronize(talker.device)
        done_s.append(time.perf_counter())

    handle = talker.codec_head.register_forward_hook(note)
    try:
        talker.generate(
            inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=talker.device),
            trailing_text_hidden=trailing, tts_pad_embed=trailing[:, -1:], eos_token_id=eos,
            min_new_tokens=frames + 1, max_new_tokens=frames + 1, do_sample=True, top_k=50, top_p=1.0, temperature=0.9,
            subtalker_dosample=True, subtalker_top_k=50, subtalker_top_p=1.0, subtalker_temperature=0.9,
            repetition_penalty=1.05, suppress_tokens=[i for i in range(vocab - 1024, vocab) if i != eos],
            output_hidden_states=True, return_dict_in_generate=True,
        )  # fmt: skip
    finally:
        handle.remove()
    if len(done_s) != frames + 1:
        raise RuntimeError(f"qwen-tts made {len(done_s) - 1} frames, not {frames}")
    return done_s[-1] - done_s[0]


def synchronize(device: torch.device | str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
