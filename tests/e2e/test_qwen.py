"""Each Qwen3-TTS variant through the whole path, on tiny random checkpoints of the real format.

Their audio is noise, so tests check its length, its rate, its dependencies, and errors.
"""

import io
from collections.abc import Iterator
from typing import Any

import av
import httpx2
import numpy as np
import pytest
import soundfile

from client.triton_inputs import to_infer_inputs
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.models import SPEECH_BATCH
from speech_protocol.request import SpeechRequest
from tests.support.listening import decode
from tests.support.stack import Stack, qwen_stack
from tests.support.types import CheckpointOf

MAX_AUDIO_S = 0.8  # ten frames
FRAMES = 10
SPEECH = "/v1/audio/speech"
CLONE = "/v1/audio/speech/clone"


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: CheckpointOf) -> Iterator[Stack]:
    """A stack whose Qwen3-TTS models serve tiny checkpoints, with the hub unreachable."""
    folder = tmp_path_factory.mktemp("qwen")
    with qwen_stack(folder, tiny_checkpoint, max_audio_seconds=MAX_AUDIO_S) as running:
        yield running


def speak(stack: Stack, **fields: Any) -> httpx2.Response:
    body = {"input": "Hello there.", "response_format": "pcm", **fields}
    return httpx2.post(stack.frontend.url + SPEECH, json=body, timeout=120)


def clone(stack: Stack, name: str, recording: bytes, **fields: str) -> httpx2.Response:
    form = {"input": "Hello there.", "response_format": "pcm", **fields}
    files = {"ref_audio": (name, recording)}
    return httpx2.post(stack.frontend.url + CLONE, data=form, files=files, timeout=120)


