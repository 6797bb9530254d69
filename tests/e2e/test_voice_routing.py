"""The voice selects the model: built-in, cloned, designed and blended ones, on tiny checkpoints of the real format."""

import json
import socket
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import httpx2
import numpy as np
import openai
import pytest
import soundfile

from client import batch_synthesize
from openai_frontend.voices.names import OPENAI_VOICES, SPEAKERS
from openai_frontend.voices.samples import SAMPLES
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_BYTES
from speech_protocol.models import HIBARI
from tests.e2e.test_qwen import recording
from tests.support.listening import decode
from tests.support.replies import check
from tests.support.stack import SCRIPTED_REPOSITORY, Frontend, Stack, qwen_stack
from tests.support.types import CheckpointOf
from tests.support.waiting import eventually

FRAMES = 30
# Long enough that no voice comes to its end before.
TEXT = "Hello there, this is a sentence that goes on for a while, and then for a while more."
SPEECH = "/v1/audio/speech"
VOICES = "/v1/audio/voices"
LOW, HIGH = recording("wav", "", hz=110), recording("wav", "", hz=330)
BASE, DESIGN = "qwen3_tts_base", "qwen3_tts_voice_design"


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: CheckpointOf) -> Iterator[Stack]:
    """Tiny checkpoints of every variant, two cloned voices, and `cedar` re-mapped to one of them."""
    names = {"cedar": "Anna", "duet": "anna+bob"}
    settings = {"voice_names": names, "max_audio_seconds": FRAMES * 0.08}
    with qwen_stack(tmp_path_factory.mktemp("voices"), tiny_checkpoint, **settings) as running:
        create(running.frontend, "Anna", LOW)
        create(running.frontend, "Bob", HIGH, ref_text="La la la.")
        yield running


def create(frontend: Frontend, name: str, sample: bytes, **fields: str) -> str:
    files = {"audio_sample": ("voice.wav", sample)}
    reply = httpx2.post(frontend.url + VOICES, data={"name": name, **fields}, files=files, timeout=60)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["id"])


def speak(frontend: Frontend, **fields: Any) -> httpx2.Response:
    body = {"input": TEXT, "response_format": "pcm", "seed": 5, **fields}
    return httpx2.post(frontend.url + SPEECH, json=body, timeout=120)


def spoken(stack: Stack, **fields: Any) -> bytes:
    reply = speak(stack.frontend, **fields)
    assert reply.status_code == 200, reply.text
    assert len(reply.content) == FRAMES * FRAME_SAMPLES * SAMPLE_BYTES
    assert np.abs(decode(reply.content, "pcm")).max() > 0.001
    return reply.content


def cloned(stack: Stack, sample: bytes, **fields: str) -> bytes:
    form = {"input": TEXT, "response_format": "pcm", "seed": "5", **fields}
    files = {"ref_audio": ("voice.wav", sample)}
    return httpx2.post(f"{stack.frontend.url}{SPEECH}/clone", data=form, files=files, timeout=120).content


def voice_id(stack: Stack, name: str) -> str:
    voices = httpx2.get(stack.frontend.url + VOICES, timeout=30).json()["data"]
    return str(next(voice["id"] for voice in voices if voice["name"] == name))


def requests_of(stack: Stack, model: str) -> int:
    with urllib.request.urlopen(f"{stack.triton.url}/v2/models/{model}/stats", timeout=10) as reply:
        return int(json.load(reply)["model_stats"][0]["inference_count"])


# Cloned voices


def test_a_stored_voice_speaks_as_its_recording_does_on_the_clone_route(qwen: Stack) -> None:
    assert spoken(qwen, voice="Anna") == cloned(qwen, LOW)
    assert spoken(qwen, voice="Bob") == cloned(qwen, HIGH, ref_text="La la la.") != cloned(qwen, HIGH)


def test_a_stored_voice_may_be_its_speaker_embedding_alone(qwen: Stack) -> None:
    alone = cloned(qwen, HIGH)
    assert spoken(qwen, voice="Bob", x_vector_only_mode=True) == alone != spoken(qwen, voice="Bob")
    assert spoken(qwen, voice="Bob", x_vector_only_mode=False) == spoken(qwen, voice="Bob")


@pytest.mark.parametrize("voice", ["Anna", "anna+bob"])
def test_what_has_no_transcript_cannot_be_more_than_its_speaker_embedding(qwen: Stack, voice: str) -> None:
    reply = speak(qwen.frontend, voice=voice, x_vector_only_mode=False)
    check(reply, 400, "x_vector_only_mode", "invalid_value")


