"""What is loaded ahead is what is asked for, and a training with it is the training without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from peftcorr.engine import optimisation
from peftcorr.engine.ahead import Ahead
from tests.engine.building import Job, assert_equal


def test_what_was_expected_is_loaded_once_and_what_was_not_all_the_same() -> None:
    loaded: list[list[int]] = []

    def load(numbers: np.ndarray) -> torch.Tensor:
        loaded.append(numbers.tolist())
        return torch.from_numpy(numbers)

    ahead = Ahead(load)
    ahead.expect([np.array([1, 2]), np.array([3])])
    assert ahead.take(np.array([3])).tolist() == [3]
    assert ahead.take(np.array([1, 2])).tolist() == [1, 2]
    assert ahead.take(np.array([7])).tolist() == [7]
    ahead.close()
    assert sorted(loaded) == [[1, 2], [3], [7]]


def test_an_error_of_the_thread_is_the_steps() -> None:
    def load(numbers: np.ndarray) -> torch.Tensor:
        raise ValueError("damaged")

    ahead = Ahead(load)
    ahead.expect([np.array([1])])
    with pytest.raises(ValueError, match="damaged"):
        ahead.take(np.array([1]))
    ahead.close()


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_training_is_the_same_with_images_loaded_ahead(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulation: int
) -> None:
    def train(folder: str) -> Job:
        job = Job(
            small_weights, photographs, tmp_path / folder, steps=4, validate=False, accumulation=accumulation
        )
        job.run()
        return job

    plain = train("plain")
    taken: list[bool] = []
    begin, take = optimisation.Optimisation.__init__, Ahead.take

    def begun(self: Any, *arguments: Any) -> None:
        begin(self, *arguments)
        self._ahead = Ahead(self._load)  # as on a GPU

    def noted(self: Ahead, numbers: Any) -> torch.Tensor:
        taken.append(any(np.array_equal(expected, numbers) for expected, _ in self._coming))
        return take(self, numbers)

    monkeypatch.setattr(optimisation.Optimisation, "__init__", begun)
    monkeypatch.setattr(Ahead, "take", noted)
    ahead = train("ahead")
    assert_equal(ahead.tensors(), plain.tensors())
    assert ahead.trainer.losses == plain.trainer.losses
    assert taken == [False] * accumulation + [True] * 3 * accumulation  # all but the first step's
