"""What killed processes leave half written, and what live ones are at."""

from __future__ import annotations

from pathlib import Path

from peftcorr.files import atomic_path, remove_dead, whole_folder


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


def test_the_next_to_write_removes_what_a_killed_writer_left(tmp_path: Path) -> None:
    (tmp_path / ".file.making-x").touch()
    (tmp_path / ".other.making-x").touch()
    with atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.making-x", "file"]
