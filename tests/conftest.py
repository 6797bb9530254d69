"""Shared fixtures, each created by the first test that needs it."""

import gc
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import httpcore2
import httpx2._config
import pytest
from hypothesis import HealthCheck, settings

from tests.support.stack import Stack
from tests.support.types import CheckpointOf

# A test fails because of its findings, never because the machine is busy.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
# Two thousand HTTP clients would each parse the certificates of the system.
httpcore2.default_ssl_context = cache(httpcore2.default_ssl_context)
# httpx waits 5 seconds by default: a machine that is busy for that long would fail a test.
vars(httpx2._config.DEFAULT_TIMEOUT_CONFIG).update(connect=60.0, read=60.0, write=60.0, pool=60.0)
# A shell makes its background processes ignore Ctrl-C, and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Files are given to the parallel processes in order: long ones first, so that none of them begins last.
_LONG = (
    "bench/test_suite", "faults/test_recovery", "conformance/test_clients", "e2e/test_speech_stream",
    "e2e/test_long_text", "e2e/test_lifecycle", "speech_engines/qwen3_tts/batching/test_batching_engine",
    "e2e/test_voice_routing", "page/browser/test_accessibility", "conformance/test_openapi", "faults/test_stop",
    "faults/test_event_loop", "page/browser/test_player", "openai_frontend/api/test_voices", "faults/test_bodies",
    "speech_engines/qwen3_tts/codec/test_decoder", "speech_engines/qwen3_tts/test_check", "e2e/test_extensions",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {f"tests/{name}.py": rank for rank, name in enumerate(_LONG)}
    items.sort(key=lambda item: ranks.get(item.location[0], len(ranks)))


def pytest_collection_finish() -> None:
    # What 600 modules have created stays until the end: no garbage collection needs to look at it.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The embedded voice and the scripted model, never unloaded."""
    with Stack(tmp_path_factory.mktemp("script"), default_model="hibari", idle_timeout=0) as running:
        yield running


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> CheckpointOf:
    """`tiny_checkpoint(variant, projection=False)`: the folder of a tiny checkpoint."""
    import torch

    from tests.support.checkpoints import build_checkpoint

    torch.set_num_threads(1)  # tensors of this size are slower with a second thread
    parent = tmp_path_factory.mktemp("checkpoints")

    @cache
    def build(variant: str, projection: bool = False) -> Path:
        return build_checkpoint(parent / f"{variant}-{projection}", variant, "tiny", projection)

    return build
