"""The lists, over HTTP, with the embedded voice and models that cannot be loaded."""

from typing import Any

import httpx2

from speech_protocol.languages import AUTO, LANGUAGES
from speech_protocol.models import QWEN3_TTS
from tests.support.fake_stack import FakeStack
from tests.support.replies import check
from tests.support.stack import Frontend

REASON = "Not installed here."
GOOD = {"model": "tts-1", "voice": "alloy", "input": "Hello there.", "seed": 7, "response_format": "pcm"}


def get(frontend: Frontend, path: str, **query: str) -> Any:
    reply = httpx2.get(frontend.url + path, params=query, timeout=30)
    assert reply.status_code == 200, reply.text
    return reply.json()


def embedded_only(stack: FakeStack) -> Frontend:
    unavailable = {spec.name: REASON for spec in QWEN3_TTS}
    return Frontend(triton_url=stack.triton.url, default_model="hibari", idle_timeout=0, unavailable_models=unavailable)


def test_the_lists_say_what_an_embedded_voice_alone_can_do(stack: FakeStack) -> None:
    with embedded_only(stack) as frontend:
        listed = get(frontend, "/v1/audio/voices")
        voices = {voice["id"]: voice for voice in listed["voices"]}
        models = {model["id"]: model for model in get(frontend, "/v1/models")["data"]}
        languages = get(frontend, "/v1/audio/languages")
        health = get(frontend, "/health")["models"]
    assert [name for name, voice in voices.items() if voice["available"] and "same_as" not in voice] == ["heart"]
    assert {"alloy", "vivian"} <= voices.keys()
    assert {voice["id"] for voice in listed["unavailable"]} == {"kore", "fenrir", "emma"}
    assert all(voice["reason"] for voice in listed["unavailable"])
    assert models["tts-1"]["available"]
    assert (models["tts-1"]["triton_model"], models["tts-1"]["languages"]) == ("hibari", ["english"])
    for spec in QWEN3_TTS:
        for entry in (models[spec.name], models[spec.default_checkpoint], health[spec.name]):
            assert (entry["available"], entry["reason"]) == (False, REASON)
    assert languages == {"languages": [AUTO, "english"], "models": {"hibari": ["english"]}}
    assert health["hibari"]["speakers"] == ["heart"]


def test_a_model_that_cannot_be_loaded_is_refused_with_the_reason(stack: FakeStack) -> None:
    with embedded_only(stack) as frontend:
        for fields in ({"model": "qwen3_tts_custom_voice"}, {"task_type": "VoiceDesign", "instructions": "Old."}):
            reply = httpx2.post(f"{frontend.url}/v1/audio/speech", json={**GOOD, **fields}, timeout=30)
            assert check(reply, 503, None, "checkpoint_unavailable") == REASON


def test_where_qwen_can_be_loaded_all_its_languages_are_listed(stack: FakeStack) -> None:
    languages = get(stack.frontend, "/v1/audio/languages")
    assert languages["languages"] == [AUTO, *LANGUAGES]
    assert languages["models"]["qwen3_tts_base"] == list(LANGUAGES)


def test_one_voice_is_listed_as_it_is_in_the_list(stack: FakeStack) -> None:
    for voice in get(stack.frontend, "/v1/audio/voices")["voices"]:
        assert get(stack.frontend, f"/v1/audio/voices/{voice['id']}") == voice


def test_the_list_may_be_for_one_model(stack: FakeStack) -> None:
    assert "heart" in get(stack.frontend, "/v1/audio/voices", model="hibari", legacy="true")["voices"]
    assert get(stack.frontend, "/v1/audio/voices", model="")["voices"]
    check(httpx2.get(f"{stack.frontend.url}/v1/audio/voices?model=tts-9"), 404, "model", "model_not_found")


def test_instructions_do_not_make_a_built_in_voice_a_designed_one(stack: FakeStack) -> None:
    with embedded_only(stack) as frontend:
        body = {**GOOD, "instructions": "Speak calmly."}
        assert httpx2.post(f"{frontend.url}/v1/audio/speech", json=body, timeout=60).status_code == 200
        metrics = httpx2.get(f"{frontend.url}/metrics", timeout=30).text
    assert 'tts_requests_total{code="",format="pcm",model="hibari",outcome="ok",voice_kind="builtin"} 1.0' in metrics
    assert 'voice_kind="design"' not in metrics