def test_a_stored_voice_goes_by_id_by_object_and_by_name_however_written(qwen: Stack) -> None:
    anna = spoken(qwen, voice="Anna")
    for name in (voice_id(qwen, "Anna"), {"id": voice_id(qwen, "Anna")}, " anna ", {"id": "ANNA"}):
        assert spoken(qwen, voice=name) == anna, name


@pytest.mark.parametrize("model", [None, "tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15", BASE])
def test_every_general_model_name_speaks_with_a_stored_voice(qwen: Stack, model: str | None) -> None:
    assert spoken(qwen, voice="Anna", model=model) == spoken(qwen, voice="Anna")


def test_the_openai_client_speaks_with_a_stored_voice_in_every_format(qwen: Stack) -> None:
    speech = qwen.frontend.openai().audio.speech
    for response_format in ("mp3", "opus", "aac", "flac", "wav", "pcm"):
        reply = speech.create(
            model="tts-1", voice={"id": voice_id(qwen, "Anna")}, input=TEXT, response_format=response_format
        )
        assert len(decode(reply.content, response_format)) == pytest.approx(FRAMES * FRAME_SAMPLES, rel=0.1)


def test_a_name_of_openais_can_be_mapped_to_a_stored_voice(qwen: Stack) -> None:
    assert spoken(qwen, voice="cedar") == spoken(qwen, voice="Anna")


def test_sixteen_stored_voices_spoken_with_at_once_each_stay_themselves(qwen: Stack) -> None:
    names = [f"voice {number}" for number in range(16)]
    ids = [create(qwen.frontend, name, recording("wav", "", hz=100 + 20 * n)) for n, name in enumerate(names)]
    with ThreadPoolExecutor(16) as threads:
        together = list(threads.map(lambda name: spoken(qwen, voice=name), names))
    assert len(set(together)) == 16
    # The codes are the same; the codec adds in another order for more streams, which may round the other way.
    for each, beside_others in zip(ids, together, strict=True):
        alone = decode(spoken(qwen, voice=each), "pcm")
        np.testing.assert_allclose(alone, decode(beside_others, "pcm"), atol=1.1 / 32768)
    for each in ids:
        qwen.frontend.openai().audio.voices.delete(each)


def test_a_deleted_voice_is_an_unknown_one(qwen: Stack) -> None:
    gone = create(qwen.frontend, "Short-lived", LOW)
    qwen.frontend.openai().audio.voices.delete(gone)
    for name in (gone, "Short-lived"):
        check(speak(qwen.frontend, voice=name), 400, "voice", "unknown_speaker")


# Built-in voices


def test_openais_thirteen_names_and_three_kinds_of_voices_find_their_models(qwen: Stack) -> None:
    for name in OPENAI_VOICES.keys() - {"cedar"}:
        assert spoken(qwen, voice=name) == spoken(qwen, voice=OPENAI_VOICES[name]), name
    before = {model: requests_of(qwen, model) for model in (BASE, "qwen3_tts_custom_voice")}
    for name in ("alloy", "vivian", "Anna"):
        spoken(qwen, voice=name)
    after = {model: requests_of(qwen, model) for model in before}
    assert {model: after[model] - before[model] for model in before} == {BASE: 1, "qwen3_tts_custom_voice": 2}


def test_an_unknown_voice_is_an_error_that_lists_known_ones_and_loads_nothing(qwen: Stack) -> None:
    before = requests_of(qwen, BASE)
    message = check(speak(qwen.frontend, voice="nobody"), 400, "voice", "unknown_speaker")
    assert all(name in message for name in ("alloy", "Anna", *(speaker.name for speaker in SPEAKERS)))
    assert requests_of(qwen, BASE) == before


# The wrong variant


@pytest.mark.parametrize("model", ["qwen3_tts_custom_voice", DESIGN, "hibari"])
def test_a_stored_voice_on_a_model_that_cannot_clone_is_an_error_that_names_one_that_can(
    qwen: Stack, model: str
) -> None:
    message = check(speak(qwen.frontend, voice="Anna", model=model, instructions="x"), 400, "model", "unsupported_task")
    assert BASE in message


def test_a_checkpoint_named_by_itself_must_fit_the_voice_too(qwen: Stack) -> None:
    settings = qwen.frontend.settings
    fits = settings.base_model_id
    assert spoken(qwen, voice="Anna", model=fits) == spoken(qwen, voice="Anna")
    reply = speak(qwen.frontend, voice="Anna", model=settings.custom_voice_model_id)
    check(reply, 400, "model", "unsupported_task")


def test_a_built_in_voice_on_the_cloning_model_is_an_error_that_names_the_right_model(qwen: Stack) -> None:
    message = check(speak(qwen.frontend, voice="alloy", model=BASE), 400, "model", "unsupported_task")
    assert "qwen3_tts_custom_voice" in message
    check(speak(qwen.frontend, voice="nobody", model=BASE), 400, "voice", "unknown_speaker")


