"""The extensions of /v1/audio/speech, under vLLM-Omni's names, through the whole path."""

import base64
import contextlib
import gzip
import threading
import wave
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any, ClassVar

import httpx2
import pytest

from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_BYTES
from tests.support.listening import decode, transcribe, word_error_rate, words
from tests.support.replies import check, wav
from tests.support.stack import Frontend, Stack, qwen_stack
from tests.support.types import CheckpointOf

SPEECH = "/v1/audio/speech"
GOOD = {"model": "tts-1", "voice": "alloy", "input": "Hello.", "response_format": "pcm"}
SENTENCE = "There is nothing better than a good cup of coffee."
RECORDING = wav(2)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: CheckpointOf) -> Iterator[Stack]:
    """Tiny Qwen3-TTS checkpoints; the built-in speakers are a 0.6B's, which does not support instructions."""
    with qwen_stack(tmp_path_factory.mktemp("qwen"), tiny_checkpoint) as running:
        yield running


def speak(frontend: Frontend, **fields: Any) -> httpx2.Response:
    return httpx2.post(frontend.url + SPEECH, json={**GOOD, **fields}, timeout=120)


def data_url(file: bytes) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(file).decode()}"


def test_a_recording_as_data_url_or_base64_speaks_as_the_clone_route_does(qwen: Stack) -> None:
    form = {"input": "Hello.", "response_format": "pcm", "seed": "3", "ref_text": "Good day."}
    routed = httpx2.post(
        f"{qwen.frontend.url}{SPEECH}/clone", data=form, files={"ref_audio": ("voice.wav", RECORDING)}, timeout=120
    )
    assert routed.status_code == 200
    encoded = base64.b64encode(RECORDING).decode()
    for ref_audio in (data_url(RECORDING), encoded, encoded.rstrip("=")):
        reply = speak(qwen.frontend, ref_audio=ref_audio, ref_text="Good day.", seed=3)
        assert reply.content == routed.content
    embedding_alone = speak(
        qwen.frontend, ref_audio=encoded, ref_text="Good day.", seed=3, x_vector_only_mode=True, task_type="Base"
    )
    assert embedding_alone.status_code == 200
    assert embedding_alone.content != routed.content


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"task_type": "Clone"}, "task_type", "invalid_value"),
        ({"task_type": "Base"}, "ref_audio", "missing_required_parameter"),
        ({"task_type": "VoiceDesign"}, "instructions", None),
        ({"task_type": "CustomVoice", "ref_audio": data_url(RECORDING)}, "ref_audio", None),
        ({"task_type": "VoiceDesign", "model": "hibari", "instructions": "x"}, "model", "unsupported_task"),
        ({"ref_audio": data_url(RECORDING), "model": "hibari"}, "model", "unsupported_task"),
        ({"ref_audio": data_url(RECORDING), "x_vector_only_mode": False}, "ref_text", "missing_required_parameter"),
        ({"ref_audio": data_url(RECORDING), "x_vector_only_mode": "yes"}, "x_vector_only_mode", "invalid_type"),
        ({"ref_audio": data_url(b"no recording")}, "ref_audio", "invalid_reference_audio"),
        ({"ref_audio": "data:audio/wav,plain"}, "ref_audio", "invalid_reference_audio"),
        ({"ref_audio": "/etc/hosts."}, "ref_audio", "invalid_value"),
        ({"ref_audio": 7}, "ref_audio", "invalid_type"),
        ({"ref_audio": "file:///etc/hosts"}, "ref_audio", "ref_audio_host_not_allowed"),
        ({"ref_audio": "http://127.0.0.1:1/voice.wav"}, "ref_audio", "ref_audio_host_not_allowed"),
        ({"ref_audio": "https://[::1/voice.wav"}, "ref_audio", "ref_audio_host_not_allowed"),
        ({"max_new_tokens": 0}, "max_new_tokens", "invalid_value"),
        ({"max_new_tokens": 1.5}, "max_new_tokens", "invalid_type"),
        ({"sample_rate": 12345}, "sample_rate", "invalid_value"),
        ({"sample_rate": 16000, "response_format": "opus"}, "sample_rate", "invalid_value"),
        ({"instructions": "x" * 4097}, "instructions", "string_above_max_length"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_extension_that_cannot_be_served_is_a_400_that_names_it(
    stack: Stack, fields: dict[str, Any], param: str, code: str | None
) -> None:
    check(speak(stack.frontend, **fields), 400, param, code)


@pytest.mark.parametrize("task", ["CustomVoice", "VoiceDesign"])
def test_the_task_chooses_the_model(qwen: Stack, task: str) -> None:
    reply = speak(qwen.frontend, task_type=task, instructions="A deep voice.", max_new_tokens=5)
    assert reply.status_code == 200
    # Only the built-in speakers of a 0.6B take no instructions: the header tells which model has spoken.
    assert ("x-speech-warning" in reply.headers) == (task == "CustomVoice")


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_the_longest_audio_counts_in_frames(qwen: Stack, frames: int) -> None:
    reply = speak(qwen.frontend, input=SENTENCE, max_new_tokens=frames)
    assert len(reply.content) == frames * FRAME_SAMPLES * SAMPLE_BYTES


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
def test_a_wav_has_the_requested_rate_and_the_same_words(stack: Stack, rate_hz: int) -> None:
    reply = speak(stack.frontend, input=SENTENCE, response_format="wav", sample_rate=rate_hz, seed=7)
    plain = speak(stack.frontend, input=SENTENCE, seed=7)
    with wave.open(BytesIO(reply.content)) as header:
        assert header.getframerate() == rate_hz
    seconds = len(plain.content) / SAMPLE_BYTES / 24_000
    assert (len(reply.content) - 44) / SAMPLE_BYTES / rate_hz == pytest.approx(seconds, abs=0.001)
    heard = transcribe(decode(reply.content, "wav"))
    # Telephone bandwidth costs the recogniser some words, as it would a listener.
    assert word_error_rate(heard, words(SENTENCE)) <= (0.5 if rate_hz == 8_000 else 0.1), heard


@pytest.mark.parametrize("response_format", ["pcm", "flac"])
def test_other_formats_without_a_rate_of_their_own_follow_it_too(stack: Stack, response_format: str) -> None:
    plain, changed = (
        speak(stack.frontend, response_format=response_format, sample_rate=rate_hz, seed=7)
        for rate_hz in (24_000, 48_000)
    )
    if response_format == "pcm":
        assert len(changed.content) == 2 * len(plain.content)
    else:
        assert len(decode(changed.content, "flac")) == pytest.approx(len(decode(plain.content, "flac")), abs=8)


def test_a_header_says_that_instructions_are_ignored_where_they_are(stack: Stack, qwen: Stack) -> None:
    told = speak(stack.frontend, instructions="Whisper.")
    assert "instructions" in told.headers["x-speech-warning"]
    assert "x-speech-warning" not in speak(stack.frontend).headers
    events = speak(qwen.frontend, instructions="Whisper.", stream_format="sse", max_new_tokens=2)
    assert "instructions" in events.headers["x-speech-warning"]


def test_instructions_that_are_obeyed_need_no_warning(
    tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: CheckpointOf
) -> None:
    large = {"custom_voice_model_id": str(tiny_checkpoint("custom_voice", True))}
    environment = {name.upper(): path for name, path in large.items()}
    environment |= {"DEVICE": "cpu", "WEIGHTS": "full", "OMP_NUM_THREADS": "1", "RUNAWAY_GUARD": "off"}
    with Stack(tmp_path_factory.mktemp("large"), environment, idle_timeout=0, **large) as running:
        reply = speak(running.frontend, instructions="Whisper.", max_new_tokens=2)
        assert reply.status_code == 200
        assert "x-speech-warning" not in reply.headers


class _Recordings(BaseHTTPRequestHandler):
    """A host of recordings, some of them unusable."""

    answers: ClassVar[dict[str, tuple[int, bytes]]] = {
        "/voice.wav": (200, RECORDING),
        "/large.wav": (200, b"\0" * (10 * 1024 * 1024 + 1)),
        "/packed.wav": (200, gzip.compress(b"\0" * (64 * 1024 * 1024))),
        "/moved.wav": (302, b""),
    }

    def do_GET(self) -> None:
        status, body = self.answers.get(self.path, (404, b""))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location", "/voice.wav")
        if self.path == "/packed.wav":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a reader that has read enough leaves
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def recordings() -> Iterator[int]:
    """The port of a host of recordings on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Recordings)
    thread = threading.Thread(target=server.serve_forever, name="recordings")
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def fetching(qwen: Stack, recordings: int) -> Iterator[Frontend]:
    """A frontend that may fetch from that host, by its address."""
    with beside(qwen, ref_audio_hosts=f"127.0.0.1:{recordings}") as frontend:
        yield frontend


def beside(stack: Stack, **settings: Any) -> Frontend:
    """Another frontend before the same Triton, set up the same but for `settings`."""
    same = stack.frontend.settings.model_dump(exclude_unset=True, exclude={"port"})
    return Frontend(**{**same, **settings})


def test_a_recording_is_fetched_from_a_listed_host(fetching: Frontend, recordings: int) -> None:
    fetched = speak(fetching, ref_audio=f"http://127.0.0.1:{recordings}/voice.wav", seed=3)
    sent = speak(fetching, ref_audio=data_url(RECORDING), seed=3)
    assert fetched.status_code == 200
    assert fetched.content == sent.content


@pytest.mark.parametrize("path", ["large.wav", "moved.wav", "absent.wav"])
def test_a_fetch_has_bounds_and_follows_nothing(fetching: Frontend, recordings: int, path: str) -> None:
    check(speak(fetching, ref_audio=f"http://127.0.0.1:{recordings}/{path}"), 400, "ref_audio", "fetch_failed")


def test_a_fetched_file_is_never_unpacked(fetching: Frontend, recordings: int) -> None:
    address = f"http://127.0.0.1:{recordings}/packed.wav"
    # 64 MiB unpacked would be refused for its size; the 64 KiB that came are no recording.
    check(speak(fetching, ref_audio=address), 400, "ref_audio", "invalid_reference_audio")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:{port}", "user@127.0.0.1:{port}", "127.0.0.2:{port}"])
def test_nothing_is_fetched_from_any_other_host_or_port(fetching: Frontend, recordings: int, host: str) -> None:
    address = f"http://{host.format(port=recordings)}/voice.wav"
    check(speak(fetching, ref_audio=address), 400, "ref_audio", "ref_audio_host_not_allowed")


def test_a_listed_name_that_leads_to_a_private_address_is_refused(qwen: Stack, recordings: int) -> None:
    with beside(qwen, ref_audio_hosts=f"localhost:{recordings}") as frontend:
        reply = speak(frontend, ref_audio=f"http://localhost:{recordings}/voice.wav")
    check(reply, 400, "ref_audio", "fetch_failed")
