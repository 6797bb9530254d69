"""Clients that hold connections without using them: they are closed in time, and block no other client.

The frontend runs alone: while it waits for a Triton (`start_timeout`), a request is in progress for as long as a test
needs.
"""

import contextlib
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from local_stack.triton_process import free_port
from openai_frontend.transport.connections import Phase
from openai_frontend.transport.file_limit import within
from tests.support.raw_client import RawClient, post, speech
from tests.support.stack import Frontend, bare_environment
from tests.support.waiting import eventually

LIVE: Final = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"
NO_TRITON: Final = "http://127.0.0.1:9"


@contextlib.contextmanager
def frontend(tmp_path: Path, **settings: object) -> Iterator[Frontend]:
    """One without a Triton, and with long deadlines unless the test sets them."""
    folder = str(tmp_path / "voices")
    given = {"triton_url": NO_TRITON, "voices_folder": folder, "header_timeout": 300, "body_timeout": 300, **settings}
    with Frontend(**given) as running:
        yield running


def is_waiting(running: Frontend, count: int = 1) -> bool:
    return running.metric("tts_pending_requests") == count


def test_a_connection_that_sends_nothing_is_closed(tmp_path: Path) -> None:
    with frontend(tmp_path, header_timeout=0.2) as running, RawClient(running) as silent:
        assert silent.is_closed()


def test_headers_that_do_not_end_are_a_408(tmp_path: Path) -> None:
    with frontend(tmp_path, header_timeout=0.2) as running, RawClient(running, LIVE[:-2]) as slow:
        reply = slow.read_reply()
        assert (reply.status, reply.code()) == (408, "request_timeout")
        assert slow.is_closed()


def test_headers_that_come_drop_by_drop_are_a_408(tmp_path: Path) -> None:
    with frontend(tmp_path, header_timeout=0.2) as running, RawClient(running, LIVE[:-4]) as slow:

        def is_answered() -> bool:
            with contextlib.suppress(ConnectionError):
                slow.send(b"x")
            return slow.has_data()

        eventually(is_answered, "the server answers")
        assert slow.read_reply().status == 408


def test_a_body_that_stops_is_a_408(tmp_path: Path) -> None:
    with (
        frontend(tmp_path, body_timeout=0.2) as running,
        RawClient(running, post("/v1/audio/speech", b'{"input":', length=100)) as slow,
    ):
        reply = slow.read_reply()
        assert (reply.status, reply.code()) == (408, "request_timeout")
        assert slow.is_closed()


def test_a_body_that_comes_drop_by_drop_is_a_408(tmp_path: Path) -> None:
    with (
        frontend(tmp_path, body_timeout=0.5) as running,
        RawClient(running, post("/v1/audio/speech", b'{"input":', length=1_000_000)) as slow,
    ):

        def is_answered() -> bool:
            with contextlib.suppress(ConnectionError):
                slow.send(b" ")
            return slow.has_data()

        eventually(is_answered, "the server answers")
        assert slow.read_reply().status == 408


def test_a_kept_connection_that_begins_another_request_has_to_end_it(tmp_path: Path) -> None:
    with frontend(tmp_path, header_timeout=0.2) as running, RawClient(running, LIVE) as client:
        assert client.read_reply().status == 200
        client.send(LIVE[:-2])
        assert client.read_reply().status == 408


def test_a_request_that_is_being_served_has_no_deadline_of_a_connection(tmp_path: Path) -> None:
    deadlines = {"header_timeout": 0.1, "body_timeout": 0.1}
    with frontend(tmp_path, start_timeout=1, **deadlines) as running, RawClient(running, speech()) as client:
        assert client.read_reply().code() == "model_unavailable"


