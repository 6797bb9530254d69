"""Options of the server's connections, and a listener without free file descriptors."""

import asyncio
import contextlib
import logging
import os
import resource
import socket
from collections.abc import Iterator

import pytest

from local_stack.triton_process import free_port
from openai_frontend.server import listen
from tests.support.stack import GivenSettings
from tests.support.waiting import eventually


def option_of_a_connection(level: int, option: int) -> int:
    async def scenario() -> int:
        options: asyncio.Queue[int] = asyncio.Queue()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            options.put_nowait(writer.get_extra_info("socket").getsockopt(level, option))
            writer.close()

        listener = listen(GivenSettings(port=free_port()))
        async with await asyncio.start_server(connected, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.close()
            return await asyncio.wait_for(options.get(), 10)

    return asyncio.run(scenario())


def test_no_packet_of_a_reply_waits_for_an_acknowledgement() -> None:
    assert option_of_a_connection(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_peer_that_vanished_is_noticed_by_probes() -> None:
    assert option_of_a_connection(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    if hasattr(socket, "TCP_KEEPIDLE"):
        assert option_of_a_connection(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


@contextlib.contextmanager
def no_file_left() -> Iterator[None]:
    """This process cannot open another file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 2, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for file in taken:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_connection_for_which_there_is_no_file_is_closed_and_the_log_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    with contextlib.closing(listen(GivenSettings(port=free_port()))) as listener, contextlib.ExitStack() as clients:
        address = listener.getsockname()
        listener.setblocking(False)
        waiting = [clients.enter_context(socket.create_connection(address, timeout=10)) for _ in range(5)]
        with no_file_left():
            for _ in range(20):
                with pytest.raises(BlockingIOError):
                    listener.accept()
        for client in waiting:
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
        assert [record.getMessage() for record in caplog.records] == [
            "no file is left for a new connection (Too many open files); it is closed"
        ]
        clients.enter_context(socket.create_connection(address, timeout=10))
        accepted: list[socket.socket] = []

        def is_accepted() -> bool:
            with contextlib.suppress(BlockingIOError):
                accepted.append(clients.enter_context(listener.accept()[0]))
            return bool(accepted)

        eventually(is_accepted, "a connection is accepted again")
