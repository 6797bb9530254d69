"""Liveness probes that streams share, and the meaning of their answers."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from speech_client.liveness import Liveness, ReplacedError
from speech_client.triton import Triton
from speech_protocol.errors import ErrorCode, SpeechError
from tests.support.fake_triton import FakeTriton

LIMIT_S = 30  # longer than any of these takes
MODEL = "voice"


class Probed(Triton):
    """A Triton whose probes return the test's answers: a process, "" for no answer in time, None for a crash."""

    def __init__(self, *answers: str | None) -> None:
        super().__init__("http://127.0.0.1:9", 1)
        self._answers = list(answers)
        self.probes = 0
        self.may_answer = asyncio.Event()

    async def process_of(self, model: str) -> str | None:
        self.probes += 1
        await self.may_answer.wait()
        return self._answers.pop(0)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_S):
            await work()

    asyncio.run(bounded())


def probed(*answers: str | None) -> Probed:
    triton = Probed(*answers)
    triton.may_answer.set()
    return triton


@pytest.mark.parametrize("answer", ["first", ""], ids=["the same process", "no answer in time"])
def test_the_same_process_and_a_late_answer_count_as_alive(answer: str) -> None:
    run(lambda: Liveness(probed(answer)).check(MODEL, "first"))


def test_a_crash_counts_only_where_a_second_probe_says_so_too() -> None:
    run(lambda: Liveness(probed(None, "first")).check(MODEL, "first"))
    with pytest.raises(SpeechError, match="crashed") as error:
        run(lambda: Liveness(probed(None, None)).check(MODEL, "first"))
    assert error.value.code is ErrorCode.MODEL_DIED
    assert not isinstance(error.value, ReplacedError)


@pytest.mark.parametrize(("answer", "replaced"), [("second", False), ("first", True)])
def test_another_process_or_another_load_ends_the_streams_of_the_one_before(answer: str, replaced: bool) -> None:
    with pytest.raises(ReplacedError):
        run(lambda: Liveness(probed(answer)).check(MODEL, "first", lambda: replaced))


def test_streams_of_one_model_share_a_probe_and_one_that_ends_leaves_it_to_the_others() -> None:
    triton = Probed("first", "first")

    async def work() -> None:
        liveness = Liveness(triton)
        checks = [asyncio.create_task(liveness.check(MODEL, "first")) for _ in range(5)]
        other = asyncio.create_task(liveness.check("other", "first"))
        await asyncio.sleep(0)
        checks[0].cancel()
        triton.may_answer.set()
        await asyncio.gather(*checks[1:], other)
        assert checks[0].cancelled()

    run(work)
    assert triton.probes == 2


def test_probes_in_flight_are_cancelled_at_the_end() -> None:
    async def work() -> None:
        liveness = Liveness(Probed("first"))
        check = asyncio.create_task(liveness.check(MODEL, "first"))
        await asyncio.sleep(0)
        await liveness.aclose()
        with pytest.raises(asyncio.CancelledError):
            await check

    run(work)


def test_tritons_answers_tell_a_live_process_from_a_crashed_one() -> None:
    async def work() -> None:
        async with Triton(fake.url, LIMIT_S) as triton:
            liveness = Liveness(triton)
            process = await triton.process_of(MODEL)
            assert process
            await liveness.check(MODEL, process)
            fake.dead.add(MODEL)  # the index still says READY
            assert str((await triton.index())[MODEL].state) == "ready"
            with pytest.raises(SpeechError, match="crashed"):
                await liveness.check(MODEL, process)
            await triton.unload(MODEL)
            await triton.load(MODEL)
            with pytest.raises(ReplacedError):
                await liveness.check(MODEL, process)

    with FakeTriton(MODEL, loaded=True) as fake:
        run(work)
