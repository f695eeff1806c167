from __future__ import annotations

import multiprocessing
import os
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from peftcorr.data import arrow
from peftcorr.data.base import PairDataset
from peftcorr.data.correspondences import correspondences
from peftcorr.data.layouts import spair
from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.errors import PeftCorrError


def load(root: Path, cache: Path, split: str = "test") -> PairDataset:
    return SpairFolder(SpairFolder.Config(), root, cache).load(split)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the annotation files that were parsed."""
    names: list[str] = []
    read = spair.read_annotation

    def counted(path: Path) -> Any:
        names.append(path.name)
        return read(path)

    monkeypatch.setattr(spair, "read_annotation", counted)
    return names


def test_annotation_is_parsed_once(spair_root: Path, tmp_path: Path, parsed: list[str]) -> None:
    first = load(spair_root, tmp_path / "cache").table
    assert len(parsed) == 12
    again = load(spair_root, tmp_path / "cache").table
    assert len(parsed) == 12
    assert again[:] == first[:]
    assert again.features == first.features


def test_table_is_mapped_from_the_cache(spair_root: Path, tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    table = load(spair_root, tmp_path / "cache").table
    assert Path(table.cache_files[0]["filename"]).is_relative_to(tmp_path / "cache")
    assert pa.total_allocated_bytes() - before < 2**16


def test_no_network_is_asked_for(spair_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(load(spair_root, tmp_path / "cache")) == 12
    assert len(load(spair_root, tmp_path / "cache").limited(3).table) == 3


def rewritten(path: Path, old: bytes, new: bytes) -> None:
    """Change bytes in place with the size kept, as a careful editor would."""
    content = path.read_bytes()
    assert old in content
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new, 1))


def test_changed_annotation_of_equal_size_is_read_again(
    spair: Any, tmp_path: Path, parsed: list[str]
) -> None:
    root = spair.write()
    load(root, tmp_path / "cache")
    path = spair.path("test", "000000-2008_000001-2008_000002:cat")
    before = path.stat()
    rewritten(path, b"[[5, 10]", b"[[6, 10]")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))  # the least change there can be
    assert load(root, tmp_path / "cache").table[0]["source_keypoints"][0] == [6.0, 10.0]
    assert len(parsed) == 24


def test_changed_layout_of_equal_size_and_time_is_read_again(spair: Any, tmp_path: Path) -> None:
    root = spair.write()
    names = load(root, tmp_path / "cache").table["pair_id"][:]
    path = spair.list("test", names[:1])
    status = path.stat()
    load(root, tmp_path / "cache")
    spair.list("test", names[1:2])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert load(root, tmp_path / "cache").table["pair_id"][:] == names[1:2]


def test_added_and_removed_annotation_change_the_stamp(spair: Any, tmp_path: Path, parsed: list[str]) -> None:
    root = spair.write(("test",))
    load(root, tmp_path / "cache")
    extra = spair.pair("test", "extra", b"{}")
    load(root, tmp_path / "cache")
    assert len(parsed) == 24
    extra.unlink()
    load(root, tmp_path / "cache")
    assert len(parsed) == 36


def test_new_loader_version_is_read_again(
    spair_root: Path, tmp_path: Path, parsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(spair_root, tmp_path / "cache")
    monkeypatch.setattr(spair, "_LOADER", "spair-next")
    load(spair_root, tmp_path / "cache")
    assert len(parsed) == 24


def test_old_versions_do_not_pile_up(spair: Any, tmp_path: Path) -> None:
    root = spair.write(("test",))
    for number in range(3):
        spair.pair("test", f"extra{number}", b"{}")
        load(root, tmp_path / "cache")
    assert len(list((tmp_path / "cache").rglob("pairs.arrow"))) == 1


def test_folders_of_one_name_do_not_share_a_cache(spair: Any, tmp_path: Path, parsed: list[str]) -> None:
    first = spair.write(("test",))
    spair.root = tmp_path / "other" / first.name
    second = spair.write(("test",))
    spair.list("test", ["000000-2008_000001-2008_000002:cat"])
    assert [len(load(root, tmp_path / "cache")) for root in (first, second, first)] == [12, 1, 12]
    assert len(parsed) == 13  # the second did not push the first one out


def test_layouts_do_not_share_a_cache(spair: Any, tmp_path: Path, parsed: list[str]) -> None:
    root = spair.write(("test",))
    spair.list("test", ["000000-2008_000001-2008_000002:cat"], layout="small")
    for layout, pairs in (("large", 12), ("small", 1), ("large", 12)):
        config = SpairFolder.Config.model_validate({"layout": layout})
        assert len(SpairFolder(config, root, tmp_path / "cache").load("test")) == pairs
    assert len(parsed) == 13


def test_cache_folder_has_a_portable_name_of_bounded_length(spair: Any, tmp_path: Path) -> None:
    spair.root = tmp_path / ("my pairs: v2 " * 15)
    load(spair.write(("test",)), tmp_path / "cache")
    [shelf] = (tmp_path / "cache" / "pairs").iterdir()
    assert shelf.name.startswith("my_pairs__v2_")
    assert len(shelf.name) < 100


@pytest.mark.parametrize(
    "damage", ["cut", "emptied", "flipped", "table gone", "seal gone", "seal cut", "seal odd"]
)
def test_damaged_cache_is_written_again(
    spair_root: Path, tmp_path: Path, parsed: list[str], damage: str
) -> None:
    sound = load(spair_root, tmp_path / "cache").table[:]
    [path] = (tmp_path / "cache").rglob("pairs.arrow")
    seal = path.with_name("seal.json")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-8])
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "table gone":
        path.unlink()
    elif damage == "seal gone":
        seal.unlink()
    else:
        seal.write_text('{"pairs": 1' if damage == "seal cut" else "[]")
    assert load(spair_root, tmp_path / "cache").table[:] == sound
    assert len(parsed) == 24
    load(spair_root, tmp_path / "cache")
    assert len(parsed) == 24


def test_failed_reading_leaves_no_cache(spair: Any, tmp_path: Path) -> None:
    root = spair.write(("test",))
    path = spair.path("test", "000011-2008_000003-2008_000002:train")
    sound = path.read_bytes()
    path.write_bytes(b"{}")
    with pytest.raises(PeftCorrError, match="missing"):
        load(root, tmp_path / "cache")
    assert not [
        found for found in (tmp_path / "cache").rglob("*") if found.is_file() and found.name != ".lock"
    ]
    path.write_bytes(sound)
    assert len(load(root, tmp_path / "cache")) == 12


def test_what_a_killed_process_left_is_cleared(spair_root: Path, tmp_path: Path) -> None:
    load(spair_root, tmp_path / "cache")
    [table] = (tmp_path / "cache").rglob("pairs.arrow")
    left = table.parents[1] / ".writing-killed"
    left.mkdir()
    (left / "pairs.arrow").write_bytes(b"half")
    table.unlink()
    assert len(load(spair_root, tmp_path / "cache")) == 12
    assert not left.exists()


def _load_slowly(root: Path, cache: Path, log: Path, barrier: Any) -> None:
    read = spair.read_annotation

    def slow(path: Path) -> Any:
        with log.open("a") as stream:
            stream.write("x")
        time.sleep(0.01)
        return read(path)

    spair.read_annotation = slow
    barrier.wait()
    table = load(root, cache).table
    assert len(table) == 12
    assert table[11]["category"] == "train"


def test_two_processes_write_one_cache(spair_root: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    log = tmp_path / "log"
    workers = [
        context.Process(target=_load_slowly, args=(spair_root, tmp_path / "cache", log, barrier))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert log.read_text() == "x" * 12  # one of them parsed, the other waited
    assert len(list((tmp_path / "cache").rglob("pairs.arrow"))) == 1


def test_progress_ends_at_the_number_of_pairs(spair_root: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    source = SpairFolder(SpairFolder.Config(), spair_root, tmp_path, lambda *step: told.append(step))
    source.load("trn")
    assert told[-1] == (12, 12)


def test_cache_that_cannot_be_written(spair_root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PeftCorrError, match=r"Cannot write the cache .*choose another cache folder"):
        load(spair_root, tmp_path / "file")


def test_full_disk_is_told_and_leaves_nothing(
    spair_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(arrow, "_sealed", full)
    with pytest.raises(PeftCorrError, match=r"No space left on device.*free some space"):
        load(spair_root, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.arrow"))


def test_limited_choice_is_even(spair_root: Path, tmp_path: Path) -> None:
    limited = load(spair_root, tmp_path / "cache").limited(4)
    assert [name[:6] for name in limited.table["pair_id"]] == ["000000", "000003", "000006", "000009"]


def test_a_choice_in_another_order_is_flattened_as_chosen(spair_root: Path, tmp_path: Path) -> None:
    whole = load(spair_root, tmp_path / "cache")
    turned = replace(whole, table=whole.table.select(range(len(whole))[::-1]))
    assert correspondences(turned).pair_ids.to_pylist() == whole.table["pair_id"][::-1]
