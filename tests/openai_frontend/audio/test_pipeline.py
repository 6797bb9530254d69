import asyncio
import threading
import weakref

import pytest

from openai_frontend.audio.encoders import Encoder
from openai_frontend.audio.formats import FORMATS, AudioFormat
from openai_frontend.audio.pipeline import SpeechEncoder
from tests.openai_frontend.audio.signals import best_shift, chunks, decode, to_pcm, utterance

WAIT_S = 10


class SpyEncoder:
    """Notes its threads; `encode` waits for `gate` when there is one."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.gate = gate
        self.entered = threading.Event()
        self.threads: set[int] = set()
        self.calls: list[str] = []

    def encode(self, pcm: bytes) -> bytes:
        self.threads.add(threading.get_ident())
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(WAIT_S)
        self.calls.append("encode")
        return pcm

    def close(self) -> bytes:
        self.calls.append("close")
        return b""


def spy_format(spy: Encoder, *, needs_cpu: bool) -> AudioFormat:
    once = [spy]  # the caller that opens the encoder is its only owner
    return AudioFormat("spy", "audio/spy", "spy", needs_cpu, once.pop)


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
def test_a_reply_is_the_speech_at_its_speed_in_its_format(name: str, speed: float) -> None:
    encoder = SpeechEncoder(FORMATS[name], speed)
    body = b"".join(encoder.feed(chunk) for chunk in chunks(to_pcm(utterance(3.0)))) + encoder.finish()
    assert decode(body, name).size / 24_000 == pytest.approx(3.0 / speed, rel=0.01)


async def _reply(name: str, speed: float, pcm: bytes) -> bytes:
    encoder = SpeechEncoder(FORMATS[name], speed)
    parts = [await encoder.feed_async(chunk) for chunk in chunks(pcm)]
    return b"".join(parts) + await encoder.finish_async()


@pytest.mark.parametrize("name", ["mp3", "flac", "wav", "pcm"])
def test_the_async_methods_make_the_same_bytes(name: str) -> None:
    pcm = to_pcm(utterance(1.0))
    encoder = SpeechEncoder(FORMATS[name], 1.5)
    assert asyncio.run(_reply(name, 1.5, pcm)) == encoder.feed(pcm) + encoder.finish()


def test_replies_encoded_at_the_same_time_do_not_mix() -> None:
    originals = [utterance(1.0 + 0.2 * number) for number in range(4)]

    async def all_replies() -> list[bytes]:
        return await asyncio.gather(*(_reply("aac", 1.0, to_pcm(samples)) for samples in originals))

    for original, body in zip(originals, asyncio.run(all_replies()), strict=True):
        assert best_shift(decode(body, "aac"), original)[1] > 0.99


@pytest.mark.parametrize(
    ("needs_cpu", "speed", "in_loop"), [(False, 1.0, True), (True, 1.0, False), (False, 2.0, False)]
)
def test_only_what_costs_cpu_time_goes_to_a_thread(needs_cpu: bool, speed: float, in_loop: bool) -> None:
    spy = SpyEncoder()

    async def feed() -> None:
        encoder = SpeechEncoder(spy_format(spy, needs_cpu=needs_cpu), speed)
        await encoder.feed_async(bytes(9_600))
        await encoder.finish_async()

    asyncio.run(feed())
    assert (threading.get_ident() in spy.threads) is in_loop


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("speed", [1.0, 2.0])
def test_abort_can_come_at_any_time_and_twice_and_nothing_follows(name: str, speed: float) -> None:
    for fed in ([], [b"\x01"], chunks(to_pcm(utterance(0.5)))):
        encoder = SpeechEncoder(FORMATS[name], speed)
        for piece in fed:
            encoder.feed(piece)
        encoder.abort()
        encoder.abort()
        assert encoder.feed(bytes(3_840)) == b""
        assert encoder.finish() == b""


def test_finish_returns_the_tail_once() -> None:
    encoder = SpeechEncoder(FORMATS["mp3"])
    encoder.feed(to_pcm(utterance(0.5)))
    assert encoder.finish() != b""
    assert encoder.finish() == b""


def test_abort_neither_waits_for_a_feed_in_another_thread_nor_encodes_and_the_feed_frees_the_codec() -> None:
    gate = threading.Event()
    spy = SpyEncoder(gate)
    freed = weakref.ref(spy)
    encoder = SpeechEncoder(spy_format(spy, needs_cpu=True))
    feeding = threading.Thread(target=encoder.feed, args=(b"\x00\x00",))
    feeding.start()
    assert spy.entered.wait(WAIT_S)
    encoder.abort()
    assert spy.calls == []
    calls = spy.calls
    gate.set()
    feeding.join(WAIT_S)
    assert (encoder.feed(b"\x00\x00"), encoder.finish(), calls) == (b"", b"", ["encode"])
    del spy
    assert freed() is None


def test_the_encoder_is_freed_even_when_its_last_piece_fails() -> None:
    class Failing(SpyEncoder):
        def encode(self, pcm: bytes) -> bytes:
            raise RuntimeError("no more")

    spy = Failing()
    with pytest.raises(RuntimeError, match="no more"):
        SpeechEncoder(spy_format(spy, needs_cpu=True)).finish()
    assert spy.calls == ["close"]


def test_a_speed_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="speed is 5"):
        SpeechEncoder(FORMATS["mp3"], 5)
