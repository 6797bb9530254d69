"""Long input: split into segments that are synthesized concurrently and played in order, with a limited look-ahead."""

import contextlib
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import httpx2
import numpy as np
import psutil
import pytest

from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_text.sentences import split_sentences
from tests.support.listening import Samples, decode, transcribe, word_error_rate, words
from tests.support.slow_reader import SlowReader
from tests.support.stack import Gate, Stack
from tests.support.waiting import eventually

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm", "ogg")
FRAME_BYTES = FRAME_SAMPLES * SAMPLE_BYTES


def scripted(name: str, *scripts: dict[str, object], mark: str = "[pause:0s]", **fields: object) -> dict[str, object]:
    """A request whose segments, NAME-0 and so on, do as their scripts say: a pause mark parts two segments."""
    texts = [json.dumps({"name": f"{name}-{number}", **script}) for number, script in enumerate(scripts)]
    return {"model": "scripted", "input": f" {mark} ".join(texts), "response_format": "pcm", **fields}


def begun(stack: Stack, name: str) -> list[str]:
    return [line.split()[0].removeprefix(f"{name}-") for line in lines(stack, name) if line.endswith(" begins")]


def lines(stack: Stack, name: str) -> list[str]:
    return [line for line in stack.script_log() if line.startswith(name)]


def pending(stack: Stack) -> int:
    return int(stack.frontend.health()["pending_requests"])


@contextlib.contextmanager
def streamed(stack: Stack, request: dict[str, object]) -> Iterator[Iterator[bytes]]:
    with (
        httpx2.Client(base_url=stack.frontend.url, timeout=60) as client,
        client.stream("POST", "/v1/audio/speech", json=request) as reply,
    ):
        assert reply.status_code == 200, reply.read()
        yield reply.iter_raw()


def post(stack: Stack, request: dict[str, object]) -> httpx2.Response:
    return httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=request, timeout=60)


def test_the_first_audio_waits_for_no_later_segment(stack: Stack, name: str, gate: Gate) -> None:
    request = scripted(name, {"chunks": 3, "gate": str(gate)}, {"chunks": 2, "gate": str(gate), "gate_before": 1})
    with streamed(stack, request) as pieces:
        first = next(pieces)
        assert first
        # The first segment is not even complete.
        assert f"{name}-0 chunk 2" not in stack.script_log()
        gate.open()
        assert len(first + b"".join(pieces)) == 5 * FRAME_BYTES


def test_segments_are_spoken_side_by_side_and_heard_in_order(stack: Stack, name: str) -> None:
    tones_hz = (200, 400, 800, 1200)
    chunks = (60, 2, 30, 1)
    scripts = [{"chunks": count, "tone_hz": hz} for count, hz in zip(chunks, tones_hz, strict=True)]
    samples = decode(post(stack, scripted(name, *scripts)).content, "pcm")
    log = lines(stack, name)
    assert log.index(f"{name}-1 ends 2") < log.index(f"{name}-0 ends 60"), "the second ended before the first"
    assert len(samples) == sum(chunks) * FRAME_SAMPLES
    ends = np.cumsum(chunks)[:-1] * FRAME_SAMPLES
    assert [tone_hz(part) for part in np.split(samples, ends)] == list(tones_hz)


def tone_hz(samples: Samples) -> float:
    spectrum = np.abs(np.fft.rfft(samples))
    return float(np.argmax(spectrum)) * SAMPLE_RATE_HZ / len(samples)


@pytest.mark.parametrize("response_format", FORMATS)
def test_every_format_is_one_file_over_all_segments(stack: Stack, name: str, response_format: str) -> None:
    request = scripted(name, *[{"chunks": 10}] * 5, mark="[pause:80ms]", response_format=response_format)
    samples = decode(post(stack, request).content, response_format)
    assert len(samples) == pytest.approx((5 * 10 + 4) * FRAME_SAMPLES, rel=0.05)


