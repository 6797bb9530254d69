"""The voice library with many concurrent processes, and with killed ones."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from openai_frontend.errors import ApiError
from openai_frontend.voices.reference import Reference
from tests.openai_frontend.voices.test_library import PCM, add, files_of, names, open_library

pytestmark = pytest.mark.slow

WRITERS = 4
VOICES_EACH = 8

_WRITER = """
import sys
from pathlib import Path
from openai_frontend.errors import ApiError
from tests.openai_frontend.voices.test_library import add, names, open_library
from tests.openai_frontend.voices.test_library_processes import VOICES_EACH

folder, number = Path(sys.argv[1]), sys.argv[2]
library = open_library(folder)
print("ready", flush=True)
sys.stdin.readline()
won = 0
for turn in range(VOICES_EACH):
    mine = add(library, f"{number}-{turn}")
    assert library.find(mine.id) == mine
    try:
        add(library, f"everybodys {turn}")
        won += 1
    except ApiError as error:
        assert error.code == "voice_name_taken", error
    consent = library.add_consent(f"{number}-{turn}", "en", b"yes", "audio/wav")
    assert f"{number}-{turn}" in names(library)
    if turn % 2:
        library.remove_voice(mine.id)
        library.remove_consent(consent.id)
        assert f"{number}-{turn}" not in names(library)
    else:
        library.rename_consent(consent.id, f"{number}-{turn} renamed")
print(won, flush=True)
"""


def start(code: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextmanager
def ended(*processes: "subprocess.Popen[str]") -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_processes_that_create_list_and_delete_at_once_lose_nothing(tmp_path: Path) -> None:
    writers = [start(_WRITER, str(tmp_path), str(number)) for number in range(WRITERS)]
    library = open_library(tmp_path)
    with ended(*writers):
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        with ThreadPoolExecutor(WRITERS) as threads:
            outputs = list(threads.map(lambda writer: writer.communicate("go\n", timeout=240)[0], writers))
        assert [writer.returncode for writer in writers] == [0] * WRITERS
    kept = {f"{number}-{turn}" for number in range(WRITERS) for turn in range(0, VOICES_EACH, 2)}
    assert (
        names(library) == names(open_library(tmp_path)) == kept | {f"everybodys {turn}" for turn in range(VOICES_EACH)}
    )
    assert sum(map(int, outputs)) == VOICES_EACH
    assert {consent.name for consent in library.consents()} == {f"{name} renamed" for name in kept}
    assert all(library.reference(voice).pcm == PCM for voice in library.voices())
    assert {path.name.partition("_")[0] for path in tmp_path.glob("*/*")} == {"voice", "cons"}


_KILLED = """
import itertools, sys
from pathlib import Path
from tests.openai_frontend.voices.test_library import PCM, add, open_library

library = open_library(Path(sys.argv[1]))
for turn in itertools.count():
    voice = add(library, f"{sys.argv[2]}-{turn}", PCM * 20, "A transcript.")
    print(voice.id, flush=True)
"""


def test_a_process_killed_while_it_writes_leaves_a_readable_library_with_all_confirmed_entries(
    tmp_path: Path,
) -> None:
    told: set[str] = set()
    whole = Reference.from_pcm(PCM * 20, "A transcript.")
    for number in range(3):
        writer = start(_KILLED, str(tmp_path), str(number))
        with ended(writer):
            assert writer.stdout is not None
            # Somewhere inside of the voices after these; if exactly is the kernel's choice.
            told |= {writer.stdout.readline().strip() for _ in range(2 + 2 * number)}
            writer.send_signal(signal.SIGKILL)
            told |= {line for line in writer.communicate(timeout=30)[0].split() if len(line) == len("voice_") + 32}
        library = open_library(tmp_path)
        found = {voice.id: voice for voice in library.voices()}
        assert told <= set(found)
        assert all(library.reference(voice) == whole for voice in found.values())
        library.remove_voice(found.popitem()[0])
        told &= set(found)
        add(library, f"after {number}", whole.pcm, whole.text)


@pytest.mark.parametrize("stage", ["fsync", "rename"])
def test_what_a_killed_process_left_is_never_visible_and_is_swept_away_later(
    tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
from tests.openai_frontend.voices.test_library import add, open_library
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
os.fsync = os.rename = Path.rename = die
{"os.fsync = lambda _: None" if stage == "rename" else ""}
add(open_library(Path(sys.argv[1])))
"""
    dead = start(code, str(tmp_path))
    with ended(dead):
        assert dead.wait(60) == -signal.SIGKILL
    (draft,) = (tmp_path / "voices").iterdir()
    library = open_library(tmp_path)
    assert library.voices() == []
    add(library, "first")
    assert draft.exists()  # it could be of a process that is still writing
    hours_ago = time.time() - 2 * 3600
    os.utime(draft, (hours_ago, hours_ago))
    add(library, "second")
    assert not draft.exists()
    assert names(library) == {"first", "second"}


def test_a_grave_that_was_not_emptied_is_swept_away_by_the_next_writer(tmp_path: Path) -> None:
    library = open_library(tmp_path)
    voice = add(library)
    with suppress(FileNotFoundError):
        files_of(tmp_path, voice).rename(tmp_path / "voices" / ".gone-0")
    assert library.voices() == []
    add(library, "next")
    assert {path.name for path in (tmp_path / "voices").iterdir()} == {library.voices()[0].id}


def test_a_writer_that_never_lets_go_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    library = open_library(tmp_path)
    add(library, "before")
    monkeypatch.setattr("openai_frontend.voices.store._LOCK_TIMEOUT_S", 0.2)
    with FileLock(tmp_path / ".lock"), pytest.raises(ApiError) as error:
        add(library, "after")
    assert (error.value.status, error.value.code) == (503, "storage_busy")
    assert names(library) == {"before"}
    assert len(list((tmp_path / "voices").iterdir())) == 1
