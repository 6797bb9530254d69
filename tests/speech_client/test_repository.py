"""Loads that are safe in every state of Triton's repository: over HTTP on a fake Triton, and on scripted indexes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from speech_client.repository import Repository
from speech_client.triton import ModelState, ModelStatus, Triton, UnreachableError
from speech_protocol.errors import ErrorCode, SpeechError
from tests.support.fake_triton import FakeTriton
from tests.support.waiting import eventually

LIMIT_S = 30  # longer than any of these takes
MODEL = "voice"


@pytest.fixture
def fake() -> Iterator[FakeTriton]:
    with FakeTriton(MODEL) as running:
        yield running


def with_repository(fake: FakeTriton, work: Callable[[Repository, Triton], Awaitable[None]], **options: float) -> None:
    async def run() -> None:
        async with asyncio.timeout(LIMIT_S), Triton(fake.url, LIMIT_S) as triton:
            await work(Repository(triton, **options), triton)

    asyncio.run(run())


def test_an_unloaded_model_is_loaded_and_a_ready_one_is_left_alone(fake: FakeTriton) -> None:
    async def work(repository: Repository, _: Triton) -> None:
        await repository.bring_up(MODEL)
        await repository.bring_up(MODEL)

    with_repository(fake, work)
    assert fake.calls == [f"load {MODEL}"]


def test_a_model_that_is_unloading_is_loaded_after_its_unload_only(fake: FakeTriton) -> None:
    fake.states[MODEL] = "READY"
    fake.hold_unloads = "the unload"

    async def work(repository: Repository, triton: Triton) -> None:
        await triton.unload(MODEL)
        bringing = asyncio.create_task(repository.bring_up(MODEL))
        polls = fake.index_calls
        await asyncio.to_thread(eventually, lambda: fake.index_calls > polls + 3, "the index is polled")
        assert fake.calls == [f"unload {MODEL}"]
        fake.release("the unload")
        await bringing

    with_repository(fake, work)
    assert fake.calls == [f"unload {MODEL}", f"load {MODEL}"]
    assert fake.states[MODEL] == "READY"


def test_a_crashed_model_which_stays_ready_is_unloaded_before_it_is_loaded(fake: FakeTriton) -> None:
    fake.states[MODEL] = "READY"
    fake.dead.add(MODEL)

    async def work(repository: Repository, triton: Triton) -> None:
        assert await triton.process_of(MODEL) is None
        await repository.bring_up(MODEL, dead=True)
        assert await triton.process_of(MODEL)

    with_repository(fake, work)
    assert fake.calls == [f"unload {MODEL}", f"load {MODEL}"]


def test_an_unknown_model_is_an_error_of_the_model(fake: FakeTriton) -> None:
    async def work(repository: Repository, _: Triton) -> None:
        with pytest.raises(SpeechError, match="no model 'other'") as error:
            await repository.bring_up("other")
        assert (error.value.code, error.value.param) == (ErrorCode.MODEL_UNAVAILABLE, "model")

    with_repository(fake, work)


def test_a_model_that_cannot_be_loaded_says_why_and_is_listed_as_failed(fake: FakeTriton) -> None:
    fake.load_errors[MODEL] = "[out_of_memory] The model does not fit."

    async def work(repository: Repository, _: Triton) -> None:
        with pytest.raises(SpeechError, match="does not fit") as error:
            await repository.bring_up(MODEL)
        assert error.value.code is ErrorCode.OUT_OF_MEMORY
        assert (await repository.now())[MODEL].state is ModelState.FAILED

    with_repository(fake, work)


def test_a_process_that_crashes_during_its_load_is_loaded_once_more() -> None:
    crashes: list[str] = []

    class Crashing(Triton):
        loads = 0

        async def load(self, model: str) -> None:
            self.loads += 1
            if self.loads <= self.crashing:
                raise SpeechError(ErrorCode.MODEL_DIED, "of the test")

    triton = Crashing("http://127.0.0.1:9", 1)
    triton.crashing = 1
    asyncio.run(Repository(triton).load(MODEL, lambda: crashes.append(MODEL)))
    assert (triton.loads, crashes) == (2, [MODEL])
    triton.loads, triton.crashing = 0, 2
    with pytest.raises(SpeechError, match="of the test"):
        asyncio.run(Repository(triton).load(MODEL))
    assert triton.loads == 2


def test_a_triton_that_was_never_reached_is_waited_for_at_the_start_and_else_not_at_all() -> None:
    fake = FakeTriton(MODEL)

    async def begin(repository: Repository, _: Triton) -> None:
        waiting = asyncio.create_task(repository.state(MODEL))
        await asyncio.to_thread(fake.__enter__)
        assert await waiting is ModelState.UNLOADED

    async def give_up(repository: Repository, _: Triton) -> None:
        with pytest.raises(UnreachableError, match="Triton does not answer"):
            await repository.state(MODEL)

    with_repository(fake, give_up)
    try:
        with_repository(fake, begin, start_timeout_s=LIMIT_S)
    finally:
        fake.__exit__()


# Scripted indexes


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Index(Triton):
    """A Triton whose index has one state of the model after the other, the last permanently; half a second
    passes for each."""

    def __init__(self, clock: Clock, *states: ModelState | None) -> None:
        super().__init__("http://127.0.0.1:9", 1)
        self._clock, self._states = clock, list(states)

    async def index(self) -> dict[str, ModelStatus]:
        self._clock.now_s += 0.5
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        if state is None:
            raise UnreachableError(ErrorCode.MODEL_UNAVAILABLE, "Triton does not answer.")
        return {MODEL: ModelStatus(state)}


READY, UNLOADING, UNLOADED = ModelState.READY, ModelState.UNLOADING, ModelState.UNLOADED


@pytest.mark.parametrize(
    ("states", "found"),
    [
        ((READY, UNLOADING, UNLOADED), UNLOADED),  # the index may lag behind the request
        ((UNLOADING, READY, UNLOADED), READY),  # another client has loaded it again
        ((READY, READY, READY), READY),  # within the two seconds after the request
        ((UNLOADING,), UNLOADING),  # permanently
    ],
)
def test_the_end_of_an_unload_is_what_the_index_says_in_the_end(
    states: tuple[ModelState, ...], found: ModelState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speech_client.repository.POLL_S", 0)
    clock = Clock()
    repository = Repository(Index(clock, *states), clock)
    assert asyncio.run(repository.wait_unloaded(MODEL, limit_s=20)) is found
    assert clock.now_s <= 22


def test_a_triton_that_became_unreachable_is_waited_for_as_long_as_a_restart_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("speech_client.repository.POLL_S", 0)
    clock = Clock()
    repository = Repository(Index(clock, READY, None, None, None, READY), clock, restart_timeout_s=10)

    async def outage() -> None:
        assert (await repository.wait())[MODEL].state is READY
        assert (await repository.wait())[MODEL].state is READY

    asyncio.run(outage())
    repository = Repository(Index(clock, READY, None), clock, restart_timeout_s=10)
    asyncio.run(repository.wait())
    begin_s = clock.now_s
    with pytest.raises(UnreachableError):
        asyncio.run(repository.wait())
    assert 10 <= clock.now_s - begin_s <= 13
