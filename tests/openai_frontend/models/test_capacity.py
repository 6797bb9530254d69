"""The number of loaded models, and eviction, on a scripted Triton with several models."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from openai_frontend.models.capacity import ModelCapacity, usual_bytes
from openai_frontend.models.lifecycle import Lifecycle
from speech_client.triton import ModelState, ModelStatus, Triton
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.models import SPEECH_BATCH

GIB = 2**30
TIMEOUT_S = 10


class ScriptedTriton(Triton):
    """Loads and unloads take an iteration of the loop, in which neither may begin."""

    def __init__(self, *models: str) -> None:
        super().__init__("http://127.0.0.1:9", 1)
        self.states = dict.fromkeys((*models, SPEECH_BATCH), ModelState.UNLOADED)
        self.states[SPEECH_BATCH] = ModelState.READY
        self.calls: list[str] = []
        self.most = 0

    async def index(self) -> dict[str, ModelStatus]:
        await asyncio.sleep(0)
        for name, state in self.states.items():
            if state is ModelState.UNLOADING:
                self.states[name] = ModelState.UNLOADED
        return {name: ModelStatus(state) for name, state in self.states.items()}

    async def load(self, model: str) -> None:
        self.calls.append(f"load {model}")
        self.states[model] = ModelState.LOADING
        self.most = max(self.most, len(self.loaded()))
        await asyncio.sleep(0)
        self.states[model] = ModelState.READY

    async def unload(self, model: str) -> None:
        self.calls.append(f"unload {model}")
        self.states[model] = ModelState.UNLOADING

    async def last_inference_ms(self, model: str) -> int:
        return 0

    async def requests_of(self, model: str) -> int:
        return 0

    def loaded(self) -> set[str]:
        return {name for name, state in self.states.items() if state is not ModelState.UNLOADED} - {SPEECH_BATCH}


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1
        return self.now_s


async def use(lifecycle: Lifecycle, name: str) -> None:
    async with lifecycle.lease(name):
        pass


def test_for_one_model_too_many_the_one_not_used_for_longest_goes() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton("a", "b", "c")
        lifecycle = Lifecycle(triton, 0, Clock(), capacity=ModelCapacity(max_models=2))
        for name in ("a", "b", "a", "c", "a"):
            await use(lifecycle, name)
        assert triton.calls == ["load a", "load b", "unload b", "load c"]

    run(scenario)


def test_a_model_in_use_is_never_evicted_and_a_request_without_capacity_gets_retry_after() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton("a", "b")
        lifecycle = Lifecycle(triton, 0, Clock(), capacity=ModelCapacity(max_models=1))
        async with lifecycle.lease("a"):
            with pytest.raises(SpeechError, match="'b' does not fit into memory beside the models in use: a") as raised:
                await use(lifecycle, "b")
        assert raised.value.code is ErrorCode.BUSY
        assert triton.calls == ["load a"]
        await use(lifecycle, "b")
        assert triton.calls == ["load a", "unload a", "load b"]

    run(scenario)


def test_a_requested_model_is_loaded_although_the_loaded_one_is_never_idle() -> None:
    """Three busy loops on one model; another one is asked for once."""

    async def scenario() -> None:
        triton = ScriptedTriton("a", "b")
        lifecycle = Lifecycle(triton, 0, Clock(), capacity=ModelCapacity(max_models=1), switch_timeout_s=1_000)
        served: list[str] = []
        done = asyncio.Event()

        async def loop() -> None:
            while not done.is_set():
                async with lifecycle.lease("a"):
                    served.append("a")
                    for _ in range(5):  # overlaps with the leases of the others
                        await asyncio.sleep(0)

        loops = [asyncio.create_task(loop()) for _ in range(3)]
        while len(served) < 10:  # noqa: ASYNC110 - the loop's turns are all there is
            await asyncio.sleep(0)
        await use(lifecycle, "b")
        served_before = len(served)
        while len(served) < served_before + 10:  # noqa: ASYNC110 - and the first one comes back
            await asyncio.sleep(0)
        done.set()
        await asyncio.gather(*loops)
        assert triton.calls == ["load a", "unload a", "load b", "unload b", "load a"]
        assert triton.most == 1

    run(scenario)


def test_a_model_that_needs_the_memory_of_two_busy_ones_gets_both() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton("large", "b", "c")
        sizes = {"large": 2, "b": 1, "c": 1}
        capacity = ModelCapacity(memory_bytes=2, size_bytes=sizes.__getitem__)
        # Two hundred times as fast, so that a model has soon been loaded for long enough.
        lifecycle = Lifecycle(triton, 0, lambda: 200 * time.monotonic(), capacity=capacity, switch_timeout_s=800)
        done = asyncio.Event()

        async def loop(name: str) -> None:
            while not done.is_set():
                async with lifecycle.lease(name):
                    for _ in range(5):
                        await asyncio.sleep(0)

        loops = [asyncio.create_task(loop(name)) for name in "bcbc"]
        while len(triton.loaded()) < 2:  # noqa: ASYNC110 - the loop's turns are all there is
            await asyncio.sleep(0)
        await use(lifecycle, "large")
        done.set()
        await asyncio.gather(*loops)
        assert {"unload b", "unload c", "load large"} <= set(triton.calls)

    run(scenario)


def test_a_model_whose_memory_is_held_by_one_long_request_is_refused_in_time_and_others_continue() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton("a", "b")
        lifecycle = Lifecycle(triton, 0, Clock(), capacity=ModelCapacity(max_models=1), switch_timeout_s=100)
        async with lifecycle.lease("a"):
            with pytest.raises(SpeechError, match="does not fit") as raised:
                await use(lifecycle, "b")
            assert raised.value.code is ErrorCode.BUSY
            await use(lifecycle, "a")
        assert triton.calls == ["load a"]

    run(scenario)


def test_concurrent_requests_never_load_more_models_than_the_capacity() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton("a", "b", "c", "d")
        lifecycle = Lifecycle(triton, 0, Clock(), capacity=ModelCapacity(max_models=2))
        results = await asyncio.gather(*(use(lifecycle, name) for name in "abcdabcd"), return_exceptions=True)
        assert {result.code for result in results if isinstance(result, SpeechError)} <= {ErrorCode.BUSY}
        assert triton.most == 2

    run(scenario)


def test_a_kept_model_is_loaded_at_startup_and_neither_unloaded_when_idle_nor_evicted() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton("a", "b")
        lifecycle = Lifecycle(triton, 0.01, Clock(), capacity=ModelCapacity(max_models=1), keep=["a"])
        timer = asyncio.create_task(lifecycle.run_timer())
        while triton.states["a"] is not ModelState.READY:  # noqa: ASYNC110 - the loop's turns are all there is
            await asyncio.sleep(0)
        with pytest.raises(SpeechError):
            await use(lifecycle, "b")
        assert [call for call in triton.calls if SPEECH_BATCH not in call] == ["load a"]
        assert lifecycle.unload_in_s("a") is None
        timer.cancel()

    run(scenario)


def test_memory_is_what_models_take_and_one_alone_is_always_let_in() -> None:
    sizes = {"small": 5 * GIB, "large": 8 * GIB, "voice": 0}
    capacity = ModelCapacity(memory_bytes=10 * GIB, size_bytes=sizes.__getitem__)
    assert capacity.fits("small", ["voice"])
    assert not capacity.fits("large", ["small"])
    assert capacity.fits("voice", ["large"])
    assert ModelCapacity(memory_bytes=GIB, size_bytes=sizes.__getitem__).fits("large", [])


def test_a_model_that_is_in_use_is_not_unloaded_on_demand_and_an_unused_one_is() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton("a")
        lifecycle = Lifecycle(triton, 0, Clock())
        async with lifecycle.lease("a"):
            with pytest.raises(SpeechError, match="1 requests are using 'a'"):
                await lifecycle.unload("a")
        await lifecycle.unload("a")
        await lifecycle.unload("a")
        assert triton.calls == ["load a", "unload a"]

    run(scenario)


def test_the_usual_size_goes_by_the_checkpoints_name() -> None:
    names = ("Qwen/Qwen3-TTS-12Hz-0.6B-Base", "Qwen/Qwen3-TTS-12Hz-1.7B-VoiceDesign", "hibari-tts", "")
    assert [usual_bytes(name) // GIB for name in names] == [5, 8, 0, 0]
