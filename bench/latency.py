"""First audio of a ten-second utterance, compared with qwen-tts's time to all of it, since it returns no audio earlier.

    python -m bench.latency --checkpoint FOLDER [--frames 125] [--rounds 5] [--lengths 5 20] [--full-rounds 1]

The engine is given the whole utterance, and the client disconnects after the first samples. qwen-tts takes most of a
minute for such an utterance on two cores, so a round measures two short ones, `--lengths`, and its time to 125 frames
is extrapolated linearly. `--full-rounds` measures the whole utterance at the end, to report the error of the
extrapolation.
"""

from functools import partial
from typing import Any

from bench.report import parser, table, write
from bench.rounds import in_turns, medians, timed_s
from bench.side import Side
from bench.utterances import begin, finish, hang_up
from speech_engines.base import Engine

FIRST_AUDIO = "first audio"


def main() -> None:
    options = parser(__doc__, "latency", frames=125)
    options.add_argument("--lengths", type=int, nargs=2, default=[5, 20])
    options.add_argument("--full-rounds", type=int, default=1)
    options.add_argument("--dtype", default="bfloat16")
    options = options.parse_args()
    ours = Side("batching", options.checkpoint, options.dtype, options.threads, streams=1)
    theirs = Side("reference", options.checkpoint, options.dtype, options.threads, streams=1)
    sides = {FIRST_AUDIO: partial(ours.measure_s, first_audio_s, options.frames)}
    sides |= {f"qwen-tts {n}": partial(theirs.measure_s, whole_s, n) for n in options.lengths}
    seconds = in_turns(sides, options.rounds)
    full_s = [theirs.measure_s(whole_s, options.frames) for _ in range(options.full_rounds)]
    ours.close()
    theirs.close()
    middle = medians(seconds)
    (few_s, many_s), (few, many) = (middle[f"qwen-tts {n}"] for n in options.lengths), options.lengths
    frame_s = (many_s - few_s) / (many - few)
    all_s = many_s + (options.frames - many) * frame_s
    first_s = middle[FIRST_AUDIO]
    heads = ("", "seconds", "of qwen-tts")
    rows = [("qwen-tts, all audio", all_s, 1.0), ("first audio", first_s, first_s / all_s)]
    print(table(heads, [*rows, *(("qwen-tts, measured", each_s, each_s / all_s) for each_s in full_s)]))
    measurements: dict[str, Any] = {
        "seconds": seconds,
        "qwen_tts_s_per_frame": frame_s,
        "qwen_tts_all_audio_s": all_s,
        "qwen_tts_all_audio_measured_s": full_s,
    }
    note = f"qwen-tts's time to {options.frames} frames is the line through its times to {few} and {many} frames"
    figures = {
        "first_audio_s": first_s,
        "first_audio_share": first_s / all_s,
        "qwen_tts_per_first_audio": all_s / first_s,
    }
    write(options, figures, measurements, note)


def first_audio_s(engine: Engine, frames: int) -> float:
    sink = begin(engine, frames)
    sink.wait_heard()
    hang_up([sink])
    return sink.first_s


def whole_s(engine: Engine, frames: int) -> float:
    return timed_s(lambda: finish([begin(engine, frames)], frames))


if __name__ == "__main__":
    main()
