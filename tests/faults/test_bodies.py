"""Large, unfinished and unusual request bodies: they are limited, and other requests continue."""

import asyncio
import contextlib
import errno
import io
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st

from local_stack.triton_process import free_port
from openai_frontend.api.bodies.json_body import read_json
from openai_frontend.api.bodies.route import BodyRoute
from openai_frontend.api.routes import admin, clone, consents, health, metrics, models, page, voices
from openai_frontend.api.routes import speech as speech_route
from openai_frontend.errors import ApiError
from openai_frontend.thread_pools import WorkerPool
from tests.faults.test_connections import NO_TRITON, frontend, is_waiting
from tests.faults.test_event_loop import check_speed
from tests.support.raw_client import RawClient, RawReply, post, speech
from tests.support.stack import Frontend, bare_environment
from tests.support.waiting import eventually

MIB: Final = 2**20
PARSERS: Final = WorkerPool("JSON", threads=1, max_queued=8)
BOUNDARY: Final = "0123456789"


def answer(running: Frontend | int, request: bytes) -> RawReply:
    with RawClient(running, request) as client:
        return client.read_reply()


def held(running: Frontend) -> float:
    return running.metric("tts_request_body_bytes")


def unfinished(size: int) -> bytes:
    """A JSON request whose last byte does not come."""
    return post("/v1/audio/speech", b'{"input": "' + b"x" * (size - 11), length=size + 1)


def form(path: str, recording: bytes, **fields: str) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    file = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="audio_sample"; filename="a.wav"\r\n\r\n'
    body = "".join((*parts, file)).encode() + recording + f"\r\n--{BOUNDARY}--\r\n".encode()
    return post(path, body, content_type=f"multipart/form-data; boundary={BOUNDARY}")


# The memory limit


def test_bodies_share_one_budget_and_small_ones_have_a_part_of_it(tmp_path: Path) -> None:
    with frontend(tmp_path, max_body_memory=MIB) as running:
        with RawClient(running, unfinished(700_000)):
            eventually(lambda: held(running) == 700_000, "the first body has arrived")
            reply = answer(running, unfinished(300_000))
            assert (reply.status, reply.code()) == (503, "server_overloaded")
            assert "retry-after: 2" in reply.head
            assert answer(running, speech()).code() == "model_unavailable", "an ordinary request gets through"
        eventually(lambda: held(running) == 0, "the memory is given back")
        whole = post("/v1/audio/speech", json.dumps({"input": "x" * 300_000}).encode())
        assert answer(running, whole).code() == "string_above_max_length"


def test_a_body_without_a_declared_length_is_counted_as_it_arrives(tmp_path: Path) -> None:
    chunked = post("/v1/audio/speech", b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with frontend(tmp_path, max_body_memory=MIB) as running, RawClient(running, unfinished(700_000)):
        eventually(lambda: held(running) == 700_000, "the first body has arrived")
        assert answer(running, chunked + 4 * chunk).code() == "server_overloaded"


def test_a_body_that_is_larger_than_all_the_memory_is_a_413(tmp_path: Path) -> None:
    with frontend(tmp_path, max_body_memory=MIB) as running:
        assert answer(running, unfinished(2 * MIB)).status == 413


def test_a_body_is_held_until_its_reply_begins(tmp_path: Path) -> None:
    with frontend(tmp_path, start_timeout=300) as running:
        request = speech(ignored="x" * 100_000)
        with RawClient(running, request):
            eventually(lambda: is_waiting(running), "it waits")
            assert held(running) > 100_000
        eventually(lambda: held(running) == 0, "the memory is given back")


def test_memory_goes_back_to_the_system_after_a_flood_of_bodies(tmp_path: Path) -> None:
    port = free_port()
    given = {"PORT": str(port), "TRITON_URL": NO_TRITON, "VOICES_FOLDER": str(tmp_path), "LOG_LEVEL": "error"}
    server = subprocess.Popen([sys.executable, "-m", "openai_frontend"], env={**bare_environment(tmp_path), **given})
    process = psutil.Process(server.pid)
    try:
        eventually(lambda: _is_up(port), "the server is up")
        for _ in range(10):
            assert answer(port, speech()).code() == "model_unavailable"
        before = process.memory_info().rss
        with contextlib.ExitStack() as clients:
            for _ in range(15):
                clients.enter_context(RawClient(port, unfinished(8 * MIB)))
            eventually(lambda: process.memory_info().rss > before + 80 * MIB, "the bodies are held")
        eventually(lambda: process.memory_info().rss < before * 1.1, "the memory is given back")
    finally:
        server.terminate()
        server.wait(60)


def _is_up(port: int) -> bool:
    try:
        return answer(port, b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 200
    except OSError:
        return False


# JSON


@pytest.mark.parametrize(
    "flood",
    [b"[]," * 4_000_000, b'"",' * 3_000_000, b'{"a":1},' * 1_000_000, b'"\\u0041' + b"\\u0041" * 2_000_000 + b'",'],
    ids=["arrays", "strings", "objects", "escapes"],
)
def test_json_of_millions_of_values_is_refused_before_it_is_parsed(tmp_path: Path, flood: bytes) -> None:
    with frontend(tmp_path) as running:
        reply = answer(running, post("/v1/audio/speech", b'{"input": "Hello.", "ignored": [' + flood + b"0]}"))
        assert (reply.status, reply.code()) == (400, "invalid_json")
        assert b"The body has over" in reply.body


@pytest.mark.parametrize("text", ['[{",:\\' * 16_000, "💥\u0007é" * 33_000, "\\" * 100_000, '"' * 100_000])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_text_of_nothing_but_marks_and_escapes_is_still_a_text(tmp_path: Path, text: str, ascii_only: bool) -> None:
    body = json.dumps({"input": text, "response_format": "pcm"}, ensure_ascii=ascii_only).encode()
    with frontend(tmp_path) as running:
        assert answer(running, post("/v1/audio/speech", body)).code() == "model_unavailable"


@pytest.mark.parametrize("size", [100, 100_000])
@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\x00"])
def test_a_body_that_is_not_utf_8_or_holds_control_characters_is_no_json(tmp_path: Path, size: int, bad: bytes) -> None:
    with frontend(tmp_path) as running:
        reply = answer(running, post("/v1/audio/speech", b'{"input": "' + b"x" * size + bad + b'"}'))
        assert (reply.status, reply.code()) == (400, "invalid_json")


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
        max_leaves=20,
    ),
    padding=st.sampled_from(["", "x" * 40_000, '\\"' * 20_000]),
    ascii_only=st.booleans(),
    piece_bytes=st.sampled_from([1, 7, 1_000, 16_384]),
)
def test_a_body_means_the_same_however_large_it_is_and_however_it_is_cut(
    value: Any, padding: str, ascii_only: bool, piece_bytes: int
) -> None:
    data = json.dumps({"value": value, "padding": padding}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), piece_bytes):
            yield data[start : start + piece_bytes]

    assert asyncio.run(read_json(pieces(), PARSERS)) == json.loads(data)


