"""Turn a text file into one recording through Triton's `speech_batch`, several paragraphs at a time.

`python -m client.batch_synthesize book.txt book.wav`: paragraphs are parted by blank lines and joined with a pause.
Talks to Triton itself, so it needs no frontend; a model that is not loaded is loaded.
"""

import argparse
import json
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import tritonclient.http
from tritonclient.utils import InferenceServerException

from client.triton_inputs import to_infer_inputs
from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.control import headers, read_key
from speech_protocol.events import FinishReason
from speech_protocol.models import HIBARI, SPEECH_BATCH
from speech_protocol.request import SpeechRequest

with warnings.catch_warnings():
    # pydub warns where there is no ffmpeg; joining and writing wav needs none.
    warnings.simplefilter("ignore")
    from pydub import AudioSegment

LOAD_TIMEOUT_S = 900.0
REQUEST_TIMEOUT_S = 900


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    try:
        _run(options)
    except InferenceServerException as error:
        sys.exit(f"Triton refused: {error.message()}")
    except UnicodeDecodeError:
        sys.exit(f"{options.text} is not UTF-8 text.")
    except OSError as error:
        # One about a file names it.
        sys.exit(str(error) if error.filename else f"No connection to Triton at {options.triton}: {error}")


def synthesize(
    client: tritonclient.http.InferenceServerClient, model: str, requests: Sequence[SpeechRequest], concurrency: int
) -> Iterator[tuple[AudioSegment, str]]:
    """One recording a request, in order, and why it ended; at most `concurrency` requests are in flight."""
    calls: list[tritonclient.http.InferAsyncRequest] = []
    for request in requests:
        if len(calls) == concurrency:
            yield _recording(calls.pop(0))
        inputs = to_infer_inputs({"MODEL": model, **request.to_tensors()})
        calls.append(client.async_infer(SPEECH_BATCH, inputs, timeout=REQUEST_TIMEOUT_S * 1_000_000))
    for call in calls:
        yield _recording(call)


def join(segments: Sequence[AudioSegment], pause_ms: int) -> AudioSegment:
    """The recordings one after the other with a silence of `pause_ms` between them."""
    pause = AudioSegment.silent(pause_ms, frame_rate=SAMPLE_RATE_HZ)
    # Once, as bytes: adding segments would copy what is there for each of them.
    return _segment(pause.raw_data.join(segment.raw_data for segment in segments))


def split_paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, their line breaks folded."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def _run(options: argparse.Namespace) -> None:
    paragraphs = split_paragraphs(Path(options.text).read_text(encoding="utf-8"))
    if not paragraphs:
        sys.exit(f"{options.text} has no text.")
    requests = [
        SpeechRequest(text, language=options.language, speaker=options.speaker, seed=options.seed)
        for text in paragraphs
    ]
    segments = []
    with tritonclient.http.InferenceServerClient(
        options.triton.removeprefix("http://"), concurrency=options.concurrency, network_timeout=LOAD_TIMEOUT_S
    ) as client:
        for model in (options.model, SPEECH_BATCH):
            if not client.is_model_ready(model):
                print(f"loading {model}", flush=True)
                client.load_model(model, headers=headers(read_key()))
        recordings = synthesize(client, options.model, requests, options.concurrency)
        for number, (segment, reason) in enumerate(recordings, 1):
            print(f"{number}/{len(requests)}  {segment.duration_seconds:.1f} s", flush=True)
            if reason != FinishReason.STOP:
                print(f"warning: paragraph {number} is not complete ({reason})", file=sys.stderr, flush=True)
            segments.append(segment)
    book = join(segments, options.pause_ms)
    book.export(options.output, format="wav").close()
    print(f"{options.output}: {book.duration_seconds:.1f} s")


def _recording(call: tritonclient.http.InferAsyncRequest) -> tuple[AudioSegment, str]:
    result = call.get_result(timeout=REQUEST_TIMEOUT_S)
    return _segment(result.as_numpy("AUDIO").tobytes()), json.loads(result.as_numpy("STATS").item())["finish_reason"]


def _segment(data: bytes) -> AudioSegment:
    return AudioSegment(data, frame_rate=SAMPLE_RATE_HZ, sample_width=SAMPLE_BYTES, channels=1)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m client.batch_synthesize", description="Turn a text file into one wav file through Triton."
    )
    parser.add_argument("text", help="UTF-8 text, paragraphs parted by blank lines")
    parser.add_argument("output", help="the wav file to write")
    parser.add_argument("--triton", default="127.0.0.1:8000", help="host:port of Triton (default: %(default)s)")
    parser.add_argument("--model", default=HIBARI.name, help="Triton model (default: %(default)s)")
    parser.add_argument("--speaker", help="one of the model's speakers")
    parser.add_argument("--language", default="auto", help="language of the text (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="the same seed gives the same audio")
    parser.add_argument("--concurrency", type=int, default=8, help="requests in flight (default: %(default)s)")
    parser.add_argument("--pause-ms", type=int, default=400, help="silence between paragraphs (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.concurrency < 1:
        sys.exit(f"--concurrency is {options.concurrency}; it must be at least 1.")
    return options


if __name__ == "__main__":
    main()