# Designed voices


def test_a_designed_voice_is_made_once_and_stays_itself(qwen: Stack) -> None:
    client = qwen.frontend.openai()
    made = client.audio.voices.create(type="prompt", name="Grandpa", prompt="An old man, hoarse and kind.")
    assert (made.type, made.prompt) == ("prompt", "An old man, hoarse and kind.")
    assert requests_of(qwen, DESIGN) == 1
    first = spoken(qwen, voice="Grandpa")
    assert spoken(qwen, voice={"id": made.id}) == first != spoken(qwen, voice="Anna")
    assert requests_of(qwen, DESIGN) == 1
    stored = Path(qwen.frontend.settings.voices_folder) / "voices" / made.id
    assert (stored / "transcript.txt").read_text() == SAMPLES["english"]
    samples, _ = soundfile.read(stored / "reference.wav")
    assert len(samples) > 24_000
    client.audio.voices.delete(made.id)


def test_a_designed_voice_may_be_created_by_a_json_body_with_its_own_sample_text(qwen: Stack) -> None:
    body = {"type": "prompt", "name": "Frau", "prompt": "A young woman.", "language": "German"}
    script = "Guten Morgen, meine Damen und Herren, und herzlich willkommen."
    for extra, transcript in (({}, SAMPLES["german"]), ({"script_hint": script}, script)):
        reply = httpx2.post(qwen.frontend.url + VOICES, json={**body, **extra}, timeout=120)
        assert reply.status_code == 200, reply.text
        voice = reply.json()
        assert voice["language"] == "german"
        stored = Path(qwen.frontend.settings.voices_folder) / "voices" / voice["id"]
        assert (stored / "transcript.txt").read_text() == transcript
        qwen.frontend.openai().audio.voices.delete(voice["id"])


def test_a_disconnect_during_voice_design_ends_the_work_and_stores_nothing(qwen: Stack) -> None:
    voice = {"type": "prompt", "name": "Left alone", "prompt": "A young woman."}
    body = json.dumps(voice).encode()
    kind = "Host: localhost\r\nContent-Type: application/json"
    head = f"POST {VOICES} HTTP/1.1\r\n{kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", qwen.frontend.settings.port), timeout=30) as connection:
        connection.sendall(head.encode() + body)
        eventually(lambda: qwen.frontend.health()["pending_requests"] == 1, "the voice is being designed")
    eventually(lambda: qwen.frontend.health()["pending_requests"] == 0, "its place is free")
    # Were the work going on, the name would be taken before this one is done.
    reply = httpx2.post(qwen.frontend.url + VOICES, json=voice, timeout=120)
    assert reply.status_code == 200, reply.text
    qwen.frontend.openai().audio.voices.delete(reply.json()["id"])


# Blends


def test_a_blend_reaches_the_engine_and_differs_from_each_of_its_voices(qwen: Stack) -> None:
    names = ("Anna(2)+Bob(1)", "Anna(1)+Bob(2)", "Anna+Bob")
    x_vector_only = {name: cloned(qwen, sample) for name, sample in (("Anna", LOW), ("Bob", HIGH))}
    # Random weights make little of a voice: some seeds say the same with two of them.
    sides = [{"voice": name} for name in (*names, "Anna", "Bob")] + [{"voice": "Bob", "x_vector_only_mode": True}]
    heard = {tuple(spoken(qwen, **side, seed=seed) for seed in range(8)) for side in sides}
    assert len(heard) == len(sides)
    blends = [spoken(qwen, voice=blend) for blend in names]
    assert spoken(qwen, voice="anna(4) + bob(2)") == blends[0]
    assert spoken(qwen, voice=f"{voice_id(qwen, 'Anna')}(2)+{voice_id(qwen, 'Bob')}(1)") == blends[0]
    assert spoken(qwen, voice="Anna(1)+Anna(1)") == x_vector_only["Anna"]
    assert spoken(qwen, voice="duet") == blends[2]


@pytest.mark.parametrize(
    "voice", ["Anna+", "+", "Anna(0)+Bob(1)", "Anna(1e9)+Bob", "Anna(1)Bob(2)", "Anna+nobody", "Anna+alloy", "()"]
)
def test_a_blend_that_is_none_is_a_400_that_names_the_voice(qwen: Stack, voice: str) -> None:
    check(speak(qwen.frontend, voice=voice), 400, "voice")


def test_more_voices_than_a_blend_may_have_are_refused(qwen: Stack) -> None:
    assert "at most 4" in check(speak(qwen.frontend, voice="+".join(["Anna"] * 5)), 400, "voice")


# Other servers


