"""The lifecycle's rules on a scripted Triton, with which every race can be arranged. tests/e2e has the real one."""

import asyncio
from collections.abc import Callable
from time import time

import pytest

from openai_frontend.models.lifecycle import Lifecycle
from speech_client.liveness import ReplacedError
from speech_client.triton import ModelState, ModelStatus, Triton, UnreachableError
from speech_protocol.errors import ErrorCode, SpeechError

IDLE_TIMEOUT_S = 0.2
TIMEOUT_S = 10


class ScriptedTriton(Triton):
    """Knows one model, `voice`. Loads and unloads take until they are allowed to end; a wrong move is recorded."""

    def __init__(self, state: ModelState = ModelState.UNLOADED) -> None:
        super().__init__("http://127.0.0.1:9", 1)
        self.state = state
        self.calls: list[str] = []
        self.violations: list[str] = []
        self.load_error: SpeechError | None = None
        self.may_load = asyncio.Event()
        self.may_unload = asyncio.Event()
        self.last_inference_s = 0.0
        self.foreign_requests = 0
        self.process: str | None = "first"
        self.questions = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.looks = 0
        self.away = False
        self.may_load.set()
        self.may_unload.set()

    async def index(self) -> dict[str, ModelStatus]:
        self.looks += 1
        if self.away:
            raise UnreachableError(ErrorCode.MODEL_UNAVAILABLE, "Triton does not answer.")
        if self.state is ModelState.UNLOADING and self.may_unload.is_set():
            self.state = ModelState.UNLOADED
        return {"voice": ModelStatus(self.state)}

    async def load(self, model: str) -> None:
        self.calls.append("load")
        if self.state not in {ModelState.UNLOADED, ModelState.FAILED}:
            self.violations.append(f"load while {self.state}")
        self.state = ModelState.LOADING
        await self.may_load.wait()
        if self.load_error is not None:
            self.state = ModelState.FAILED
            raise self.load_error
        self.state = ModelState.READY

    async def unload(self, model: str) -> None:
        self.calls.append("unload")
        if self.away:
            raise UnreachableError(ErrorCode.MODEL_UNAVAILABLE, "Triton does not answer.")
        if self.state is not ModelState.READY:
            self.violations.append(f"unload while {self.state}")
        self.state = ModelState.UNLOADING

    async def process_of(self, model: str) -> str | None:
        self.questions += 1
        await self.may_answer.wait()
        return self.process

    async def last_inference_ms(self, model: str) -> int:
        return int(self.last_inference_s * 1000)

    async def requests_of(self, model: str) -> int:
        return self.foreign_requests


