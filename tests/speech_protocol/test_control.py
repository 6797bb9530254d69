"""The key of Triton's model control."""

import stat
from pathlib import Path

import pytest

from speech_protocol.control import FILE, VARIABLE, headers, make_key, read_key


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_key_is_kept_for_scripts_and_later_starts_and_read_by_its_owner_only() -> None:
    assert read_key({}) == ""
    key = make_key({})
    assert len(key) > 30
    assert stat.S_IMODE(FILE.stat().st_mode) == 0o600
    assert make_key({}) == read_key({}) == key


def test_the_environments_key_wins_and_is_written_nowhere() -> None:
    assert make_key({VARIABLE: "mine"}) == "mine"
    assert not FILE.exists()


def test_without_a_folder_to_write_to_there_is_still_a_key(folder: Path) -> None:
    (folder / FILE).mkdir()
    assert len(make_key({})) > 30


def test_without_a_key_no_header_is_sent() -> None:
    assert headers("") == {}
    assert headers("mine") == {"triton-control-key": "mine"}
