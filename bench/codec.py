"""Codec decoding, compared with qwen-tts's decoder on the same weights in the same run.

    python -m bench.codec --checkpoint FOLDER [--frames 100] [--rounds 5] [--weights int8] [--instructions avx2]

qwen-tts in float32, and ours with that precision (`--weights full`) or with its large weights in fp16, as with
`WEIGHTS=int8`. `--instructions avx2` restricts both to that instruction set, except for MKL on AMD CPUs. A round
measures each way once: the whole utterance at once, in chunks of several sizes, and with eight streams together.
Streaming with qwen-tts's decoder means decoding 25 frames of context again with each chunk; only a few such chunks are
timed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import instructions
from bench.report import parser, table, write
from bench.rounds import in_turns, medians, timed_s
from bench.utterances import FRAMES_PER_SECOND
from speech_engines.qwen3_tts.codec.decoder import Codec

CONTEXT_FRAMES = 25
CONTEXT_CHUNK_FRAMES = 4
CONTEXT_CHUNKS = 3
CHUNK_FRAMES = (1, 2, 4, 12)
STREAMS = 8
WHOLE, QWEN_TTS = "whole", "qwen-tts, whole"
Way = tuple[int, Callable[[], object]]  # frames decoded by one call, all streams together


def main() -> None:
    options = parser(__doc__, "codec", frames=100)
    options.add_argument("--device", default="cpu")
    options.add_argument("--weights", choices=("full", "int8"), default="full")
    options.add_argument("--instructions", choices=instructions.CHOICES)
    options = options.parse_args()
    instructions.restart("bench.codec", options.instructions)
    instructions.restrict_fbgemm()
    torch.set_num_threads(options.threads)
    codes = torch.randint(0, 2048, (STREAMS, options.frames, 16), generator=torch.Generator().manual_seed(0))
    codes = codes.to(options.device)
    codec = Codec.load(options.checkpoint, torch.device(options.device), STREAMS, exact=options.weights == "full")
    ways = our_ways(codec, codes) | upstream_ways(load_upstream(options.checkpoint, options.device), codes[:1])
    sides = {name: lambda way=way: measure_ms(way, options.device) for name, way in ways.items()}
    milliseconds = in_turns(sides, options.rounds)
    middle = medians(milliseconds)
    rows = [
        (name, ms, 1e3 / FRAMES_PER_SECOND / ms, ms / middle[WHOLE], middle[QWEN_TTS] / ms)
        for name, ms in middle.items()
    ]
    print(table(("", "ms/frame", "x real time", "of whole", "x qwen-tts"), rows))
    stats = {"whole": middle[QWEN_TTS] / middle[WHOLE]}
    for size in CHUNK_FRAMES:  # compared with decoding at once, ours and qwen-tts's
        stats[f"cost_{size}_frame_chunks"] = middle[chunks_of(size)] / middle[WHOLE]
        stats[f"{size}_frame_chunks_of_qwen_tts"] = middle[chunks_of(size)] / middle[QWEN_TTS]
    write(options, stats, {"median_ms_per_frame": middle, "ms_per_frame": milliseconds})


def chunks_of(frames: int) -> str:
    return f"{frames}-frame chunks"


def our_ways(codec: Codec, codes: Tensor) -> dict[str, Way]:
    frames = codes.shape[1]

    def in_chunks(codes: Tensor, size: int) -> None:
        slots = range(len(codes))  # with the engine's names
        for stream in range(len(codes)):
            codec.reset(stream)
        for chunk in codes.split(size, 1):
            codec.decode(slots, chunk)

    ways: dict[str, Way] = {WHOLE: (frames, lambda: codec.decode_whole(codes[:1]))}
    for size in CHUNK_FRAMES:
        ways[chunks_of(size)] = (frames, lambda size=size: in_chunks(codes[:1], size))
    top_k_only = max(1, frames // STREAMS)
    ways[f"{chunks_of(1)}, {STREAMS} streams"] = (top_k_only * STREAMS, lambda: in_chunks(codes[:, :top_k_only], 1))
    return ways


def load_upstream(folder: Path, device: str) -> Any:
    from speech_engines.qwen3_tts.upstream import import_upstream

    import_upstream()  # suppresses the package's output
    from qwen_tts.core import Qwen3TTSTokenizerV2Model

    return Qwen3TTSTokenizerV2Model.from_pretrained(folder / "speech_tokenizer", dtype=torch.float32).decoder.to(device)


def upstream_ways(decoder: Any, codes: Tensor) -> dict[str, Way]:
    by_codebook = codes.transpose(1, 2)  # [1, 16, T]
    window = by_codebook[..., : CONTEXT_FRAMES + CONTEXT_CHUNK_FRAMES]

    @torch.inference_mode()
    def whole() -> None:
        decoder(by_codebook)

    @torch.inference_mode()
    def with_context() -> None:
        for _ in range(CONTEXT_CHUNKS):
            decoder(window)

    chunks = f"qwen-tts, {chunks_of(CONTEXT_CHUNK_FRAMES)}"
    return {
        QWEN_TTS: (codes.shape[1], whole),
        chunks: (CONTEXT_CHUNKS * CONTEXT_CHUNK_FRAMES, with_context),
    }


def measure_ms(way: Way, device: str) -> float:
    """Milliseconds for each frame."""
    frames, run = way

    def run_to_the_end() -> None:
        run()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)

    return timed_s(run_to_the_end) / frames * 1e3


if __name__ == "__main__":
    main()
