"""The watch's actions, with the test's own clock, processes and server."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from triton_supervisor.processes import Process
from triton_supervisor.repository import has_process
from triton_supervisor.watch import DRAIN_S, NO_PROCESS_S, SILENT_S, STOPPED_S, Watch

TRITON = Process(10, "S", "tritonserver")
STUB = Process(11, "S", "/backends/python/triton_python_backend_stub /repository/anna/1/model.py region")
SHELL = Process(11, "S", "bash -c exec /backends/python/triton_python_backend_stub /repository/anna/1/model.py")
BEFORE_S, AFTER_S = -0.5, 0.5


@dataclass
class World:
    """The watch's input, and its recorded actions."""

    model_states: dict[str, str] | None = field(default_factory=dict)
    active: set[str] = field(default_factory=set)
    triton: Process | None = TRITON
    below: list[Process] = field(default_factory=list)
    now_s: float = 0.0
    killed: list[int] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def states(self) -> dict[str, str]:
        if self.model_states is None:
            raise OSError
        return self.model_states

    def active_models(self) -> set[str]:
        return self.active

    def begin_load(self, model: str) -> None:
        self.loaded.append(model)

    def look_until(self, watch: Watch, end_s: float) -> None:
        while self.now_s < end_s:
            watch.look()
            self.now_s += 0.25


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def watch(world: World) -> Watch:
    return Watch(
        world,
        lambda: world.triton.pid if world.triton else None,
        clock=lambda: world.now_s,
        kill=world.killed.append,
        processes=lambda _: (world.triton, world.below),
    )


def test_a_load_without_a_process_ends_in_a_restart_of_triton(world: World, watch: Watch) -> None:
    world.model_states = {"anna": "LOADING"}
    world.look_until(watch, NO_PROCESS_S + BEFORE_S)
    assert not world.killed
    world.look_until(watch, NO_PROCESS_S + AFTER_S)
    assert world.killed == [TRITON.pid]


@pytest.mark.parametrize("process", [STUB, SHELL])
def test_a_load_whose_process_runs_may_take_as_long_as_it_likes(world: World, watch: Watch, process: Process) -> None:
    world.model_states, world.below = {"anna": "LOADING"}, [process]
    world.look_until(watch, 1000.0)
    assert not world.killed


def test_the_process_of_another_model_does_not_count(world: World, watch: Watch) -> None:
    world.model_states, world.below = {"bob": "LOADING", "anna": "READY"}, [STUB]
    world.look_until(watch, NO_PROCESS_S + AFTER_S)
    assert world.killed == [TRITON.pid]


def test_a_model_of_another_backend_has_no_process_and_may_load_as_long_as_it_likes(
    world: World, tmp_path: Path
) -> None:
    for model, backend in (("anna", "python"), ("net", "onnxruntime")):
        (tmp_path / model).mkdir()
        (tmp_path / model / "config.pbtxt").write_text(f'name: "{model}"\nbackend: "{backend}"\n')
    watch = Watch(
        world,
        lambda: TRITON.pid,
        has_process=has_process(["tritonserver", f"--model-repository={tmp_path}"]),
        clock=lambda: world.now_s,
        kill=world.killed.append,
        processes=lambda _: (world.triton, world.below),
    )
    world.model_states = {"net": "LOADING", "unknown": "LOADING"}
    world.look_until(watch, 1000.0)
    assert not world.killed
    world.model_states = {"anna": "LOADING"}
    world.look_until(watch, 1010.0)
    assert TRITON.pid in world.killed


def test_streams_of_other_models_may_end_before_the_restart_but_not_for_ever(world: World, watch: Watch) -> None:
    world.model_states, world.active = {"anna": "LOADING", "bob": "READY"}, {"bob"}
    world.look_until(watch, NO_PROCESS_S + DRAIN_S + BEFORE_S)
    assert not world.killed
    world.look_until(watch, NO_PROCESS_S + DRAIN_S + AFTER_S)
    assert world.killed == [TRITON.pid]


def test_the_restart_comes_as_soon_as_the_other_streams_have_ended(world: World, watch: Watch) -> None:
    world.model_states, world.active = {"anna": "LOADING", "bob": "READY"}, {"bob"}
    world.look_until(watch, NO_PROCESS_S + 1.0)
    world.active = {"anna"}  # the gauge that its dead process left behind
    watch.look()
    assert world.killed == [TRITON.pid]


def test_an_unload_without_a_process_is_ended_by_a_load(world: World, watch: Watch) -> None:
    world.model_states = {"anna": "UNLOADING"}
    world.look_until(watch, NO_PROCESS_S + AFTER_S)
    assert (world.loaded, world.killed) == (["anna"], [])


def test_an_unload_whose_process_still_speaks_is_left_alone(world: World, watch: Watch) -> None:
    world.model_states, world.below = {"anna": "UNLOADING"}, [STUB]
    world.look_until(watch, 1000.0)
    assert (world.loaded, world.killed) == ([], [])


def test_a_stopped_model_process_is_killed_and_one_that_goes_on_is_not(world: World, watch: Watch) -> None:
    world.model_states, world.below = {"anna": "READY"}, [Process(11, "T", STUB.command)]
    world.look_until(watch, STOPPED_S + BEFORE_S)
    world.below = [STUB]
    watch.look()
    world.below = [Process(11, "T", STUB.command)]
    world.look_until(watch, 2 * STOPPED_S + BEFORE_S)
    assert not world.killed
    world.look_until(watch, 2 * STOPPED_S + 1.0)
    assert set(world.killed) == {STUB.pid}


def test_a_stopped_triton_is_killed(world: World, watch: Watch) -> None:
    world.triton, world.model_states = Process(TRITON.pid, "T", "tritonserver"), None
    world.look_until(watch, STOPPED_S + AFTER_S)
    assert world.killed == [TRITON.pid]


def test_a_triton_that_answered_once_and_no_longer_does_is_killed(world: World, watch: Watch) -> None:
    watch.look()
    world.model_states = None
    world.look_until(watch, SILENT_S + BEFORE_S)
    assert not world.killed
    world.look_until(watch, SILENT_S + AFTER_S + 0.5)
    assert world.killed == [TRITON.pid]


def test_a_triton_that_is_still_starting_is_waited_for(world: World, watch: Watch) -> None:
    world.model_states = None
    world.look_until(watch, 1000.0)
    assert not world.killed


def test_after_a_restart_every_fault_is_counted_from_the_start(world: World, watch: Watch) -> None:
    world.model_states = {"anna": "LOADING"}
    world.look_until(watch, NO_PROCESS_S + BEFORE_S)
    world.triton = Process(20, "S", "tritonserver")
    world.look_until(watch, NO_PROCESS_S + AFTER_S)
    assert not world.killed
