"""Audio of the batching engine compared with qwen-tts, including the codec, both through the Engine protocol.

    python -m bench.engine --checkpoint FOLDER [--streams 1 8 16] [--frames 25] [--rounds 5]
        [--weights full int8] [--instructions avx2] [--external "COMMAND ..."]

Both have the same weights in the same precision (talker and predictor `--dtype`, codec float32), the same text and the
same forced number of frames. A round synthesizes one utterance with qwen-tts (it has no batching, so this is also its
rate for many, one after another), and 1, 8 and 16 together with the engine. Timed from the first request to the last
sample. For the overhead alone, use a tiny checkpoint (size tiny-endless), `--streams 1 --threads 1` and `--output`.

`--weights full int8` measures both kinds of weights in the same rounds. `--instructions avx2` restricts both sides to
that instruction set. `--external` is the command line of another engine that generates an utterance of `--frames`
frames: each round runs it once, including its load.
"""

from collections.abc import Callable
from functools import partial

from bench import external, instructions
from bench.report import parser, table, write
from bench.rounds import in_turns, medians
from bench.side import Side
from bench.utterances import FRAMES_PER_SECOND, speak_s

QWEN_TTS, EXTERNAL = "qwen-tts", "external"


def main() -> None:
    options = parser(__doc__, "engine", frames=25)
    options.add_argument("--streams", type=int, nargs="+", default=[1, 8, 16])
    options.add_argument("--dtype", default="bfloat16")
    options.add_argument("--weights", nargs="+", choices=("full", "int8"), default=["full"])
    options.add_argument("--instructions", choices=instructions.CHOICES)
    options.add_argument("--external", help="command line of another engine")
    options = options.parse_args()
    instructions.restrict(options.instructions)

    def side(engine: str, streams: int, weights: str) -> Side:
        return Side(engine, options.checkpoint, options.dtype, options.threads, streams, weights)

    ours = {weights: side("batching", max(options.streams), weights) for weights in options.weights}
    theirs = side("reference", 1, "auto")
    sides: dict[str, Callable[[], float]] = {QWEN_TTS: lambda: theirs.measure_s(speak_s, 1, options.frames)}
    for streams in options.streams:
        for weights, engine in ours.items():
            sides[name_of(streams, weights)] = partial(engine.measure_s, speak_s, streams, options.frames)
    if options.external:
        sides[EXTERNAL] = partial(external.run_s, options.external)
    seconds = in_turns(sides, options.rounds)
    for each in (theirs, *ours.values()):
        each.close()
    counts = {name_of(streams, weights): streams for streams in options.streams for weights in ours}
    rates = {name: counts.get(name, 1) * options.frames / median_s for name, median_s in medians(seconds).items()}
    ratios = {name: rate / rates[QWEN_TTS] for name, rate in rates.items()}
    print(table(("streams", "frames/s", "x real time", "x qwen-tts"), rows(rates, ratios)))
    figures = {f"streams_{name.replace(' ', '_')}": ratio for name, ratio in ratios.items() if name in counts}
    for streams in options.streams if len(ours) > 1 else ():
        figures[f"int8_of_full_streams_{streams}"] = rates[name_of(streams, "int8")] / rates[name_of(streams, "full")]
    write(options, figures, {"frames_per_s": rates, "seconds": seconds})


def name_of(streams: int, weights: str) -> str:
    return str(streams) if weights == "full" else f"{streams} {weights}"


def rows(rates: dict[str, float], ratios: dict[str, float]) -> list[tuple[object, ...]]:
    return [(name, rate, rate / FRAMES_PER_SECOND, ratios[name]) for name, rate in rates.items()]


if __name__ == "__main__":
    main()
