"""A lease says whose it is, and is believed on other machines for as long as it is renewed."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from peftcorr.machine import lease as module
from peftcorr.machine.claim import Claim
from peftcorr.machine.lease import EXPIRES, Lease, holder, living


def put(path: Path, host: str, age: float) -> None:
    path.write_text(json.dumps({"host": host, "process": 1, "since": 1.0}))
    now = time.time()
    os.utime(path, (now - age, now - age))


def test_it_names_its_holder_and_how_far_the_work_is(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    mine = Lease(path)
    assert mine.take()
    try:
        mine.tell("train", 0, 40, "loss 3")
        mine._written = 0.0
        mine.tell("train", 10, 40, "loss 2")
        found = living(path)
        assert found is not None
        assert (found.process, found.what, found.done, found.total, found.note) == (
            os.getpid(),
            "train",
            10,
            40,
            "loss 2",
        )
        assert found.seconds_left(found.began + 5) == pytest.approx(15)
        assert not Lease(path).take()
    finally:
        mine.give_back()
    assert holder(path) is None
    assert living(path) is None
    assert list(tmp_path.iterdir()) == []


def test_one_of_another_machine_lives_as_long_as_it_is_renewed(tmp_path: Path) -> None:
    """Where locks do not reach: nobody holds this file's lock here."""
    path = tmp_path / "lease"
    put(path, "another", EXPIRES - 10)
    other = Lease(path)
    assert not other.take()
    assert living(path) is not None
    put(path, "another", EXPIRES + 10)
    assert other.take()
    other.give_back()


def test_a_dead_one_of_this_machine_is_taken_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    put(path, Lease(path)._own.host, 0)
    assert living(path) is None
    mine = Lease(path)
    assert mine.take()
    mine.give_back()


def test_where_there_are_no_locks_the_name_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peftcorr.machine.claim.fcntl", None)
    monkeypatch.setattr(module, "_SETTLES", 0.01)
    one, other = Lease(tmp_path / "lease"), Lease(tmp_path / "lease")
    assert one.take()
    assert not other.take()
    one.give_back()
    assert other.take()
    other.give_back()


def test_it_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT", 0.01)
    path = tmp_path / "lease"
    mine = Lease(path)
    assert mine.take()
    try:
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0
    finally:
        mine.give_back()


@pytest.mark.parametrize("content", [b"", b'{"host": "anoth'])
def test_a_file_that_is_half_written_is_somebodys(tmp_path: Path, content: bytes) -> None:
    """Of another machine, whose lock is not seen here; a killed one's is free in a while."""
    path = tmp_path / "lease"
    path.write_bytes(content)
    other = Lease(path)
    assert not other.take()
    assert living(path) is not None
    assert path.read_bytes() == content
    old = time.time() - EXPIRES - 10
    os.utime(path, (old, old))
    assert living(path) is None
    assert not path.exists()


def test_a_file_that_was_taken_over_is_left_to_its_new_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one slept for a minute, and wakes."""
    monkeypatch.setattr("peftcorr.machine.claim.fcntl", None)
    monkeypatch.setattr(module, "_SETTLES", 0.01)
    path = tmp_path / "lease"
    slow, other = Lease(path), Lease(path)
    assert slow.take()
    old = time.time() - EXPIRES - 10
    os.utime(path, (old, old))
    other._own = replace(other._own, host="another")
    assert other.take()
    content = path.read_bytes()
    slow._written = 0.0
    slow.tell("train", 1, 40, "")
    slow.give_back()
    assert path.read_bytes() == content
    other.give_back()
    assert list(tmp_path.iterdir()) == []


def test_two_that_come_at_once_do_not_both_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One makes the file, the other looks into it before anything is in it."""
    path = tmp_path / "lease"
    maker, looker = Lease(path), Lease(path)
    opened = maker._open

    def between() -> tuple[int, bool]:
        descriptor, new = opened()
        monkeypatch.setattr(maker, "_open", opened)
        assert new
        assert Claim.take(looker)
        return descriptor, new

    monkeypatch.setattr(maker, "_open", between)
    monkeypatch.setattr("peftcorr.machine.claim.time.sleep", lambda _: looker._let_go())
    assert maker.take()
    maker.give_back()
    assert list(tmp_path.iterdir()) == []
