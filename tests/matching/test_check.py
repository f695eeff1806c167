"""Predictors that do not predict points of their own maps, each refused by its check."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from peftcorr.errors import BrokenContract
from peftcorr.matching import PREDICTORS
from peftcorr.matching.check import checks
from peftcorr.matching.predictors import Argmax, Predictor


class Swapped(Argmax):
    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        return super().predict(similarity, stride).flip(-1)


class Cells(Argmax):
    """Forgets the stride."""

    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        return super().predict(similarity, 1)


class Single(Argmax):
    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        return super().predict(similarity, stride).float()


class Flat(Argmax):
    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        return super().predict(similarity, stride).reshape(-1, 2)


class NotFinite(Argmax):
    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        return super().predict(similarity, stride) / 0 * 0


class InPlace(Argmax):
    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        return super().predict(similarity.mul_(2), stride)


class Together(Argmax):
    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        found = super().predict(similarity, stride)
        return found + 0.1 * found.mean(0, keepdim=True)


WRONG: tuple[tuple[type[Predictor], str], ...] = (
    (Single, "gives points of shape .* in torch.float64"),
    (Flat, r"gives points of shape \(4, 2\) .*: give \(4, 1, 2\)"),
    (NotFinite, "gives points that are not finite"),
    (InPlace, "changes the maps that it is given"),
    (Together, "gives a map another point beside other maps"),
    (Swapped, "misses the sharp peak of a map"),
    (Cells, "misses the sharp peak of a map"),
)


def carry_out(predictor: Predictor, stride: int = 8) -> list[str]:
    names = []
    for name, check in checks(predictor, stride):
        check()
        names.append(name)
    return names


@pytest.mark.parametrize("name", [name for name in PREDICTORS.names() if name != "tuned"])
@pytest.mark.parametrize("stride", [4, 14])
def test_ours_pass(name: str, stride: int) -> None:
    cls = PREDICTORS.get(name)
    assert carry_out(cls(cls.Config()), stride) == ["points", "batches", "peaks"]


@pytest.mark.parametrize(("cls", "said"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_a_wrong_one_is_refused(cls: type[Predictor], said: str) -> None:
    with torch.no_grad(), pytest.raises(BrokenContract, match=f"The predictor {cls.__name__} {said}"):
        carry_out(cls(cls.Config()))
