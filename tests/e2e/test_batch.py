"""`speech_batch`: whole utterances over plain `tritonclient.http.infer`."""

import contextlib
import json
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.http
from tritonclient.utils import InferenceServerException

from client.triton_inputs import to_infer_inputs
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.models import SPEECH_BATCH
from speech_protocol.request import SpeechRequest
from tests.support.listening import transcribe, words
from tests.support.stack import Stack

TEXT = "There is nothing better than a good cup of coffee."


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[tritonclient.http.InferenceServerClient]:
    """A client of Triton itself, eight connections wide, with the models loaded by its repository API."""
    url = stack.triton.url.partition("://")[2]
    with contextlib.closing(tritonclient.http.InferenceServerClient(url, concurrency=8)) as client:
        for model in ("hibari", "scripted", SPEECH_BATCH):
            client.load_model(model)
        yield client
        client.unload_model(SPEECH_BATCH)


def infer(client: tritonclient.http.InferenceServerClient, model: str, request: SpeechRequest) -> np.ndarray:
    return audio_of(client.infer(SPEECH_BATCH, to_infer_inputs({"MODEL": model, **request.to_tensors()})))


def audio_of(reply: tritonclient.http.InferResult) -> np.ndarray:
    assert reply.as_numpy("SAMPLE_RATE").item() == SAMPLE_RATE_HZ
    audio = reply.as_numpy("AUDIO")
    assert audio.dtype == np.int16
    assert json.loads(reply.as_numpy("STATS").item())["audio_samples"] == len(audio)
    return audio


def test_the_audio_comes_back_as_one_binary_tensor_and_says_the_text(
    client: tritonclient.http.InferenceServerClient,
) -> None:
    audio = infer(client, "hibari", SpeechRequest(TEXT, seed=7))
    assert transcribe((audio / 32768).astype(np.float32)) == words(TEXT)


def test_every_input_of_the_contract_is_accepted(client: tritonclient.http.InferenceServerClient) -> None:
    full = SpeechRequest(
        TEXT,
        language="english",
        speaker="heart",
        instruct="calmly",
        ref_text="x",
        x_vector_only=False,
        seed=7,
        temperature=0.9,
        top_k=50,
        top_p=1.0,
        repetition_penalty=1.05,
        max_audio_seconds=1.0,
    )
    assert len(infer(client, "hibari", full)) == SAMPLE_RATE_HZ


def test_eight_requests_at_once_each_get_their_own_audio(client: tritonclient.http.InferenceServerClient) -> None:
    alone = {seed: infer(client, "hibari", SpeechRequest(TEXT, seed=seed)) for seed in range(4)}
    # The client belongs to one thread; its own asynchronous calls make the requests overlap.
    seeds = [number % 4 for number in range(16)]
    inputs = [to_infer_inputs({"MODEL": "hibari", **SpeechRequest(TEXT, seed=seed).to_tensors()}) for seed in seeds]
    calls = [client.async_infer(SPEECH_BATCH, tensors) for tensors in inputs]
    together = [audio_of(call.get_result(timeout=60)) for call in calls]
    for seed, audio in zip(seeds, together, strict=True):
        np.testing.assert_array_equal(audio, alone[seed])


@pytest.mark.parametrize(
    ("model", "request_", "status", "code"),
    [
        ("hibari", SpeechRequest(" "), "400", "[invalid_request:text]"),
        ("hibari", SpeechRequest("Hello.", speaker="nobody"), "400", "[unknown_speaker:speaker]"),
        ("hibari", SpeechRequest("Hello.", temperature=99.0), "400", "[invalid_request:temperature]"),
        (
            "nothing",
            SpeechRequest("Hello."),
            "404",
            "[model_not_found:model] There is no model 'nothing'. Use one of: hibari",
        ),
        ("../hibari", SpeechRequest("Hello."), "404", "[model_not_found:model]"),
        (
            "qwen3_tts_base",
            SpeechRequest("Hello."),
            "503",
            "[model_unavailable:model] The model 'qwen3_tts_base' is not",
        ),
        ("hibari", SpeechRequest("Hallo.", language="de"), "400", "[unsupported_language:language]"),
        ("scripted", SpeechRequest('{"name": "batch", "chunks": 3, "fail_after": 1}'), "500", "[engine_failure]"),
    ],
)
def test_a_failed_request_has_a_status_and_a_stable_code_and_the_next_one_works(
    client: tritonclient.http.InferenceServerClient, model: str, request_: SpeechRequest, status: str, code: str
) -> None:
    with pytest.raises(InferenceServerException) as error:
        infer(client, model, request_)
    assert error.value.status() == status
    assert str(error.value.message()).startswith(code)
    assert len(infer(client, "scripted", SpeechRequest('{"name": "batch", "chunks": 2}'))) == 2 * FRAME_SAMPLES


def test_the_decoupled_models_refuse_plain_infer(client: tritonclient.http.InferenceServerClient) -> None:
    # Why the façade exists; a Triton that lifts this makes it superfluous.
    with pytest.raises(InferenceServerException) as error:
        client.infer("hibari", to_infer_inputs(SpeechRequest(TEXT).to_tensors()))
    assert error.value.status() == "501"
