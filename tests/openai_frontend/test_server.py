"""What every connection of the server has set."""

import asyncio
import socket

from local_stack.triton_process import free_port
from openai_frontend.server import listen
from tests.support.stack import GivenSettings


def test_no_packet_of_a_reply_waits_for_an_acknowledgement() -> None:
    async def scenario() -> int:
        options: asyncio.Queue[int] = asyncio.Queue()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            options.put_nowait(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = listen(GivenSettings(port=free_port()))
        async with await asyncio.start_server(connected, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.close()
            return await asyncio.wait_for(options.get(), 10)

    assert asyncio.run(scenario())
