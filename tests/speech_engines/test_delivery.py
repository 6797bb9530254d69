"""Deliveries in a separate thread."""

import logging
import threading

import numpy as np
import pytest

from speech_engines import delivery as module
from speech_engines.delivery import DeliveryThread
from speech_protocol.errors import ErrorCode, SpeechError
from tests.support.sinks import WAIT_S, CollectingSink


class SlowSink(CollectingSink):
    """Takes its first chunk only when it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go = threading.Event()

    def audio(self, samples: np.ndarray, words: object = ()) -> None:
        assert self.may_go.wait(WAIT_S)
        super().audio(samples)


def test_deliveries_keep_their_order_and_a_fast_producer_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CAPACITY", 3)
    delivery, sink = DeliveryThread("test", lambda: None), SlowSink()
    delivered = delivery.wrap(sink)
    for number in range(8):
        delivered.audio(np.full(4, number, np.float32))
    caught_up = threading.Thread(target=delivery.catch_up)
    caught_up.start()
    assert not sink.chunks
    sink.may_go.set()
    caught_up.join(WAIT_S)
    assert not caught_up.is_alive()
    assert [chunk[0] for chunk in sink.chunks] == list(range(8))
    delivery.close()


def test_a_failing_sink_does_not_affect_other_streams(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(CollectingSink):
        def audio(self, samples: np.ndarray, words: object = ()) -> None:
            raise RuntimeError("gone")

    delivery, good = DeliveryThread("test", lambda: None), CollectingSink()
    with caplog.at_level(logging.CRITICAL):
        delivery.wrap(Broken()).audio(np.zeros(4, np.float32))
        delivery.wrap(good).error(SpeechError(ErrorCode.ENGINE_FAILURE, "over"))
        delivery.close()
    assert good.failed is not None


def test_a_disconnect_is_noticed_without_polling_by_the_caller() -> None:
    heard = threading.Event()
    delivery, sink = DeliveryThread("test", heard.set), CollectingSink()
    delivered = delivery.wrap(sink)
    delivered.watch()
    assert not delivered.is_cancelled()
    sink.cancel()
    assert heard.wait(WAIT_S)
    assert delivered.is_cancelled()
    delivery.close()