def test_a_stored_voice_can_be_the_default_one(qwen: Stack) -> None:
    settings = qwen.frontend.settings.model_dump(exclude={"port", "default_voice"})
    with Frontend(**settings, default_voice="anna") as frontend:
        assert speak(frontend).content == spoken(qwen, voice="Anna")
        assert speak(frontend, model="qwen3_tts_custom_voice").content == spoken(qwen, voice="vivian")


def test_beside_the_embedded_voice_a_stored_one_says_what_it_lacks(stack: Stack) -> None:
    stored = create(stack.frontend, "Anna", LOW)
    try:
        with pytest.raises(openai.APIStatusError) as error:
            stack.frontend.openai().audio.speech.create(model="tts-1", voice="Anna", input="Hello.")
        assert (error.value.status_code, error.value.code) == (503, "checkpoint_unavailable")
        assert "BASE_MODEL_ID" in error.value.message
        message = check(speak(stack.frontend, voice="Anna", model=HIBARI.name), 400, "model", "unsupported_task")
        assert BASE in message
    finally:
        stack.frontend.openai().audio.voices.delete(stored)


def test_without_the_cloning_model_in_tritons_repository_the_error_says_so(tmp_path: Path) -> None:
    from local_stack.triton_process import TritonProcess

    with (
        TritonProcess((SCRIPTED_REPOSITORY,)) as triton,
        Frontend(triton_url=triton.url, default_model=HIBARI.name, voices_folder=str(tmp_path)) as frontend,
    ):
        create(frontend, "Anna", LOW)
        assert BASE in check(speak(frontend, voice="Anna"), 503, "model", "model_unavailable")


# The batch client, which sends its requests to Triton itself


def batch(stack: Stack, *arguments: str | Path) -> int:
    where = ["--triton", stack.triton.url.partition("://")[2], "--server", stack.frontend.url]
    with pytest.raises(SystemExit) as exit_:
        batch_synthesize.main([*map(str, arguments), *where])
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def test_rows_of_a_batch_are_spoken_in_every_kind_of_voice_by_the_model_that_fits(qwen: Stack, tmp_path: Path) -> None:
    custom, base = requests_of(qwen, "qwen3_tts_custom_voice"), requests_of(qwen, BASE)
    built_in = ("alloy", "ryan")
    of_the_library = ("Anna", voice_id(qwen, "Bob"), "cedar", "anna(2)+bob", "duet")
    rows = [{"id": f"r{n}", "text": TEXT, "voice": voice} for n, voice in enumerate((*built_in, *of_the_library))]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, [*rows, {"id": "no", "text": "x", "voice": "who"}])))
    # A tiny checkpoint speaks until it is stopped, which is reported; and there is no voice 'who'.
    assert batch(qwen, tmp_path / "rows.jsonl", "-o", tmp_path / "out") == 1
    made = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.wav")}
    assert set(made) == {f"r{n}.wav" for n in range(len(rows))}
    assert made["r2.wav"] == made["r4.wav"]  # Anna, and cedar, which VOICE_NAMES makes of her
    assert made["r5.wav"] != made["r6.wav"]  # other weights
    assert requests_of(qwen, "qwen3_tts_custom_voice") > custom
    assert requests_of(qwen, BASE) > base
    left_out = [json.loads(line) for line in (tmp_path / "out/skipped.jsonl").read_text().splitlines()]
    assert {row["reason"].partition(".")[0] for row in left_out} >= {"There is no voice 'who'"}


def test_a_book_is_spoken_in_a_cloned_voice_with_another_one_for_a_chapter_and_for_dialogue(
    qwen: Stack, tmp_path: Path
) -> None:
    rules = '[chapters]\n"Two" = "alloy"\n[dialogue]\nvoice = "Bob"\n'
    (tmp_path / "rules.toml").write_text(rules)
    (tmp_path / "book.md").write_text('# One\n\nShe said "This is mine."\n\n# Two\n\nThe end. [voice:Anna]Really.\n')
    options = ("--book", "--voice", "Anna", "--casting", tmp_path / "rules.toml")
    assert batch(qwen, tmp_path / "book.md", "-o", tmp_path / "out", *options) == 1  # tiny checkpoints do not stop
    with av.open(str(tmp_path / "out/book.m4b")) as container:
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One", "Two"]
        assert container.duration / 1e6 > 5 * 2.0
    manifest = json.loads((tmp_path / "out/.work/manifest.json").read_text())
    assert set(manifest["checkpoints"]) == {"qwen3_tts_custom_voice", BASE}


def test_a_batch_whose_voice_does_not_exist_is_one_clear_line(
    qwen: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("Hello.")
    assert batch(qwen, tmp_path / "a.txt", "-o", tmp_path / "out", "--voice", "who") == 2
    assert capsys.readouterr().err.startswith("There is no voice 'who'. Use one of: ")