def test_the_usage_is_the_sum_over_the_segments(stack: Stack, name: str) -> None:
    reply = post(stack, scripted(name, *[{"chunks": 7}] * 4, stream_format="sse"))
    done = json.loads(reply.text.strip().rpartition("data:")[2])
    assert done["usage"] == {"input_tokens": 4, "output_tokens": 28, "total_tokens": 32}


def test_speed_goes_over_segments_and_pauses_alike(stack: Stack, name: str) -> None:
    request = scripted(name, {"chunks": 10}, {"chunks": 10}, mark="[pause:1600ms]", speed=2.0)
    assert len(post(stack, request).content) == 20 * FRAME_BYTES


# 100 s of silence, far more than the buffers of a socket hold: it stands between a slow reader and what follows.
LONG_PAUSE = "[pause:10s]" * 10
LONG_PAUSE_BYTES = 100 * SAMPLE_RATE_HZ * SAMPLE_BYTES


def test_a_slow_reader_holds_back_the_start_of_further_segments(stack: Stack, name: str) -> None:
    request = scripted(name, *[{"chunks": 2}] * 7, mark=LONG_PAUSE)
    with SlowReader(stack.frontend, request) as reader:
        assert reader.read(1)
        eventually(lambda: f"{name}-2 ends 2" in stack.script_log(), "two segments run ahead")
        # The engine is idle and serves other requests, and still the fourth segment has not begun.
        assert post(stack, scripted(f"{name}-other", {"chunks": 20})).status_code == 200
        assert begun(stack, name)[:3] == ["0", "1", "2"]
        assert f"{name}-3 begins" not in stack.script_log()
        reader.read(2 * FRAME_BYTES + LONG_PAUSE_BYTES)
        eventually(lambda: f"{name}-3 ends 2" in stack.script_log(), "the fourth begins when the second is read")
        assert f"{name}-5 begins" not in stack.script_log()
        rest = reader.read()
    assert 1 + len(rest) == 6 * (2 * FRAME_BYTES) + 5 * LONG_PAUSE_BYTES


def test_at_capacity_a_book_has_one_row_like_every_request(stack: Stack, name: str) -> None:
    with contextlib.ExitStack() as readers:
        for number in range(4):
            request = scripted(f"{name}-guest{number}", {"chunks": 1}, {"chunks": 1}, mark=LONG_PAUSE)
            assert readers.enter_context(SlowReader(stack.frontend, request)).read(1)
        with SlowReader(
            stack.frontend, scripted(f"{name}-book", {"chunks": 1}, {"chunks": 1}, mark=LONG_PAUSE)
        ) as reader:
            assert reader.read(1)
            assert post(stack, scripted(f"{name}-other", {"chunks": 20})).status_code == 200
            assert begun(stack, f"{name}-book") == ["0"]
            assert 1 + len(reader.read()) == 2 * FRAME_BYTES + LONG_PAUSE_BYTES


def test_a_later_segment_waits_where_the_queue_is_full(stack: Stack, name: str, gate: Gate) -> None:
    gated = {"chunks": 2, "gate": str(gate)}
    texts = scripted(name, {"chunks": 1}, gated, {"chunks": 1}, {"chunks": 1}, mark=LONG_PAUSE)
    with SlowReader(stack.frontend, texts) as reader, ThreadPoolExecutor(2) as threads:
        eventually(lambda: f"{name}-1 chunk 1" in stack.script_log(), "the engine stands at the gate")
        others = [threads.submit(post, stack, scripted(f"{name}-other{n}", {"chunks": 1})) for n in range(2)]
        eventually(lambda: pending(stack) == 3, "two others fill the queue")
        assert len(reader.read(FRAME_BYTES + LONG_PAUSE_BYTES + FRAME_BYTES))
        # The last segment has been asked for by now; it was refused as this one is.
        eventually(
            lambda: post(stack, scripted(f"{name}-refused", {"chunks": 1})).status_code == 503, "the queue is full"
        )
        gate.open()
        rest = reader.read()
        assert [other.result(timeout=60).status_code for other in others] == [200, 200]
    assert len(rest) == 3 * FRAME_BYTES + 2 * LONG_PAUSE_BYTES


