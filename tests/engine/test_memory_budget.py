"""The budget of evaluation: what is held stays below it, and where it ends nothing changes but the place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from accelerate import Accelerator

from peftcorr.engine import evaluate, schedule
from peftcorr.engine.evaluate import Evaluator, Split
from peftcorr.engine.matcher import Matcher
from peftcorr.engine.schedule import Room
from peftcorr.errors import PeftCorrError
from peftcorr.features.encode import Encoder
from peftcorr.features.maps import WaitingMaps
from peftcorr.matching.predictors import Argmax, Predictor, Softargmax, WindowSoftargmax
from tests.engine.building import SILENT, load_split
from tests.small_folder import write_folder
from tests.small_models import Small, build

MAP_BYTES = 4 * 32 * 4 * 4  # of `Small`


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two categories of twelve photographs, all their pairs."""
    return write_folder(tmp_path_factory.mktemp("data") / "many", images=12)


def predictors() -> list[Predictor]:
    return [
        Argmax(Argmax.Config()),
        WindowSoftargmax(WindowSoftargmax.Config()),
        Softargmax(Softargmax.Config()),
    ]


class Ledger:
    """Watches what `predict` holds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.waiting: list[WaitingMaps] = []
        self.held: list[int] = []
        self.batch = 0
        ledger = self

        class Watched(WaitingMaps):
            def __init__(self, *arguments: object):
                super().__init__(*arguments)  # type: ignore[arg-type]
                ledger.waiting.append(self)

        class Watching(Matcher):
            def match(self, window: int, take: object) -> None:
                kept = self._maps.nbytes + self._queries.nbytes + ledger.waiting[-1].held_bytes
                ledger.held.append(kept + len(self._plan.windows[window]) * MAP_BYTES)
                super().match(window, take)  # type: ignore[arg-type]

        monkeypatch.setattr(evaluate, "WaitingMaps", Watched)
        monkeypatch.setattr(evaluate, "Matcher", Watching)


def score(split: Split, weights: Path, memory: int, batch: int = 4) -> tuple[np.ndarray, int]:
    encoder = Encoder(build(Small, weights))
    found = (
        Evaluator(encoder, Accelerator(cpu=True), batch, SILENT, memory).predict(split, predictors()).points
    )
    return found, encoder.forwards


@pytest.mark.parametrize("maps", [1, 3, 8, 24, 1000])
def test_held_bytes_stay_below_the_budget(
    many: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maps: int
) -> None:
    """A category needs twelve maps and some sixty queries of 128 bytes, twice."""
    split = load_split(many, tmp_path, "test")
    expected, forwards = score(split, small_weights, 1 << 30, batch=4)
    ledger = Ledger(monkeypatch)
    memory = 20_000 + maps * MAP_BYTES
    found, again = score(split, small_weights, memory)
    assert max(ledger.held) <= memory
    assert again == forwards == 24
    assert (ledger.waiting[0]._disk is not None) == (maps < 24)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_a_budget_of_nothing_still_scores(
    many: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = load_split(many, tmp_path, "test")
    expected, _ = score(split, small_weights, 1 << 30)
    ledger = Ledger(monkeypatch)
    found, forwards = score(split, small_weights, 1)
    assert forwards == 24
    assert len(ledger.waiting[0]._memory) == 0
    np.testing.assert_array_equal(found[0], expected[0])


def test_three_times_the_pairs_hold_no_more(
    many: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = load_split(many, tmp_path, "test")
    data = split.data
    keypoints = len(data)
    tripled = replace(
        data,
        source=np.tile(data.source, 3),
        target=np.tile(data.target, 3),
        reference_length=np.tile(data.reference_length, 3),
        pair=np.concatenate([data.pair + copy * len(data.source) for copy in range(3)]),
        source_points=np.tile(data.source_points, (3, 1)),
        target_points=np.tile(data.target_points, (3, 1)),
        keypoint=np.tile(data.keypoint, 3),
        pair_ids=pa.array([f"{copy} {name}" for copy in "abc" for name in data.pair_ids]),
    )
    ledger = Ledger(monkeypatch)
    monkeypatch.setattr(
        schedule, "_MATCH_BYTES", 64 * 50
    )  # fifty similarity maps, fewer than there are either way
    once, _ = score(split, small_weights, 1 << 30)
    most, ledger.held = max(ledger.held), []
    thrice, forwards = score(replace(split, data=tripled), small_weights, 1 << 30)
    assert max(ledger.held) == most
    assert forwards == 24
    for copy in range(3):
        part = thrice[:, copy * keypoints : (copy + 1) * keypoints]
        np.testing.assert_array_equal(part[0], once[0])
        np.testing.assert_allclose(part, once, rtol=0, atol=1e-3)


def test_the_room_is_shared_out() -> None:
    shape = (32, 32, 384)
    plenty = Room.of(2 << 30, shape, 16)
    assert (plenty.batch, plenty.similarity) == (16, 4 << 20)
    little = Room.of(16 << 20, shape, 16)
    assert little.batch == 2
    assert little.similarity == 4 << 20


def test_places_are_used_again() -> None:
    maps = WaitingMaps((2, 3, 3), most=100, budget=2 * 72, device=torch.device("cpu"))
    kept = {number: torch.randn(2, 3, 3) for number in range(40)}
    for number in range(40):
        maps.put(number, kept[number])
        if number >= 4:
            assert torch.equal(maps.take(number - 4), kept[number - 4])
        assert maps.held_bytes <= 2 * 72
    assert len(maps) == 4
    assert maps._disk is not None
    assert len(maps._disk) == 3  # five wait at once, two of them in memory: the file grows no further
    assert [torch.equal(maps.take(number), kept[number]) for number in range(36, 40)] == [True] * 4
    assert len(maps) == 0


def test_a_full_disk_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    maps = WaitingMaps((2, 3, 3), most=9, budget=0, device=torch.device("cpu"))
    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(PeftCorrError, match=r"No room .* for feature maps beyond --memory") as caught:
        maps.put(0, torch.zeros(2, 3, 3))
    assert "\n" not in str(caught.value)