@given(st.binary(max_size=200), st.sampled_from([b"", b" " * 40_000, b'"' + b"x" * 40_000 + b'"']))
def test_any_bytes_are_json_or_a_clear_error(data: bytes, padding: bytes) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield padding
        yield data

    with contextlib.suppress(RequestValidationError, ApiError):
        asyncio.run(read_json(pieces(), PARSERS))


def test_every_route_with_a_body_reads_it_within_bounds() -> None:
    modules = (admin, clone, consents, health, metrics, models, page, speech_route, voices)
    routes = [route for module in modules for route in module.router.routes if isinstance(route, APIRoute)]
    with_body = [route for route in routes if route.body_field is not None or "POST" in route.methods]
    assert len(with_body) >= 5
    assert [route.path for route in with_body if not isinstance(route, BodyRoute) and "/admin/" not in route.path] == []


# Uploads


def test_an_upload_needs_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> io.BytesIO:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with frontend(tmp_path) as running:
        reply = answer(running, form("/v1/audio/voices", b"\0" * 3 * MIB, name="Eve"))
        assert reply.code() == "invalid_reference_audio"


def test_a_decoder_that_cannot_be_started_is_a_503_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with frontend(tmp_path) as running, monkeypatch.context() as patched:
        patched.setattr(asyncio, "create_subprocess_exec", refused)
        reply = answer(running, form("/v1/audio/voices", b"RIFF", name="Eve"))
        assert (reply.status, reply.code()) == (503, "server_overloaded")
        assert b"decodes recordings" in reply.body


@pytest.mark.parametrize("path", ["/v1/audio/voices", "/v1/audio/speech/clone", "/v1/audio/voice_consents"])
def test_a_form_of_thousands_of_fields_is_a_400(tmp_path: Path, path: str) -> None:
    with frontend(tmp_path) as running:
        assert answer(running, form(path, b"", **{f"f{number}": "" for number in range(5_000)})).status == 400
        many = post(path, b"a&" * 100_000, content_type="application/x-www-form-urlencoded")
        assert answer(running, many).status == 400


def decoders() -> set[psutil.Process]:
    """The decoder processes of this process's servers."""
    return {child for child in psutil.Process().children() if "decoder_process" in " ".join(child.cmdline())}


def test_the_recording_of_a_disconnected_client_is_not_decoded(tmp_path: Path) -> None:
    request = form("/v1/audio/voices", b"RIFF" + b"\0" * 1_000, name="Eve")
    with frontend(tmp_path) as running:
        others = decoders()  # of servers of other tests
        assert answer(running, request).code() == "invalid_reference_audio"
        [decoder] = decoders() - others
        decoder.suspend()
        try:
            with RawClient(running, request), contextlib.ExitStack() as waiting:
                for _ in range(5):
                    waiting.enter_context(RawClient(running, request))
                eventually(lambda: is_waiting(running, 6), "all wait for the decoder")
                waiting.close()
                eventually(lambda: is_waiting(running, 1), "only the first is left", timeout_s=15)
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):  # ended with the first request, whose client has gone
                decoder.resume()


def test_the_limit_on_open_files_is_the_same_after_a_frontend(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with frontend(tmp_path):
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == before, "only the soft limit is raised"


@pytest.mark.parametrize(
    "request_bytes",
    [
        post("/v1/audio/speech", b'{"input": "", "ignored": [' + b"[]," * 4_000_000 + b"0]}"),
        post("/v1/audio/speech", b'{"input": "", "ignored": "' + b"QUJD" * 3_000_000 + b'"}'),
        post("/v1/audio/speech", b'{"input": "", "ignored": ' + b"9" * 9_000_000 + b"}"),
        post("/v1/audio/speech", b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        + b"1\r\n \r\n" * 50_000
        + b"0\r\n\r\n",
        b"GET /live HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * 3_900 + b"\r\n",
        form("/v1/audio/voices", b"\r\n--" * 500_000, name="Eve"),
        form("/v1/audio/voices", b"\r" * 2_000_000, name="Eve"),
    ],
    ids=["arrays", "a long string", "digits", "chunks of a byte", "headers", "almost boundaries", "carriage returns"],
)
def test_the_event_loop_is_never_blocked_by(tmp_path: Path, request_bytes: bytes) -> None:
    with frontend(tmp_path) as running:
        answer(running, request_bytes)  # Imports at the first use do not count for any request.
        check_speed(running, lambda: answer(running, request_bytes))