def test_a_disconnect_frees_every_segment(stack: Stack, name: str) -> None:
    before = pending(stack)
    endless: dict[str, object] = {}
    with streamed(stack, scripted(name, {"chunks": 2}, endless, endless, endless)) as pieces:
        next(pieces)
        eventually(lambda: begun(stack, name) == ["0", "1", "2"], "two segments are under way")
    eventually(lambda: pending(stack) == before, "the frontend has let go of the request")
    eventually(lambda: len([line for line in lines(stack, name) if " ends " in line]) == 3, "the engine has, too")
    # Both rows of the engine are free, and the fourth segment was never sent to it.
    assert post(stack, scripted(f"{name}-next", {"chunks": 1}, {"chunks": 1})).status_code == 200
    assert begun(stack, name)[:3] == ["0", "1", "2"]
    assert f"{name}-3 begins" not in stack.script_log()


def test_a_failure_in_a_later_segment_ends_the_stream_when_it_is_due(stack: Stack, name: str) -> None:
    request = scripted(name, {"chunks": 30}, {"chunks": 9, "fail_after": 2}, {"chunks": 1}, stream_format="sse")
    reply = post(stack, request)
    assert reply.status_code == 200
    assert reply.text.count("speech.audio.delta") == 32
    assert "event: error" in reply.text
    assert "speech.audio.done" not in reply.text
    with pytest.raises(httpx2.RemoteProtocolError):
        post(stack, {**scripted(f"{name}-again", {"chunks": 3}, {"chunks": 9, "fail_after": 2})})


def test_a_failure_in_the_first_segment_is_a_clean_error_and_starts_no_other(stack: Stack, name: str) -> None:
    reply = post(stack, scripted(name, {"chunks": 3, "fail_after": 0}, {"chunks": 1}, mark="[pause:1s]"))
    assert reply.status_code == 500
    assert reply.json()["error"]["code"] == "engine_failure"
    assert begun(stack, name) == ["0"]


# Sentences that the recogniser knows in this voice; shuffled repeatedly, they make a book.
SENTENCES = (
    "There is nothing better than a good cup of coffee.",
    "The children are playing in the garden behind the house.",
    "My brother wants to buy a new car before the summer.",
    "She opened the window and looked at the mountains.",
    "We walked along the river until the evening.",
    "The teacher asked the students to open their books.",
    "They were waiting for the train to the city.",
    "The old man sat down under the tree and smiled.",
    "I would like to have dinner with you tomorrow.",
    "The weather was cold and it started to rain.",
    "The doctor told her to stay in bed for three days.",
    "Nobody knew where the money had gone.",
    "My sister bought a red dress for the wedding.",
    "He has been working in this hospital for seven years.",
    "The young woman was reading a newspaper in the kitchen.",
    "After lunch we went to the market to buy some fruit.",
    "You should listen to the radio in the morning.",
    "Many people came to the church on Sunday.",
    "It was difficult to find a place for the night.",
    "Her mother made a big cake for the birthday party.",
)
BOOK_CHARS = 12_000
MAX_WORD_ERRORS = 0.10
# The whole of it is 59 MB.
MAX_GROWTH_BYTES = 16 * 2**20
# The voice is silent for longer than this between two sentences, and for less within one.
MIN_PAUSE_SAMPLES = int(0.15 * SAMPLE_RATE_HZ)


def book() -> str:
    """20,000 characters in paragraphs of five sentences."""
    shuffle = random.Random(5)
    paragraphs: list[str] = []
    while len("\n\n".join(paragraphs)) < BOOK_CHARS:
        paragraphs.append(" ".join(shuffle.sample(SENTENCES, 5)))
    return "\n\n".join(paragraphs)


def speech(text: str, **fields: object) -> dict[str, object]:
    return {"model": "tts-1", "voice": "alloy", "input": text, "response_format": "pcm", "seed": 7, **fields}


