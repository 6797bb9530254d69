"""Asynchronous delivery: one thread sends chunks to the sinks and polls for cancellation.

Sending one chunk through Triton takes half a millisecond, and polling a request for cancellation a tenth: with many
streams, that would be a large part of an engine step.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from speech_engines.base import AudioSink, Samples
from speech_protocol.errors import SpeechError
from speech_protocol.events import EndEvent, Word

logger = logging.getLogger(__name__)

POLL_S: Final = 0.02
# Deliveries in flight before the producer must wait.
CAPACITY: Final = 1024


class DeliveryThread:
    """The delivery thread. It calls `on_cancelled` when a request was cancelled."""

    def __init__(self, name: str, on_cancelled: Callable[[], None]) -> None:
        self._deliveries: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._watched: set[DeliverySink] = set()
        self._on_cancelled = on_cancelled
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wrap(self, sink: AudioSink) -> "DeliverySink":
        """A sink whose calls return immediately. It must receive its `end` or `error`."""
        return DeliverySink(sink, self)

    def put(self, delivery: Callable[[], None]) -> None:
        """Never waits, so that locks may be held; `catch_up` limits the deliveries instead."""
        self._deliveries.put(delivery)

    def catch_up(self) -> None:
        """Wait until at most the limit is in flight. Called by the producer between two steps."""
        if self._deliveries.qsize() > CAPACITY:
            done = threading.Event()
            self.put(done.set)
            done.wait()

    def watch(self, sink: "DeliverySink") -> None:
        """Poll `sink` for cancellation from now on, until it has ended."""
        self.put(lambda: self._watched.add(sink))

    def unwatch(self, sink: "DeliverySink") -> None:
        """Stop polling `sink`."""
        self.put(lambda: self._watched.discard(sink))

    def flush(self, timeout_s: float) -> None:
        """Wait until everything is delivered, at most for the time-out."""
        done = threading.Event()
        self.put(done.set)
        done.wait(timeout_s)

    def close(self) -> None:
        """Deliver the rest, and stop."""
        self._deliveries.put(None)
        self._thread.join()

    def _run(self) -> None:
        asked_s = 0.0
        while True:
            with suppress(queue.Empty):
                delivery = self._deliveries.get(timeout=POLL_S if self._watched else None)
                if delivery is None:
                    return
                self._guarded(delivery)
            if time.monotonic() - asked_s >= POLL_S:
                asked_s = time.monotonic()
                self._guarded(self._ask)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # sinks raise nothing; an exception would end delivery for all requests
            logger.exception("a delivery failed")

    def _ask(self) -> None:
        gone = [sink for sink in self._watched if sink.ask()]
        if gone:
            self._watched.difference_update(gone)
            self._on_cancelled()


class DeliverySink:
    """One request's sink behind the delivery thread. `is_cancelled` is the last polled value."""

    def __init__(self, sink: AudioSink, delivery: DeliveryThread) -> None:
        self._sink = sink
        self._delivery = delivery
        self._gone = False

    def watch(self) -> None:
        self._delivery.watch(self)

    def audio(self, samples: Samples, words: Sequence[Word] = ()) -> None:
        self._delivery.put(lambda: self._sink.audio(samples, words))

    def end(self, event: EndEvent) -> None:
        self._delivery.unwatch(self)
        self._delivery.put(lambda: self._sink.end(event))

    def error(self, error: SpeechError) -> None:
        self._delivery.unwatch(self)
        self._delivery.put(lambda: self._sink.error(error))

    def is_cancelled(self) -> bool:
        return self._gone

    def ask(self) -> bool:
        """Poll now."""
        self._gone = self._sink.is_cancelled()
        return self._gone