class Clock:
    """Seconds set by a test."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def let_others_run(number: int = 1) -> None:
    """Let every other task run."""
    for _ in range(number):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await let_others_run()


async def timer_rounds(triton: ScriptedTriton, number: int = 3) -> None:
    """Let the idle timer look at Triton some more times."""
    looks = triton.looks
    await until(lambda: triton.looks >= looks + number)


async def hold(lifecycle: Lifecycle, release: asyncio.Event) -> None:
    async with lifecycle.lease("voice"):
        await release.wait()


def run(test: Callable[[], object]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def test_many_requests_on_a_cold_model_share_one_load() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton()
        lifecycle = Lifecycle(triton, IDLE_TIMEOUT_S)
        triton.may_load.clear()
        release = asyncio.Event()
        requests = [asyncio.create_task(hold(lifecycle, release)) for _ in range(10)]
        await until(lambda: triton.calls)
        triton.may_load.set()
        release.set()
        await asyncio.gather(*requests)
        assert triton.calls == ["load"]
        assert not triton.violations

    run(scenario)


def test_a_cancelled_request_does_not_stop_the_load_for_the_others() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton()
        lifecycle = Lifecycle(triton, IDLE_TIMEOUT_S)
        triton.may_load.clear()
        release = asyncio.Event()
        first, second = (asyncio.create_task(hold(lifecycle, release)) for _ in range(2))
        await until(lambda: triton.calls)
        first.cancel()
        await asyncio.wait({first})
        triton.may_load.set()
        release.set()
        await second
        assert triton.calls == ["load"]

    run(scenario)


def test_a_failed_load_fails_all_waiting_requests_and_the_next_request_retries() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton()
        lifecycle = Lifecycle(triton, IDLE_TIMEOUT_S)
        triton.load_error = SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, "no checkpoint")
        release = asyncio.Event()
        release.set()
        outcomes = await asyncio.gather(*(hold(lifecycle, release) for _ in range(3)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [SpeechError] * 3
        assert triton.calls == ["load"]
        triton.load_error = None
        await hold(lifecycle, release)
        assert triton.calls == ["load", "load"]
        assert not triton.violations

    run(scenario)


def test_a_request_during_an_unload_waits_for_its_end_and_then_loads() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton(ModelState.UNLOADING)
        lifecycle = Lifecycle(triton, IDLE_TIMEOUT_S)
        triton.may_unload.clear()
        release = asyncio.Event()
        release.set()
        request = asyncio.create_task(hold(lifecycle, release))
        await let_others_run(50)
        assert triton.calls == []
        triton.may_unload.set()
        await request
        assert triton.calls == ["load"]
        assert not triton.violations

    run(scenario)


def test_an_idle_model_is_unloaded_once_and_a_leased_one_never() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton()
        clock = Clock()
        lifecycle = Lifecycle(triton, IDLE_TIMEOUT_S, clock)
        timer = asyncio.create_task(lifecycle.run_timer())
        release = asyncio.Event()
        request = asyncio.create_task(hold(lifecycle, release))
        await until(lambda: triton.state is ModelState.READY)
        clock.now_s += 10 * IDLE_TIMEOUT_S
        await timer_rounds(triton)
        assert (lifecycle.unload_in_s("voice"), triton.calls) == (None, ["load"])
        release.set()
        await request
        await timer_rounds(triton)
        assert triton.calls == ["load"]
        clock.now_s += IDLE_TIMEOUT_S
        await until(lambda: triton.state is ModelState.UNLOADED)
        assert triton.calls == ["load", "unload"]
        assert not triton.violations
        timer.cancel()

    run(scenario)


def test_requests_that_come_while_the_timer_unloads_get_a_fresh_load_and_no_overlap() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton()
        clock = Clock()
        lifecycle = Lifecycle(triton, IDLE_TIMEOUT_S, clock)
        timer = asyncio.create_task(lifecycle.run_timer())
        release = asyncio.Event()
        release.set()
        await hold(lifecycle, release)
        triton.may_unload.clear()
        clock.now_s += IDLE_TIMEOUT_S
        await until(lambda: triton.state is ModelState.UNLOADING)
        requests = [asyncio.create_task(hold(lifecycle, release)) for _ in range(5)]
        triton.may_unload.set()
        await asyncio.gather(*requests)
        assert triton.calls == ["load", "unload", "load"]
        assert not triton.violations
        timer.cancel()

    run(scenario)


def test_a_model_that_another_client_uses_directly_is_kept() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton(ModelState.READY)
        clock = Clock()
        lifecycle = Lifecycle(triton, IDLE_TIMEOUT_S, clock)
        timer = asyncio.create_task(lifecycle.run_timer())
        await timer_rounds(triton)
        for _ in range(5):
            triton.last_inference_s += 1
            clock.now_s += IDLE_TIMEOUT_S
            await timer_rounds(triton)
        assert triton.calls == []
        clock.now_s += IDLE_TIMEOUT_S
        await until(lambda: triton.calls == ["unload"])
        timer.cancel()

    run(scenario)


@pytest.mark.parametrize("offset_s", [-3600, 3600])
def test_the_clock_of_tritons_machine_need_not_agree_with_ours(offset_s: float) -> None:
    async def scenario() -> None:
        triton = ScriptedTriton(ModelState.READY)
        clock = Clock()
        lifecycle = Lifecycle(triton, IDLE_TIMEOUT_S, clock)
        triton.last_inference_s = time() + offset_s
        timer = asyncio.create_task(lifecycle.run_timer())
        await timer_rounds(triton)
        assert triton.calls == []
        clock.now_s += IDLE_TIMEOUT_S
        await until(lambda: triton.calls == ["unload"])
        timer.cancel()

    run(scenario)


def test_a_model_with_a_stream_of_another_client_is_kept_until_it_has_ended() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton(ModelState.READY)
        clock = Clock()
        lifecycle = Lifecycle(triton, IDLE_TIMEOUT_S, clock)
        triton.foreign_requests = 1
        timer = asyncio.create_task(lifecycle.run_timer())
        await timer_rounds(triton)
        for _ in range(5):
            clock.now_s += IDLE_TIMEOUT_S
            await timer_rounds(triton)
        assert triton.calls == []
        triton.foreign_requests = 0
        clock.now_s += IDLE_TIMEOUT_S
        await until(lambda: triton.calls == ["unload"])
        timer.cancel()

    run(scenario)


@pytest.mark.parametrize("state", [ModelState.LOADING, ModelState.READY])
def test_a_model_that_is_loading_or_refuses_is_not_said_to_be_unloaded(state: ModelState) -> None:
    class Refusing(ScriptedTriton):
        async def unload(self, model: str) -> None:
            raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, "no")

    async def scenario() -> None:
        lifecycle = Lifecycle(Refusing(state), 0)
        with pytest.raises(SpeechError) as raised:
            await lifecycle.unload("voice")
        assert raised.value.code is (ErrorCode.BUSY if state is ModelState.LOADING else ErrorCode.MODEL_UNAVAILABLE)

    run(scenario)


def test_a_mistrusted_model_is_looked_up_again() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton()
        lifecycle = Lifecycle(triton, 0)
        release = asyncio.Event()
        release.set()
        await hold(lifecycle, release)
        triton.state = ModelState.UNLOADED  # Triton restarted
        await hold(lifecycle, release)
        assert triton.calls == ["load"]
        lifecycle.mark_unavailable("voice", lifecycle.generation("voice"))
        await hold(lifecycle, release)
        assert triton.calls == ["load", "load"]

    run(scenario)


def test_requests_wait_for_a_lost_triton_until_the_time_out_and_then_fail_at_once() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton(ModelState.READY)
        clock = Clock()
        lifecycle = Lifecycle(triton, 0, clock, restart_timeout_s=5)
        triton.away = True
        with pytest.raises(UnreachableError):
            await lifecycle.ensure_ready("voice")  # it was never there
        triton.away = False
        await lifecycle.ensure_ready("voice")
        triton.away, triton.state = True, ModelState.UNLOADED
        lifecycle.mark_unavailable("voice", lifecycle.generation("voice"))
        waiting = asyncio.create_task(lifecycle.ensure_ready("voice"))
        await timer_rounds(triton)
        triton.away = False
        await waiting
        assert triton.calls == ["load"]
        triton.away = True
        lifecycle.mark_unavailable("voice", lifecycle.generation("voice"))
        waiting = asyncio.create_task(lifecycle.ensure_ready("voice"))
        await timer_rounds(triton)
        clock.now_s += 5
        with pytest.raises(UnreachableError):
            await waiting
        looks = triton.looks
        with pytest.raises(UnreachableError):
            await lifecycle.ensure_ready("voice")
        assert triton.looks <= looks + 2

    run(scenario)


def test_a_triton_that_was_never_there_is_waited_for_where_it_comes_with_the_first_request() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton()
        clock = Clock()
        lifecycle = Lifecycle(triton, 0, clock, start_timeout_s=100)
        triton.away = True
        waiting = asyncio.create_task(lifecycle.ensure_ready("voice"))
        await timer_rounds(triton)
        clock.now_s += 99
        await timer_rounds(triton)
        triton.away = False
        await waiting
        assert triton.calls == ["load"]
        triton.away = True
        lifecycle.mark_unavailable("voice", lifecycle.generation("voice"))
        waiting = asyncio.create_task(lifecycle.ensure_ready("voice"))
        await timer_rounds(triton)
        clock.now_s += 100
        with pytest.raises(UnreachableError):
            await waiting

    run(scenario)


def test_a_triton_that_dies_with_a_models_process_is_waited_for_and_the_model_loaded() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton(ModelState.READY)
        lifecycle = Lifecycle(triton, 0, restart_timeout_s=TIMEOUT_S)
        await lifecycle.ensure_ready("voice")
        lifecycle.mark_unavailable("voice", lifecycle.generation("voice"), dead=True)
        dies_at = triton.unload

        async def die(model: str) -> None:
            triton.away = True
            await dies_at(model)

        triton.unload = die  # type: ignore[method-assign]
        waiting = asyncio.create_task(lifecycle.ensure_ready("voice"))
        await until(lambda: triton.calls == ["unload"])
        await timer_rounds(triton)
        triton.away, triton.state = False, ModelState.UNLOADED
        await waiting
        assert triton.calls == ["unload", "load"]

    run(scenario)


def test_a_model_whose_process_died_is_unloaded_before_it_is_loaded_again() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton()
        lifecycle = Lifecycle(triton, 0)
        release = asyncio.Event()
        release.set()
        await hold(lifecycle, release)
        lifecycle.mark_unavailable("voice", lifecycle.generation("voice"), dead=True)  # the index still says READY
        await asyncio.gather(*(hold(lifecycle, release) for _ in range(3)))
        assert triton.calls == ["load", "unload", "load"]
        assert not triton.violations

    run(scenario)


def test_streams_of_a_model_share_one_liveness_probe() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton(ModelState.READY)
        lifecycle = Lifecycle(triton, 0)
        triton.may_answer.clear()
        asked = lifecycle.generation("voice")
        who = [asyncio.create_task(lifecycle.check_alive("voice", asked, "first")) for _ in range(5)]
        await until(lambda: triton.questions)
        triton.process = None
        triton.may_answer.set()
        answers = await asyncio.gather(*who, return_exceptions=True)
        assert triton.questions == 2  # one slow answer is not a crash
        assert {answer.code for answer in answers if isinstance(answer, SpeechError)} == {ErrorCode.MODEL_DIED}

    run(scenario)


def test_a_replaced_process_is_detected_although_its_successor_is_alive_and_is_not_replaced_again() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton()
        lifecycle = Lifecycle(triton, 0)
        release = asyncio.Event()
        release.set()
        await hold(lifecycle, release)
        earlier = lifecycle.generation("voice")
        lifecycle.mark_unavailable("voice", earlier, dead=True)
        await hold(lifecycle, release)
        with pytest.raises(SpeechError) as raised:
            await lifecycle.check_alive("voice", earlier, "first")
        assert raised.value.code is ErrorCode.MODEL_DIED
        lifecycle.mark_unavailable("voice", earlier, dead=True)
        await hold(lifecycle, release)
        assert triton.calls == ["load", "unload", "load"]

    run(scenario)


def test_a_process_replaced_by_another_frontend_is_detected_and_the_request_is_retried_without_a_load() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton(ModelState.READY)
        lifecycle = Lifecycle(triton, 0)
        await lifecycle.ensure_ready("voice")
        generation = lifecycle.generation("voice")
        await lifecycle.check_alive("voice", generation, "first")
        triton.process = "second"
        with pytest.raises(ReplacedError):
            await lifecycle.check_alive("voice", generation, "first")
        triton.process = ""  # it is too busy to say
        await lifecycle.check_alive("voice", generation, "first")
        lifecycle.mark_unavailable("voice", generation)
        await lifecycle.ensure_ready("voice")
        assert triton.calls == []

    run(scenario)


def test_a_model_that_another_client_loads_during_our_unload_blocks_no_request() -> None:
    async def scenario() -> None:
        triton = ScriptedTriton()
        clock = Clock()
        lifecycle = Lifecycle(triton, IDLE_TIMEOUT_S, clock)
        timer = asyncio.create_task(lifecycle.run_timer())
        release = asyncio.Event()
        release.set()
        await hold(lifecycle, release)
        triton.may_unload.clear()
        clock.now_s += IDLE_TIMEOUT_S
        await until(lambda: triton.state is ModelState.UNLOADING)
        await timer_rounds(triton, 1)
        triton.state = ModelState.READY  # another client's load
        async with asyncio.timeout(TIMEOUT_S):
            await hold(lifecycle, release)
        assert triton.calls == ["load", "unload"]
        timer.cancel()

    run(scenario)


def test_a_model_whose_statistics_fail_does_not_end_the_idle_timer() -> None:
    class Failing(ScriptedTriton):
        async def last_inference_ms(self, model: str) -> int:
            if self.looks < 5:
                raise KeyError("model_stats")
            return 0

    async def scenario() -> None:
        triton = Failing(ModelState.READY)
        clock = Clock()
        lifecycle = Lifecycle(triton, IDLE_TIMEOUT_S, clock)
        timer = asyncio.create_task(lifecycle.run_timer())
        await timer_rounds(triton, 1)
        clock.now_s += IDLE_TIMEOUT_S
        await until(lambda: triton.calls == ["unload"])
        timer.cancel()

    run(scenario)


def test_a_model_that_triton_does_not_have_is_a_clear_error() -> None:
    async def scenario() -> None:
        lifecycle = Lifecycle(ScriptedTriton(), IDLE_TIMEOUT_S)
        with pytest.raises(SpeechError, match="no model 'other'"):
            await lifecycle.ensure_ready("other")

    run(scenario)