def test_silent_connections_are_closed_for_a_client_that_sends_a_request(tmp_path: Path) -> None:
    with frontend(tmp_path, max_connections=20) as running, contextlib.ExitStack() as clients:
        silent = [clients.enter_context(RawClient(running)) for _ in range(200)]
        served = clients.enter_context(RawClient(running, LIVE))
        assert served.read_reply().status == 200
        assert silent[0].is_closed(), "the oldest is closed first"
        assert not silent[-1].has_data()


def test_idle_connections_are_closed_for_new_ones_when_no_silent_one_is_left(tmp_path: Path) -> None:
    with frontend(tmp_path, max_connections=2) as running, contextlib.ExitStack() as clients:
        for _ in range(2):
            assert clients.enter_context(RawClient(running, LIVE)).read_reply().status == 200
        assert clients.enter_context(RawClient(running, LIVE)).read_reply().status == 200


def test_if_every_connection_is_in_use_a_new_one_gets_503_with_retry_after(tmp_path: Path) -> None:
    with frontend(tmp_path, max_connections=3, start_timeout=300) as running, contextlib.ExitStack() as clients:
        for _ in range(3):
            clients.enter_context(RawClient(running, speech()))
        eventually(lambda: running.connections(Phase.ACTIVE) == 3, "all are in use")
        with RawClient(running, speech()) as refused:
            reply = refused.read_reply()
            assert (reply.status, reply.code()) == (503, "server_overloaded")
            assert "retry-after: 2" in reply.head
            assert refused.is_closed()
        with RawClient(running, LIVE) as probe:
            assert probe.read_reply().status == 200, "an orchestrator does not restart a server that is full"


def test_two_thousand_silent_connections_at_a_limit_of_256_files_keep_no_client_out_and_do_not_fill_the_log(
    tmp_path: Path,
) -> None:
    port = free_port()
    given = {"PORT": str(port), "TRITON_URL": NO_TRITON, "HEADER_TIMEOUT": "300", "LOG_FORMAT": "text"}
    environment = {**bare_environment(tmp_path), **given, "VOICES_FOLDER": str(tmp_path / "voices")}
    log = tmp_path / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "openai_frontend"],
            env=environment,
            stderr=output,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)),
        )
    address = ("127.0.0.1", port)
    try:
        eventually(lambda: _answers(address), "the server is up")
        for _ in range(20):  # a hundred at a time: this process, too, has a limit
            silent = [socket.create_connection(address, timeout=60) for _ in range(100)]
            assert _answers(address)
            for client in silent:
                client.close()
        silent = [socket.create_connection(address, timeout=60) for _ in range(400)]
        assert _answers(address)
        for client in silent:
            client.close()
    finally:
        server.terminate()
        server.wait(60)
    lines = log.read_text().splitlines()
    assert any("the oldest without a request are closed" in line for line in lines)
    assert len(lines) < 30
    assert not any("Traceback" in line for line in lines)


def _answers(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=60) as client:
            client.sendall(LIVE)
            return client.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


@pytest.mark.parametrize(
    ("files", "wanted", "upstream", "fitting"),
    [(1024, 1000, 256, 608), (256, 1000, 256, 48), (65_536, 1000, 256, 1000), (100, 1000, 256, 1)],
)
def test_connections_leave_files_for_streams_from_triton(files: int, wanted: int, upstream: int, fitting: int) -> None:
    assert within(files, wanted, upstream) == fitting


# Half-closed connections


def test_a_client_that_closes_its_sending_side_after_its_request_is_answered(tmp_path: Path) -> None:
    with frontend(tmp_path, start_timeout=1) as running, RawClient(running, speech()) as client:
        client.end_sending()
        assert client.read_reply().code() == "model_unavailable"
        assert client.is_closed()


def test_the_same_with_http_1_0_which_knows_no_interim_reply(tmp_path: Path) -> None:
    request = speech().replace(b"HTTP/1.1", b"HTTP/1.0")
    with frontend(tmp_path, start_timeout=1) as running, RawClient(running, request) as client:
        client.end_sending()
        assert client.read_reply().code() == "model_unavailable"


