"""Where memory runs out fewer images are encoded at once: same gradient, same scores, and a line that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from peftcorr.console.progress import Progress
from peftcorr.engine.evaluate import evaluator
from peftcorr.errors import is_memory
from peftcorr.features.encode import Encoder
from peftcorr.features.prefix import PrefixStore
from peftcorr.matching.predictors import Argmax
from tests.engine.building import Job, load_split
from tests.small_models import Small, build

OUT = "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes."


def with_room_for(monkeypatch: pytest.MonkeyPatch, images: int, gradients: bool = False) -> list[int]:
    """Memory for so many images at once (with `gradients`, of those that have one); returns what was encoded."""
    encoded: list[int] = []
    plain = Encoder._features

    def limited(self: Encoder, data: Any, store: Any, numbers: Any, *others: Any) -> torch.Tensor:
        if len(numbers) > images and (torch.is_grad_enabled() or not gradients):
            raise RuntimeError(OUT)
        encoded.append(len(numbers))
        return plain(self, data, store, numbers, *others)

    monkeypatch.setattr(Encoder, "_features", limited)
    return encoded


class Heard(Progress):
    """Keeps the lines."""

    def __init__(self) -> None:
        super().__init__(None)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize(("strategy", "accumulation"), [("lora", 1), ("last_k", 2), ("bitfit", 1)])
def test_a_step_without_room_is_accumulated(
    photographs: Path,
    small_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
    accumulation: int,
) -> None:
    def job(folder: str) -> Job:
        prefixes = PrefixStore() if strategy == "last_k" else None
        return Job(
            small_weights, photographs, tmp_path / folder, strategy, prefixes=prefixes, validate=False,
            images=4, steps=3, accumulation=accumulation,
        )  # fmt: skip

    whole, parts = job("whole"), job("parts")
    whole.run()
    encoded = with_room_for(monkeypatch, 1)
    heard = Heard()
    parts.trainer._progress = heard
    parts.run()
    assert heard.lines[:2] == [
        "Memory ran out training on 4 images at once: going on with 2 at a time.",
        "Memory ran out training on 2 images at once: going on with 1 at a time.",
    ]
    assert set(encoded) == {1}
    np.testing.assert_allclose(parts.trainer.losses, whole.trainer.losses, rtol=1e-4)
    found = parts.tensors()
    for name, tensor in whole.tensors().items():
        if not name.endswith(("k_proj.bias",)):  # whose gradient is rounding alone
            # As a whole: Adam turns a gradient that is rounding alone into a step of any sign.
            apart = torch.linalg.vector_norm(found[name] - tensor)
            assert apart <= 1e-3 * torch.linalg.vector_norm(tensor) + 2e-5, name


def test_a_step_without_room_for_one_image_fails(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(small_weights, photographs, tmp_path, "lora", validate=False)
    with_room_for(monkeypatch, 0)
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        job.run()
    assert is_memory(caught.value)


def test_encode_batch_auto_halves(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = load_split(photographs, tmp_path, "test")
    accelerator = Job(small_weights, photographs, tmp_path, "frozen").accelerator
    heard, predictors = Heard(), [Argmax(Argmax.Config())]

    def predict(batch: Any) -> np.ndarray:
        made = evaluator(Encoder(build(Small, small_weights)), accelerator, batch, heard)
        return made.predict(split, predictors).points

    expected = predict(16)
    encoded = with_room_for(monkeypatch, 2)
    with pytest.raises(RuntimeError, match="allocate memory"):
        predict(16)  # what a recipe says is done as it says, or not at all
    np.testing.assert_array_equal(predict("auto"), expected)
    assert max(encoded) <= 2
    assert "encoding" in heard.lines[0]
    assert len(heard.lines) < 5  # it remembers