def parted(samples: Samples) -> tuple[list[Samples], list[int]]:
    """The sounding parts of a recording, and the lengths in samples of the digital silences between them."""
    sounding = np.flatnonzero(samples)
    gaps = np.flatnonzero(np.diff(sounding) > MIN_PAUSE_SAMPLES)
    bounds = [0, *(sounding[gaps] + 1).tolist(), len(samples)]
    return [samples[begin:end] for begin, end in pairwise(bounds)], (np.diff(sounding)[gaps] - 1).tolist()


def test_a_book_streams_in_order_and_in_bounded_memory(stack: Stack, tmp_path: Path) -> None:
    text = book()
    sentences = [sentence.strip() for sentence in split_sentences(text)]
    process = psutil.Process()  # of the frontend and of this test
    assert post(stack, speech(SENTENCES[0])).status_code == 200
    before_bytes = process.memory_info().rss
    growth_bytes = 0
    recording = tmp_path / "book.pcm"
    with streamed(stack, speech(text)) as pieces, recording.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            growth_bytes = max(growth_bytes, process.memory_info().rss - before_bytes)
    assert recording.stat().st_size > 2 * MAX_GROWTH_BYTES
    assert growth_bytes < MAX_GROWTH_BYTES

    spoken, _ = parted(decode(recording.read_bytes(), "pcm"))
    assert len(spoken) == len(sentences)
    # Each in its position, as its length shows: a sentence takes about the same time anywhere.
    lengths = [len(samples) for samples in spoken]
    by_sentence: dict[str, list[int]] = {}
    for sentence, length in zip(sentences, lengths, strict=True):
        by_sentence.setdefault(sentence, []).append(length)
    usual = {sentence: np.median(found) for sentence, found in by_sentence.items()}
    assert np.corrcoef(lengths, [usual[sentence] for sentence in sentences])[0, 1] > 0.9
    # Recognition of all of it would take minutes: every twelfth sentence, from the beginning to the end.
    heard = [word for samples in spoken[::12] for word in transcribe(samples)]
    assert word_error_rate(heard, words(" ".join(sentences[::12]))) <= MAX_WORD_ERRORS, heard


# Some 600 characters: three segments.
PARAGRAPH = " ".join(SENTENCES[:12])


def pcm(stack: Stack, text: str, **fields: object) -> bytes:
    reply = post(stack, speech(text, **fields))
    assert reply.status_code == 200, reply.content
    return reply.content


def test_the_same_seed_gives_the_same_audio_over_many_segments(stack: Stack) -> None:
    assert pcm(stack, PARAGRAPH) == pcm(stack, PARAGRAPH)
    assert pcm(stack, PARAGRAPH) != pcm(stack, PARAGRAPH, seed=8)