def test_a_disconnect_in_the_queue_frees_the_slot(tmp_path: Path) -> None:
    with frontend(tmp_path, start_timeout=300) as running:
        with RawClient(running, speech()):
            eventually(lambda: is_waiting(running), "it waits")
        eventually(lambda: is_waiting(running, 0), "its place is free")


def test_a_client_that_half_closes_and_then_disconnects_frees_its_slot(tmp_path: Path) -> None:
    with frontend(tmp_path, start_timeout=300) as running:
        with RawClient(running, speech()) as client:
            eventually(lambda: is_waiting(running), "it waits")
            client.end_sending()
        eventually(lambda: is_waiting(running, 0), "its place is free")


def test_a_body_that_will_never_be_complete_ends_its_connection(tmp_path: Path) -> None:
    request = post("/v1/audio/speech", b'{"input":', length=100)
    with frontend(tmp_path) as running, RawClient(running, request) as client:
        client.end_sending()
        assert client.is_closed()


# Requests of ambiguous length, and those whose body is not read


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 2\r\nContent-Length: 30\r\n",
        "Content-Length: 2, 30\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
        "Content-Length: +2\r\n",
        "Content-Length : 2\r\n",
        "Content-Length: 2\r\n Content-Length: 30\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
    ],
)
def test_a_request_of_unclear_length_is_refused_and_nothing_after_it_is_served(tmp_path: Path, head: str) -> None:
    request = post("/v1/audio/speech", b"").replace(b"Content-Length: 0\r\n", head.encode())
    with frontend(tmp_path) as running, RawClient(running, request + b"0\r\n\r\n" + LIVE) as client:
        assert client.read_reply().status in {400, 501}
        assert client.is_closed()


def test_more_headers_than_a_client_sends_are_a_431(tmp_path: Path) -> None:
    request = LIVE[:-2] + b"a:\r\n" * 3_000 + b"\r\n"
    with frontend(tmp_path) as running, RawClient(running, request) as client:
        assert client.read_reply().status == 431
        assert client.is_closed()


def test_the_body_of_a_request_without_a_valid_key_is_not_read(tmp_path: Path) -> None:
    request = post("/v1/audio/speech", b"{", length=10_000_000)
    with frontend(tmp_path, api_keys="secret") as running, RawClient(running, request) as client:
        reply = client.read_reply()
        assert reply.status == 401
        assert "connection: close" in reply.head.split("\n")
        assert client.is_closed()


def test_a_small_unread_body_does_not_cost_the_connection(tmp_path: Path) -> None:
    with frontend(tmp_path, api_keys="secret") as running, RawClient(running, speech()) as client:
        assert client.read_reply().status == 401
        client.send(LIVE)
        assert client.read_reply().status == 200


def test_a_client_that_expects_100_continue_is_not_asked_for_a_body_that_is_refused(tmp_path: Path) -> None:
    asking = post("/v1/audio/speech", b"", "Expect: 100-continue", length=1_000)
    with frontend(tmp_path, api_keys="secret") as running, RawClient(running, asking) as client:
        assert client.read_reply().status == 401


def test_a_body_in_chunks_of_one_byte_is_read(tmp_path: Path) -> None:
    head = post("/v1/audio/speech", b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"input": ' + b" " * 20_000 + b'""}')
    with frontend(tmp_path) as running, RawClient(running, head + body + b"0\r\n\r\n" + LIVE) as client:
        assert client.read_reply().code() == "empty_input"
        assert client.read_reply().status == 200


def test_what_is_no_http_at_all_is_a_400_and_one_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with frontend(tmp_path) as running:
        for _ in range(20):
            with RawClient(running, b"\x16\x03\x01 hello\r\n\r\n") as client:
                assert client.read_reply().code() == "invalid_http"
    assert len([record for record in caplog.records if "Invalid HTTP" in record.getMessage()]) <= 1
