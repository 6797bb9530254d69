"""The record of a request: late chunks, runaway stops, failures, and kinds of voices."""

from openai_frontend.observability.metrics import Metrics
from openai_frontend.observability.tracing import NoTracer
from openai_frontend.synthesis.record import RequestRecord, voice_kind
from speech_client.triton import Message
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import AudioEvent, EndEvent, FinishReason
from speech_protocol.models import HIBARI, QWEN3_TTS_BASE, QWEN3_TTS_VOICE_DESIGN
from speech_protocol.request import BlendPart, SpeechRequest

NO_TRACE = NoTracer().start("test")


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def audio(seconds: float) -> Message:
    samples = round(seconds * SAMPLE_RATE_HZ)
    return Message(AudioEvent(samples), bytes(samples * SAMPLE_BYTES))


def test_a_chunk_is_late_where_the_engine_was_and_not_where_the_client_was() -> None:
    metrics, clock = Metrics(), Clock()
    record = RequestRecord(metrics, "m", SpeechRequest("Hello."), "pcm", NO_TRACE, clock)

    def late() -> float:
        return metrics.registry.get_sample_value("tts_underruns_total", {"model": "m"}) or 0.0

    for asked_s, arrived_s in ((0.0, 1.0), (1.0, 1.4), (1.4, 1.95)):  # each half a second long
        clock.now_s = arrived_s
        record.arrived(audio(0.5), asked_s)
    assert late() == 0
    clock.now_s = 2.7  # played out at 2.5, and waited for
    record.arrived(audio(0.5), 1.95)
    assert late() == 1
    clock.now_s = 9.0  # played out long ago, but asked for only now
    record.arrived(audio(0.5), 9.0)
    assert late() == 1


def test_an_utterance_that_the_guard_cut_is_counted_by_reason() -> None:
    metrics = Metrics()
    record = RequestRecord(metrics, "m", SpeechRequest("Hello."), "pcm", NO_TRACE)
    record.arrived(audio(FRAME_SAMPLES / SAMPLE_RATE_HZ), 0.0)
    record.arrived(Message(EndEvent(FinishReason.REPETITION, FRAME_SAMPLES, 1, 0.0, 0.0, 0.0)), 0.0)
    record.ended()
    record.close()
    assert metrics.registry.get_sample_value("tts_guard_trips_total", {"model": "m", "reason": "repetition"}) == 1


def test_a_failure_without_a_code_of_ours_is_counted_too() -> None:
    metrics = Metrics()
    for error in (ValueError("x"), SpeechError(ErrorCode.QUEUE_FULL, "full")):
        record = RequestRecord(metrics, "m", SpeechRequest("Hello."), "pcm", NO_TRACE)
        record.failed(error)
        record.close()
    labels = {"model": "m", "voice_kind": "builtin", "format": "pcm"}
    for outcome, code in (("failed", "internal_error"), ("refused", "queue_full")):
        found = metrics.registry.get_sample_value("tts_requests_total", {**labels, "outcome": outcome, "code": code})
        assert found == 1


def test_the_kind_of_a_voice_follows_the_engines_request() -> None:
    part = BlendPart(b"", 1.0)
    assert voice_kind(HIBARI.name, SpeechRequest("x", instruct="softly")) == "builtin"
    assert voice_kind(QWEN3_TTS_VOICE_DESIGN.name, SpeechRequest("x", instruct="a deep voice")) == "design"
    assert voice_kind(QWEN3_TTS_BASE.name, SpeechRequest("x", ref_audio=b"")) == "clone"
    assert voice_kind(QWEN3_TTS_BASE.name, SpeechRequest("x", ref_blend=(part, part))) == "blend"
