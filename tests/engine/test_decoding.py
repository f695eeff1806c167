"""Images are decoded once a node: the processes of one share them out, in training as in evaluation."""

from __future__ import annotations

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from peftcorr.data.images import ImageStore
from peftcorr.engine import decoding, evaluate
from peftcorr.engine.evaluate import Split
from peftcorr.engine.schedule import schedule
from peftcorr.features.encode import Encoder
from tests.engine.building import load_split
from tests.small_models import SIZE, Small, build


@pytest.fixture
def split(photographs: Path, tmp_path: Path) -> Split:
    return load_split(photographs, tmp_path / "cache")


class Processes:
    """Threads in place of processes: each has a number, a store, and waits for the others where values are gathered."""

    def __init__(self, split: Split, nodes: list[str], monkeypatch: pytest.MonkeyPatch):
        self.stores = [ImageStore(split.store.image_root, SIZE, workers=2) for _ in nodes]
        self._data, self._nodes = split.data, nodes
        self._own = threading.local()
        self._barrier, self._values = threading.Barrier(len(nodes)), [None] * len(nodes)
        monkeypatch.setattr(decoding, "everyones", self._everyones)
        monkeypatch.setattr(decoding, "neighbours", self._neighbours)
        monkeypatch.setattr(decoding, "PartialState", self._state)

    def _everyones(self, value: Any) -> list[Any]:
        self._values[self._own.number] = value
        self._barrier.wait(30)
        found = list(self._values)
        self._barrier.wait(30)
        return found

    def _neighbours(self) -> list[int]:
        return [n for n, node in enumerate(self._nodes) if node == self._nodes[self._own.number]]

    def _state(self) -> Any:
        return SimpleNamespace(num_processes=len(self._nodes), process_index=self._own.number)

    def decode(self) -> list[int]:
        """Have all decode together; returns how many each has decoded since it began."""

        def one(number: int) -> None:
            self._own.number = number
            decoding.decode(self._data, self.stores[number])

        with ThreadPoolExecutor(len(self._nodes)) as pool:
            list(pool.map(one, range(len(self._nodes))))
        return [store.decodes for store in self.stores]


def equal(split: Split, store: ImageStore) -> None:
    """A store has every image, with its frame, as one process alone decodes it, and decodes none for it."""
    data, before = split.data, store.decodes
    assert torch.equal(store.get(data.images, data.sizes), split.store.get(data.images, data.sizes))
    for path, size in zip(data.images, data.sizes, strict=True):
        assert store.frame(path, size) == split.store.frame(path, size)
    assert store.decodes == before


def test_a_node_decodes_each_image_once(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    processes = Processes(split, ["a", "a"], monkeypatch)
    counts = processes.decode()
    assert sum(counts) == len(set(split.data.images)) == 8
    assert counts == [4, 4]
    for store in processes.stores:
        equal(split, store)
    assert processes.decode() == counts
    assert list(tmp_path.glob("peftcorr-rows-*")) == []


def test_each_node_decodes_for_itself(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Processes(split, ["a", "b", "a"], monkeypatch)
    assert processes.decode() == [4, 8, 4]
    for store in processes.stores:
        equal(split, store)


def test_what_a_process_has_is_not_decoded_again(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a validation, in which each process saw some images."""
    processes = Processes(split, ["a", "a"], monkeypatch)
    first, second = processes.stores
    first.add(split.data.images[:3], split.data.sizes[:3])
    second.add(split.data.images[2:4], split.data.sizes[2:4])
    assert sum(processes.decode()) == 3 + 2 + 4
    for store in processes.stores:
        equal(split, store)


def test_without_a_common_folder_each_decodes_for_itself(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_common_file", lambda leads: None)
    processes = Processes(split, ["a", "a"], monkeypatch)
    assert processes.decode() == [8, 8]


def test_evaluation_decodes_each_image_in_one_process(split: Split, small_weights: Path) -> None:
    data, encoder = split.data, Encoder(build(Small, small_weights))
    counts = []
    for process in (0, 1):
        store = ImageStore(split.store.image_root, SIZE)
        own = Split(split.dataset, data, store)
        for images in schedule(data, 2, process, 2).windows:
            evaluate._load(own, encoder, None, images)
        counts.append(store.decodes)
    assert sum(counts) == 8
    assert all(counts)