def recording(container: str, codec: str, *, hz: float = 220.0, rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    """Two seconds of a voice-like tone."""
    time_s = np.arange(2 * rate_hz) / rate_hz
    tone = sum(np.sin(2 * np.pi * hz * n * time_s) / n for n in range(1, 6)) * np.hanning(len(time_s))
    samples = (0.3 * tone).astype(np.float32)
    file = io.BytesIO()
    if container == "wav":
        soundfile.write(file, samples, rate_hz, format="WAV")
        return file.getvalue()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate_hz
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    return file.getvalue()


WAV = recording("wav", "")


def assert_speech(reply: httpx2.Response) -> bytes:
    """The reply is audio of the right length, and not silent; its PCM."""
    assert reply.status_code == 200, reply.text
    assert len(reply.content) == FRAMES * FRAME_SAMPLES * SAMPLE_BYTES
    assert np.abs(decode(reply.content, "pcm")).max() > 0.001
    return reply.content


def test_a_built_in_speaker_speaks(qwen: Stack) -> None:
    assert_speech(speak(qwen, voice="ryan"))


def test_openai_names_are_the_speakers_they_are_mapped_to(qwen: Stack) -> None:
    def spoken(voice: str) -> list[bytes]:
        # With random weights, voices are similar: with one seed in twenty, two of them produce the same codes.
        return [assert_speech(speak(qwen, voice=voice, seed=seed)) for seed in range(4)]

    assert spoken("alloy") == spoken("ryan") != spoken("onyx")


def test_no_voice_at_all_is_the_default_one(qwen: Stack) -> None:
    assert assert_speech(speak(qwen, seed=5)) == assert_speech(speak(qwen, seed=5, voice="vivian"))


def test_the_language_reaches_the_model(qwen: Stack) -> None:
    german = assert_speech(speak(qwen, seed=5, language="German"))
    assert german == assert_speech(speak(qwen, seed=5, language="de"))
    assert german != assert_speech(speak(qwen, seed=5, language="auto"))


def test_a_script_of_one_language_chooses_it(qwen: Stack) -> None:
    text = "Привет, как дела?"
    assert assert_speech(speak(qwen, seed=5, input=text)) == assert_speech(
        speak(qwen, seed=5, input=text, language="russian")
    )


def test_words_choose_the_language_where_the_script_is_shared_unless_the_request_names_one(qwen: Stack) -> None:
    text = "Les enfants jouent dans le jardin derrière la maison, et il fait beau."
    guessed = assert_speech(speak(qwen, seed=5, input=text))
    assert guessed == assert_speech(speak(qwen, seed=5, input=text, language="french"))
    assert guessed != assert_speech(speak(qwen, seed=5, input=text, language="english"))


# Nine sentences of 57 characters: a short first segment of one, a second of five, and the rest.
LONG_TEXT = "The children are playing in the garden behind the house. " * 9


def test_a_long_text_is_spoken_in_segments_each_up_to_the_limit(qwen: Stack) -> None:
    replies = [
        speak(qwen, voice="ryan", input=LONG_TEXT, seed=5),
        speak(qwen, voice="ryan", input=LONG_TEXT, seed=5),
        clone(qwen, "voice.wav", WAV, input=LONG_TEXT, seed="5"),
    ]
    for reply in replies:
        assert reply.status_code == 200, reply.text
        samples = len(reply.content) // SAMPLE_BYTES
        assert samples == pytest.approx(3 * FRAMES * FRAME_SAMPLES + 2 * 0.45 * SAMPLE_RATE_HZ, rel=0.1)
    assert replies[0].content == replies[1].content


@pytest.mark.parametrize("response_format", ["mp3", "opus", "aac", "flac", "wav", "ogg"])
def test_every_format_carries_the_same_length(qwen: Stack, response_format: str) -> None:
    reply = speak(qwen, voice="ryan", response_format=response_format)
    assert reply.status_code == 200
    # Codecs that can declare no padding may add some to a clip this short.
    assert len(decode(reply.content, response_format)) == pytest.approx(FRAMES * FRAME_SAMPLES, rel=0.1)


@pytest.mark.parametrize(
    ("container", "codec", "rate_hz"),
    [("wav", "", 24_000), ("wav", "", 44_100), ("mp3", "libmp3lame", 44_100), ("ogg", "libopus", 48_000)],
)
def test_a_recording_of_any_usual_kind_is_cloned(qwen: Stack, container: str, codec: str, rate_hz: int) -> None:
    assert_speech(clone(qwen, f"voice.{container}", recording(container, codec, rate_hz=rate_hz)))


def test_a_clone_follows_its_recording_and_uses_the_transcript(qwen: Stack) -> None:
    low = assert_speech(clone(qwen, "low.wav", recording("wav", "", hz=110), seed="5"))
    high = assert_speech(clone(qwen, "high.wav", recording("wav", "", hz=330), seed="5"))
    with_text = assert_speech(clone(qwen, "low.wav", recording("wav", "", hz=110), seed="5", ref_text="La la la."))
    assert len({low, high, with_text}) == 3


def test_the_single_file_servers_name_of_the_upload_works(qwen: Stack) -> None:
    form = {"input": "Hello there.", "response_format": "pcm", "seed": "5"}
    reply = httpx2.post(qwen.frontend.url + CLONE, data=form, files={"file": ("voice.wav", WAV)}, timeout=120)
    assert assert_speech(reply) == assert_speech(clone(qwen, "voice.wav", WAV, seed="5"))


def test_a_description_makes_a_voice(qwen: Stack) -> None:
    old = assert_speech(speak(qwen, model="qwen3_tts_voice_design", instructions="An old man, hoarse.", seed=5))
    young = assert_speech(speak(qwen, model="qwen3_tts_voice_design", instructions="A young woman.", seed=5))
    assert old != young


def test_a_speaker_that_the_checkpoint_lacks_is_a_400_that_lists_its_speakers(qwen: Stack) -> None:
    reply = speak(qwen, voice="nobody")
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["param"], error["code"]) == ("voice", "unknown_speaker")
    assert "uncle_fu" in error["message"]


@pytest.mark.parametrize("model", ["qwen3_tts_custom_voice", "qwen3_tts_voice_design"])
def test_triton_itself_refuses_to_clone_on_a_model_that_cannot(qwen: Stack, model: str) -> None:
    # Past the frontend's own check: a direct client of Triton gets the same answer from the engine.
    from tritonclient.http import InferenceServerClient
    from tritonclient.utils import InferenceServerException

    client = InferenceServerClient(qwen.triton.url.partition("://")[2], network_timeout=120.0)
    for name in (model, SPEECH_BATCH):
        client.load_model(name)
    request = SpeechRequest("Hello.", instruct="x", ref_audio=b"\0\0" * SAMPLE_RATE_HZ)
    with pytest.raises(InferenceServerException, match=r"\[unsupported_task:ref_audio\].*qwen3_tts_base"):
        client.infer(SPEECH_BATCH, to_infer_inputs({"MODEL": model, **request.to_tensors()}))
    client.close()


def test_health_tells_the_checkpoint_and_device_and_keeps_the_single_file_servers_fields(qwen: Stack) -> None:
    assert_speech(speak(qwen, voice="ryan"))
    health = qwen.frontend.health()
    model = health["models"]["qwen3_tts_custom_voice"]
    assert (model["state"], model["device"]) == ("ready", "cpu")
    assert model["checkpoint"] == qwen.frontend.settings.custom_voice_model_id
    assert health["status"] == "ok"
    assert health["model_loaded"] is True
    assert health["model_id"] == model["checkpoint"]
    assert health["cuda"] is False
    assert {"vivian", "alloy"} <= set(health["voices"])