def test_the_first_segment_sounds_as_it_does_alone(stack: Stack) -> None:
    alone, followed = pcm(stack, SENTENCES[0]), pcm(stack, f"{SENTENCES[0]} [pause:1s] {SENTENCES[0]}")
    voiced_bytes = (int(np.flatnonzero(np.abs(decode(alone, "pcm")) > 0.01)[-1]) + 1) * SAMPLE_BYTES
    assert followed.startswith(alone[:voiced_bytes])
    # The second one has noise of its own.
    assert alone[voiced_bytes // 2 : voiced_bytes] not in followed[voiced_bytes:]


THAI = "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e04\u0e23\u0e31\u0e1a"


@pytest.mark.parametrize(
    "pattern", ["{0} [pause:1s] {2} [pause:1s] {1}", "{2} [pause:1s] {0} {1}", "{0} {1} [pause:1s] {2}"]
)
def test_a_passage_that_the_model_cannot_pronounce_is_left_out_and_the_rest_is_spoken(
    stack: Stack, pattern: str
) -> None:
    heard = transcribe(decode(pcm(stack, pattern.format(*SENTENCES[:2], THAI)), "pcm"))
    assert word_error_rate(heard, words(f"{SENTENCES[0]} {SENTENCES[1]}")) <= MAX_WORD_ERRORS, heard


@pytest.mark.parametrize("unreadable", ["1" * 37, "\u2460Mr. Smith"], ids=["37 digits", "a digit in a circle"])
def test_a_sentence_on_which_the_embedded_voice_fails_is_left_out_and_the_rest_is_spoken(
    stack: Stack, unreadable: str
) -> None:
    for pattern in ("{0} It is {2}. {1}", "{0} [pause:1s] {2} [pause:1s] {1}"):
        heard = transcribe(decode(pcm(stack, pattern.format(*SENTENCES[:2], unreadable)), "pcm"))
        assert word_error_rate(heard, words(f"{SENTENCES[0]} {SENTENCES[1]}")) <= MAX_WORD_ERRORS, heard
    error = post(stack, speech("1" * 37)).json()["error"]
    assert (error["code"], error["param"]) == ("unspeakable_text", "input")


@pytest.mark.parametrize("text", [f"{{}} [pause:1s] {THAI}", "{} It is " + "1" * 37 + "."])
def test_events_say_at_their_end_that_something_was_left_out(stack: Stack, text: str) -> None:
    reply = post(stack, speech(text.format(SENTENCES[0]), stream_format="sse"))
    done = json.loads(reply.text.strip().splitlines()[-1].removeprefix("data: "))
    assert done["type"] == "speech.audio.done"
    assert "skipped" in done["warnings"][0]
    plain = post(stack, speech(SENTENCES[0], stream_format="sse"))
    assert "warnings" not in json.loads(plain.text.strip().splitlines()[-1].removeprefix("data: "))


def test_a_text_of_such_passages_only_is_a_400(stack: Stack) -> None:
    error = post(stack, speech(f"{THAI} [pause:1s] {THAI}")).json()["error"]
    assert (error["code"], error["param"]) == ("unspeakable_text", "input")


def test_a_pause_mark_is_that_much_silence_and_no_word(stack: Stack) -> None:
    text = f"{SENTENCES[0]} [pause:{{}}] {SENTENCES[1]}"
    short, long = (decode(pcm(stack, text.format(pause)), "pcm") for pause in ("500ms", "2.5s"))
    assert len(long) - len(short) == 2 * SAMPLE_RATE_HZ
    parts, pauses = parted(short)
    assert len(parts) == 2
    assert pauses[0] == pytest.approx(0.5 * SAMPLE_RATE_HZ, abs=0.07 * SAMPLE_RATE_HZ)
    assert word_error_rate(transcribe(short), words(f"{SENTENCES[0]} {SENTENCES[1]}")) <= MAX_WORD_ERRORS


def test_pauses_at_the_beginning_and_the_end_are_kept(stack: Stack) -> None:
    samples = decode(pcm(stack, f"[pause:2s] {SENTENCES[0]} [pause:3s]"), "pcm")
    sounding = np.flatnonzero(samples)
    assert sounding[0] == pytest.approx(2 * SAMPLE_RATE_HZ, abs=0.07 * SAMPLE_RATE_HZ)
    assert len(samples) - sounding[-1] == pytest.approx(3 * SAMPLE_RATE_HZ, abs=0.07 * SAMPLE_RATE_HZ)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[pause:1s]", "nothing to speak"),
        ("[pause:1s] ... [pause:500ms] —", "nothing to speak"),
        ("Hello [pause:11s] there.", "[pause:11s]"),
        ("Hello there. " + "[pause:10s]" * 61, "610 s"),
        ("x" * 100_001, "100001 characters"),
    ],
    ids=["one pause", "pauses and marks", "a long pause", "many pauses", "too long"],
)
def test_a_text_that_cannot_be_spoken_is_a_400_that_says_why(stack: Stack, text: str, says: str) -> None:
    reply = post(stack, speech(text))
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "input"
    assert says in reply.json()["error"]["message"]
