"""An engine's statistics: their values, and when they are published."""

import threading
from collections.abc import Mapping

import numpy as np

from speech_engines.stats import FAMILIES, Reporter
from speech_engines.worker import WorkerEngine
from speech_protocol.audio import FRAME_SAMPLES
from speech_protocol.request import SpeechRequest
from tests.speech_engines.test_worker import ScriptedSynthesizer, speak
from tests.support.sinks import CollectingSink
from tests.support.waiting import eventually


def test_figures_are_handed_on_once_an_interval_and_whenever_work_runs_out() -> None:
    now_s = [0.0]
    published: list[Mapping[str, float]] = []
    reporter = Reporter(lambda: {"now": now_s[0]}, published.append, interval_s=1.0, clock=lambda: now_s[0])
    for now_s[0], is_idle in ((0.0, False), (0.4, False), (0.9, True), (1.0, False), (1.95, False)):
        reporter.report(is_idle=is_idle)
    assert [stats["now"] for stats in published] == [0.0, 0.9, 1.95]


def test_an_engine_without_a_reporter_publishes_nothing() -> None:
    Reporter(lambda: {}).report(is_idle=True)


def test_a_worker_counts_its_steps_and_frames_and_says_when_it_is_idle() -> None:
    published: list[Mapping[str, float]] = []
    threads: set[str] = set()

    def publish(stats: Mapping[str, float]) -> None:
        threads.add(threading.current_thread().name)
        published.append(stats)

    engine = WorkerEngine(ScriptedSynthesizer({"three": speak(3, FRAME_SAMPLES)}), max_active=4)
    engine.report_to(publish)
    sink = CollectingSink()
    engine.submit(SpeechRequest("three"), sink)
    sink.result()
    eventually(lambda: published and published[-1]["tts_engine_active_rows"] == 0, "it says that it is idle")
    engine.close()
    last = published[-1]
    assert last["tts_engine_frames_total"] == 3
    assert last["tts_engine_steps_total"] == 4  # the last one found the end
    assert last["tts_engine_step_seconds_total"] > 0
    assert last["tts_engine_rows"] == 4
    assert set(last) <= set(FAMILIES)
    assert len(threads) == 1
    assert np.isfinite(list(last.values())).all()
