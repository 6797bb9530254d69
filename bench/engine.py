"""Audio of the batching engine compared with qwen-tts, including the codec, both through the Engine protocol.

    python -m bench.engine --checkpoint FOLDER [--streams 1 8 16] [--frames 25] [--rounds 5]

Both have the same weights in the same precision (talker and predictor `--dtype`, codec float32), the same text and the
same forced number of frames. A round synthesizes one utterance with qwen-tts (it has no batching, so this is also its
rate for many, one after another), and 1, 8 and 16 together with the engine. Timed from the first request to the last
sample. For the overhead alone, use a tiny checkpoint (size tiny-endless), `--streams 1 --threads 1` and `--output`.
"""

from collections.abc import Callable
from functools import partial

from bench.report import parser, table, write
from bench.rounds import in_turns, medians
from bench.side import Side
from bench.utterances import FRAMES_PER_SECOND, speak_s

QWEN_TTS = "qwen-tts"


def main() -> None:
    options = parser(__doc__, "engine", frames=25)
    options.add_argument("--streams", type=int, nargs="+", default=[1, 8, 16])
    options.add_argument("--dtype", default="bfloat16")
    options = options.parse_args()
    ours = Side("batching", options.checkpoint, options.dtype, options.threads, max(options.streams))
    theirs = Side("reference", options.checkpoint, options.dtype, options.threads, 1)
    sides: dict[str, Callable[[], float]] = {QWEN_TTS: lambda: theirs.measure_s(speak_s, 1, options.frames)}
    for streams in options.streams:
        sides[str(streams)] = partial(ours.measure_s, speak_s, streams, options.frames)
    seconds = in_turns(sides, options.rounds)
    ours.close()
    theirs.close()
    rates = {
        name: (1 if name == QWEN_TTS else int(name)) * options.frames / median_s
        for name, median_s in medians(seconds).items()
    }
    ratios = {name: rate / rates[QWEN_TTS] for name, rate in rates.items()}
    print(table(("streams", "frames/s", "x real time", "x qwen-tts"), rows(rates, ratios)))
    figures = {f"streams_{name}": ratio for name, ratio in ratios.items() if name != QWEN_TTS}
    write(options, figures, {"frames_per_s": rates, "seconds": seconds})


def rows(rates: dict[str, float], ratios: dict[str, float]) -> list[tuple[object, ...]]:
    return [(name, rate, rate / FRAMES_PER_SECOND, ratios[name]) for name, rate in rates.items()]


if __name__ == "__main__":
    main()
