"""No request, however hostile, blocks the event loop, which all clients share."""

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from openai_frontend.voices.library import Library, Origin
from openai_frontend.voices.records import VoiceType
from openai_frontend.voices.reference import Reference
from tests.openai_frontend.audio.signals import to_pcm, tone
from tests.support.fake_triton import FakeTriton
from tests.support.loop_cpu import measured, paging_s, reference_s
from tests.support.stack import Frontend
from tests.support.waiting import eventually

# Times the reference, a millisecond of Python or so, and times the paging of a body's bytes into fresh memory. The
# faults that this is about took seconds.
LIMIT = 20.0
BUFFERS = 3.0
VOICES = 1_000
LONG = 100_000
TEXTS = {
    "asterisks": "*" * LONG,
    "underscores and words": "_a" * (LONG // 2),
    "brackets": "[" * LONG,
    "pause marks that never close": "[pause:1" * (LONG // 8),
    "full stops": "." * LONG,
    "stops and quotes": '."' * (LONG // 2),
    "abbreviations": "Dr. " * (LONG // 4),
    "blank lines": "a\n\n" * (LONG // 3),
    "spaces": "a" + " " * (LONG - 2) + "b",
    "wide ligatures": "\ufdfa" * LONG,
    "combining marks": "a" + "\u0301" * (LONG - 1),
    "joined emoji": "\U0001f469\u200d" * (LONG // 2),
    "addresses": "http://" * (LONG // 7),
    "tags": "<" * LONG,
    "quotation marks": ">" * LONG,
    "backticks": "`" * LONG,
    "table rows": "|" * LONG,
    "numbers": "1." * (LONG // 2),
}


@pytest.fixture(scope="module")
def triton() -> Iterator[FakeTriton]:
    with FakeTriton("hibari", "qwen3_tts_base") as running:
        yield running


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of many voices, each a copy of the first."""
    folder = tmp_path_factory.mktemp("library")
    one = Library(folder, VOICES, 2**30)
    first = one.add_voice("voice 0", Reference.from_pcm(to_pcm(tone(220, 1.0))), Origin(VoiceType.AUDIO_SAMPLE))
    origin = folder / "voices" / first.id
    for number in range(1, VOICES):
        copy = origin.with_name(f"voice_{number:032x}")
        shutil.copytree(origin, copy)
        metadata = json.loads((copy / "metadata.json").read_text())
        (copy / "metadata.json").write_text(json.dumps({**metadata, "name": f"voice {number}"}))
    return folder


@pytest.fixture(scope="module")
def frontend(triton: FakeTriton, library: Path) -> Iterator[Frontend]:
    settings = {"default_model": "hibari", "idle_timeout": 0, "voices_folder": str(library), "text_cleanup": "markdown"}
    with Frontend(triton_url=triton.url, **settings) as running:
        # Imports and files opened at the first use do not count for any request.
        for body in ({"input": "Hello."}, {"input": "Hello. " * 500}, {"input": "Hello.", "voice": "voice 7"}):
            httpx2.post(f"{running.url}/v1/audio/speech", json=body, timeout=60)
        yield running


def post(frontend: Frontend, path: str = "/v1/audio/speech", **body: object) -> int:
    return httpx2.post(f"{frontend.url}{path}", json=body, timeout=100).status_code


def check_speed(frontend: Frontend, work: Callable[[], object], body_bytes: int = 0) -> None:
    """Call `work`; every callback of the loop must be short. Again if one was not: it may have been the machine,
    which takes time from a thread in the middle of a callback. The limit is measured before and after, since a machine
    that is shared changes its speed."""
    for last in (False, False, True):
        before_s = limit_s(body_bytes)
        with measured(frontend._thread) as cpu:
            work()
        allowed_s = max(before_s, limit_s(body_bytes))
        if cpu.worst_s <= allowed_s:
            return
        assert not last, f"{1000 * cpu.worst_s:.2f} ms, over {1000 * allowed_s:.2f}: {cpu.where}"


def limit_s(body_bytes: int) -> float:
    return LIMIT * reference_s() + BUFFERS * paging_s(body_bytes)


@pytest.mark.parametrize("what", TEXTS)
def test_a_long_text_of(frontend: Frontend, what: str) -> None:
    def work() -> None:
        assert post(frontend, input=TEXTS[what], response_format="pcm") in {200, 400}

    check_speed(frontend, work)


def test_a_recording_of_ten_mebibytes_in_json(frontend: Frontend) -> None:
    noise = base64.b64encode(os.urandom(10 * 2**20)).decode()
    check_speed(frontend, lambda: post(frontend, input="Hello.", ref_audio=noise), len(noise))


@pytest.mark.parametrize("path", ["/v1/audio/speech/clone", "/v1/audio/voices", "/v1/audio/voice_consents"])
def test_a_recording_of_ten_mebibytes_in_a_form(frontend: Frontend, path: str) -> None:
    noise = os.urandom(10 * 2**20 - 1000)
    form = {"input": "Hello.", "name": "somebody", "language": "en"}

    def work() -> None:
        files = dict.fromkeys(("ref_audio", "audio_sample", "recording"), ("a.wav", noise))
        name = {"clone": "ref_audio", "voices": "audio_sample", "voice_consents": "recording"}[path.rpartition("/")[2]]
        reply = httpx2.post(f"{frontend.url}{path}", data=form, files={name: files[name]}, timeout=100)
        assert reply.status_code == 400  # it is no audio

    check_speed(frontend, work, len(noise))


def test_a_recording_that_is_percent_encoded(frontend: Frontend) -> None:
    encoded = "data:," + "%41" * 4_000_000
    check_speed(frontend, lambda: post(frontend, input="Hello.", ref_audio=encoded), len(encoded))


@pytest.mark.parametrize("field", ["input", "model", "voice", "instructions", "response_format", "language", "consent"])
@pytest.mark.parametrize("filling", [" ", "\ufdfa", "a+"])
def test_a_field_of_megabytes_is_refused_by_its_length(frontend: Frontend, field: str, filling: str) -> None:
    body = {"input": "Hello.", field: "a" + filling * 3_000_000 + "b)"}

    def work() -> None:
        reply = httpx2.post(f"{frontend.url}/v1/audio/speech", json=body, timeout=100)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, field)
        assert len(reply.content) < 2_000

    check_speed(frontend, work, len(json.dumps(body)))


def test_a_thousand_voices_that_just_changed(frontend: Frontend, library: Path) -> None:
    def work() -> None:
        os.utime(library / "voices")
        for folder in (library / "voices").iterdir():
            os.utime(folder)  # all must be read again
        assert post(frontend, input="Hello.", voice=f"VOICE {VOICES - 1}") == 200
        listed = httpx2.get(f"{frontend.url}/v1/audio/voices", timeout=60).json()
        assert len(listed["data"]) > VOICES
        assert post(frontend, input="Hello.", voice="voice 1(2)+voice 2+voice 3") == 200

    check_speed(frontend, work)


def test_fifty_simultaneous_disconnects_in_compressed_streams(frontend: Frontend, triton: FakeTriton) -> None:
    body = {"input": json.dumps({"chunks": None}), "response_format": "mp3", "speed": 4.0}

    def hang_up(_: int) -> None:
        with (
            httpx2.Client(timeout=60) as client,
            client.stream("POST", f"{frontend.url}/v1/audio/speech", json=body) as reply,
        ):
            assert next(reply.iter_raw())

    def work() -> None:
        with ThreadPoolExecutor(50) as threads:
            list(threads.map(hang_up, range(50)))
        eventually(lambda: triton.active == 0, "every stream is cancelled", 60)

    check_speed(frontend, work)
