"""What killed processes leave half written, and what live ones are at."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from peftcorr.files import atomic_path, remove_dead, seal_folder, whole_folder, write_json
from peftcorr.predictions import PREDICTION_SCHEMA, write_predictions


def test_what_the_dead_left_is_removed_and_what_lives_is_kept(tmp_path: Path) -> None:
    deep = tmp_path / "adapters" / "run"
    deep.mkdir(parents=True)
    for left in (tmp_path / ".a.json.making-x", deep / ".b.making-y", deep / ".b.making-y.lock"):
        left.touch()
    (tmp_path / ".folder.making-z" / "inner").mkdir(parents=True)
    kept = [tmp_path / ".other.lock", tmp_path / "a.making-x", deep / ".hidden"]
    for path in kept:
        path.touch()
    with atomic_path(tmp_path / "a.json") as one, whole_folder(deep / "whole") as folder:
        one.write_text("{}")
        (folder / "file").write_text("half")
        remove_dead(tmp_path)
        assert sorted(
            path for path in tmp_path.rglob("*") if not path.is_dir() and ".lock" not in path.name
        ) == sorted([*kept[1:], one, folder / "file"])
    remove_dead(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if not path.is_dir()) == sorted(
        [*kept, tmp_path / "a.json", deep / "whole" / "file"]
    )


def test_two_that_write_the_same_file_do_not_take_it_from_each_other(tmp_path: Path) -> None:
    goal = tmp_path / "file"
    with atomic_path(goal) as one:
        one.write_text("one")
        with atomic_path(goal) as other:
            other.write_text("other")
        assert goal.read_text() == "other"
    assert goal.read_text() == "one"
    assert list(tmp_path.iterdir()) == [goal]


@pytest.mark.skipif(sys.platform == "win32", reason="no such rights there")
def test_what_is_written_can_be_read_by_others(tmp_path: Path) -> None:
    """A temporary file is its owner's alone, and an owner may be careful: what he shares is to be read."""
    before = os.umask(0o077)
    try:
        with atomic_path(tmp_path / "file") as one, whole_folder(tmp_path / "folder") as folder:
            one.write_text("")
            write_json(folder / "inner.json", {})
        seal_folder(tmp_path / "folder")
        write_predictions(PREDICTION_SCHEMA.empty_table(), tmp_path / "a.parquet")
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.rglob("*")}
    files = dict.fromkeys(("file", "inner.json", "manifest.json", "a.parquet"), "0o644")
    assert modes == {"folder": "0o755", **files}


def test_the_next_to_write_removes_what_a_killed_writer_left(tmp_path: Path) -> None:
    (tmp_path / ".file.making-x").touch()
    (tmp_path / ".other.making-x").touch()
    with atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.making-x", "file"]
