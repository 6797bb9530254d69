"""10,000 damaged requests: none causes a server error, and the next valid request works."""

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx2
import pytest

from tests.faults.test_stub import SOON_S
from tests.openai_frontend.audio.signals import record, voice, with_soundfile
from tests.support.stack import Stack

JSON_TYPE: Final = "application/json"
BODY: Final[dict[str, Any]] = {
    "model": "hibari",
    "input": "Hi.",
    "voice": "alloy",
    "response_format": "pcm",
    "speed": 1.0,
    "instructions": "Softly.",
    "stream_format": "audio",
    "language": "english",
    "seed": 7,
    "max_new_tokens": 5,
}
NASTY: Final[tuple[Any, ...]] = (
    *(None, True, -1, 0, 2**63, 10**400, 1e308, -0.0, "", " ", "\x00", "\ud800", "x" * 70_000, "../../etc/passwd"),
    *("nan", [], {}, [[]], {"id": None}, {"id": "x" * 999}, ["a"] * 999, {"a": {"b": {"c": []}}}, "💥" * 99, "%s%n{0}"),
)
RECORDINGS: Final = (
    with_soundfile(voice(150, 1.5), 24_000),
    with_soundfile(voice(150, 1.5), 24_000, "FLAC"),
    with_soundfile(voice(150, 1.5), 24_000, "OGG", "VORBIS"),
    *(record(*muxer, voice(150, 1.5), 24_000) for muxer in (("mp3", "libmp3lame"), ("ipod", "aac"), ("adts", "aac"))),
)
BOMBS: Final = (b"[" * 200_000, b'{"input":' * 50_000, b'{"speed": ' + b"9" * 9_000 + b"}", b"", b"\xff\xfe")
Request = tuple[str, str, bytes]  # path, content type, body


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("malformed")
    # A text that is valid by chance must not take long.
    bounds = {"max_input_chars": 100, "max_voices": 20}
    with Stack(folder, default_model="hibari", default_voice="alloy", idle_timeout=0, **bounds) as running:
        yield running


def odd_values(chance: random.Random) -> Request:
    body = {**BODY, **{name: chance.choice(NASTY) for name in chance.sample(sorted(BODY), chance.randint(1, 3))}}
    for name in chance.sample(sorted(body), chance.choice((0, 0, 1))):
        del body[name]
    return "/v1/audio/speech", JSON_TYPE, json.dumps(body).encode()


def damaged_json(chance: random.Random) -> Request:
    whole = json.dumps(BODY).encode()
    if chance.random() < 0.1:
        whole = chance.choice(BOMBS)
    return "/v1/audio/speech", chance.choice((JSON_TYPE, JSON_TYPE, "text/plain", "")), damaged(whole, chance)


def damaged_form(chance: random.Random) -> Request:
    fields = {"name": b"Eve", "input": b"Hi.", "audio_sample": b"RIFF0000", "ref_audio": b"ID3", "speed": b"1"}
    kept = chance.sample(sorted(fields), 3)
    body = form({name: damaged(fields[name], chance) for name in kept})
    path = chance.choice(("/v1/audio/voices", "/v1/audio/speech/clone", "/v1/audio/voice_consents"))
    return path, "multipart/form-data; boundary=x", damaged(body, chance)


def damaged_recording(chance: random.Random) -> Request:
    name = f"v{chance.getrandbits(64)}".encode()
    body = form({"name": name, "audio_sample": damaged(chance.choice(RECORDINGS), chance)})
    return "/v1/audio/voices", "multipart/form-data; boundary=x", body


def form(fields: dict[str, bytes]) -> bytes:
    parts = []
    for name, value in fields.items():
        file = '; filename="a"' if name in {"audio_sample", "ref_audio"} else ""
        parts.append(f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + value + b"\r\n")
    return b"".join(parts) + b"--x--\r\n"


def damaged(data: bytes, chance: random.Random) -> bytes:
    kind = chance.randrange(4)
    if not data or kind == 0:
        return data[: chance.randint(0, len(data))]
    changed = bytearray(data)
    for _ in range(chance.choice((1, 3, 20)) if kind < 3 else 1):
        at = chance.randrange(len(changed))
        changed[at : at + (1 if kind < 3 else chance.randint(1, 40))] = chance.randbytes(1)
    return bytes(changed)


# A form that ends in the middle of a file: Starlette leaves the file to be closed with the parser.
@pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile.__del__:pytest.PytestUnraisableExceptionWarning")
def test_no_malformed_request_is_the_servers_fault_and_the_next_good_one_works(stack: Stack) -> None:
    chance = random.Random(1)
    shares = {odd_values: 4_000, damaged_json: 3_000, damaged_form: 2_000, damaged_recording: 1_000}
    requests = [make(chance) for make, count in shares.items() for _ in range(count)]
    chance.shuffle(requests)
    with httpx2.Client(base_url=stack.frontend.url, timeout=SOON_S) as client, ThreadPoolExecutor(4) as threads:

        def send(request: Request) -> int:
            path, content_type, body = request
            reply = client.post(path, content=body, headers={"content-type": content_type})
            if reply.status_code >= 400:
                assert set(reply.json()["error"]) == {"message", "type", "param", "code"}, reply.text
            return reply.status_code

        statuses = list(threads.map(send, requests))
        faults = [request for request, status in zip(requests, statuses, strict=True) if status >= 500]
        assert not faults, [(path, kind, body[:300]) for path, kind, body in faults[:5]]
        assert sum(400 <= status < 500 for status in statuses) > 5_000
        assert client.post("/v1/audio/speech", json=BODY).status_code == 200
    assert stack.frontend.health()["pending_requests"] == 0
