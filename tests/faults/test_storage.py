"""Slow storage delays only requests that store."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from filelock import FileLock

from openai_frontend.audio.encoders import wav_bytes
from tests.openai_frontend.audio.signals import to_pcm, utterance
from tests.support.fake_triton import FakeTriton
from tests.support.stack import Frontend
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def triton() -> Iterator[FakeTriton]:
    with FakeTriton("hibari") as running:
        yield running


def test_a_lock_that_another_process_holds_delays_neither_speech_nor_lists_nor_health(
    triton: FakeTriton, tmp_path: Path
) -> None:
    voices = tmp_path / "voices"
    recording = wav_bytes(to_pcm(utterance(2.0)))
    with (
        Frontend(triton_url=triton.url, default_model="hibari", idle_timeout=0, voices_folder=str(voices)) as frontend,
        ThreadPoolExecutor(8) as threads,
        FileLock(voices / ".lock") as lock,
    ):

        def store(number: int) -> int:
            form = {"name": f"speaker {number}", "language": "en"}
            files = {"recording": ("recording.wav", recording, "audio/wav")}
            url = f"{frontend.url}/v1/audio/voice_consents"
            return httpx2.post(url, data=form, files=files, timeout=100).status_code

        stores = [threads.submit(store, number) for number in range(8)]
        eventually(lambda: len(list((voices / "consents").glob(".new-*"))) >= 4, "stores wait for the lock")
        for response_format in ("mp3", "opus", "flac"):
            body = {"input": "Hello.", "response_format": response_format}
            assert httpx2.post(f"{frontend.url}/v1/audio/speech", json=body, timeout=60).status_code == 200
        assert httpx2.get(f"{frontend.url}/v1/audio/voices", timeout=60).status_code == 200
        assert httpx2.get(f"{frontend.url}/v1/audio/voice_consents", timeout=60).json()["data"] == []
        assert frontend.health()["status"] == "ok"
        assert not any(each.done() for each in stores)
        lock.release()
        assert {each.result() for each in stores} == {200}
