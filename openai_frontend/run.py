"""Runs the server until a signal: streams have STOP_TIMEOUT to finish, a second signal ends them immediately."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from openai_frontend.server import Server, tune_interpreter
from openai_frontend.settings import Settings
from openai_frontend.stop_signals import StopSignals


class NotStartedError(Exception):
    """The app failed to start; the log has the reason."""


async def run(settings: Settings, signals: StopSignals, on_started: Callable[[], None] = lambda: None) -> None:
    """Serve until a signal has arrived and the server has stopped. Raises NotStartedError, and OSError if the address
    is unavailable."""
    logging.getLogger("uvicorn.error").addFilter(_is_worth_a_line)
    server = _Server(settings)
    tune_interpreter()
    serving = asyncio.create_task(server.run_until_stopped())
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    if server.started:
        # Not earlier: a uvicorn that is stopped during its start does not close the app's lifespan.
        signals.then(server.stop)
        if not signals.requested:
            on_started()
    await serving
    if not server.started:
        raise NotStartedError("the API could not be brought up.")


class _Server(Server):
    """A server that leaves the signals to `StopSignals`."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Refuse new connections and finish requests in flight; the second call aborts them."""
        if self.should_exit:
            for task in self.server_state.tasks:
                task.cancel()
        self.should_exit = True


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """False for a stream that is cut off at shutdown: its own log line reports it, and it is not an error."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError) and not record.getMessage().startswith("Cancel ")
