"""Temporary folders of killed processes."""

import subprocess
import sys
from pathlib import Path

from local_stack.folders import FolderLock, remove_abandoned

HOLD = """
import pathlib, sys
from local_stack.folders import FolderLock
FolderLock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
input()
"""


def test_a_killed_processs_folder_is_removed_and_those_of_others_stay(tmp_path: Path) -> None:
    killed, held, unlocked, foreign = (tmp_path / name for name in ("ours-1", "ours-2", "ours-3", "theirs-1"))
    for folder in (killed, held, unlocked, foreign):
        folder.mkdir()
        (folder / "file").touch()
    (foreign / ".lock").touch()
    lock = FolderLock(held)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(killed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert remove_abandoned(tmp_path, "ours-") == []
        process.kill()
    assert remove_abandoned(tmp_path, "ours-") == ["ours-1"]
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["ours-2", "ours-3", "theirs-1"]
    lock.release()
    lock.release()
    assert remove_abandoned(tmp_path, "ours-") == ["ours-2"]
