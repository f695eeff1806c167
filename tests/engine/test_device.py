"""What a GPU refuses or waits for, seen without one: training, validation and scoring on a pretended device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from peftcorr.backbones import Backbone
from peftcorr.data.correspondences import correspondences
from peftcorr.data.images import ImageStore
from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.engine.checkpoint import Checkpoints
from peftcorr.engine.evaluate import Evaluator, Predicted, Split
from peftcorr.engine.optimisation import Optimisation
from peftcorr.engine.task import Task
from peftcorr.engine.train import Trainer
from peftcorr.features.encode import Encoder
from peftcorr.features.prefix import PrefixStore
from peftcorr.matching import PREDICTORS
from peftcorr.matching.predictors import Argmax, Predictor, WindowSoftargmax
from peftcorr.matching.window_grid import WindowGrid
from peftcorr.recipe import Training
from peftcorr.strategies.contract import Contract
from tests.engine.building import SILENT
from tests.engine.pretended import DEVICE, Mixed, OnDevice, Pretended, pretended
from tests.matrix.families import FAMILIES, fresh
from tests.matrix.test_every_strategy_on_every_backbone import (
    IMPOSSIBLE,
    STRATEGY_OPTIONS,
    adapted,
    make,
    without_effect,
)

COPIES = 3
"""Most copies to the host in a step: the loss, the gradient's norm, and what frozen blocks made of a new image."""

BATCH = 4


@pytest.fixture(autouse=True)
def _not_told_to_use_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a command tells Accelerate where there is no GPU, in this process perhaps."""
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)


@pytest.fixture
def accelerator() -> Accelerator:
    return on_the_device()


def on_the_device() -> Accelerator:
    """Accelerate, told that the device is the pretended one."""
    made = Accelerator(cpu=True)
    for state in (PartialState(), AcceleratorState()):
        state.device = DEVICE
    return made


def split_of(photographs: Path, cache: Path, backbone: Backbone, name: str = "trn") -> Split:
    dataset = SpairFolder(SpairFolder.Config(), photographs, cache).load(name)
    store = ImageStore(dataset.image_root, backbone.config.image_size, workers=1)
    return Split(dataset, correspondences(dataset), store, PrefixStore())


def waits(
    family: str, name: str, device: Pretended, accelerator: Accelerator, photographs: Path, cache: Path
) -> list[list[str]]:
    """Train a strategy for two steps; returns where each of them waited for the device."""
    backbone, strategy = adapted(family, name)
    backbone.to(DEVICE)
    assert all(isinstance(tensor, OnDevice) for tensor in backbone.parameters())
    trn = split_of(photographs, cache, backbone)
    task = Task(Training(images=3), 0, trn, None, Argmax(Argmax.Config()))
    encoder = Encoder(backbone, None, DEVICE, accelerator.autocast, strategy.first_trainable_block(backbone))
    run = Optimisation(strategy, encoder, task, 1e-3, 20, task.sampler())
    waited = []
    for step in (8, 9) if name == "adalora" else (0, 1):  # its ranks go from some step on
        before = len(device.to_host)
        backbone.train()
        run.step(step)
        waited.append(device.to_host[before:])
    run.close()
    return waited


CASES = [
    *(("dinov2", name) for name in STRATEGY_OPTIONS if name != "frozen"),
    *((family, "lora") for family in FAMILIES if (family, "lora") not in IMPOSSIBLE and family != "dinov2"),
    *((family, "bitfit") for family in FAMILIES if (family, "lora") in IMPOSSIBLE),
]


@pytest.mark.parametrize(("family", "name"), CASES, ids=[f"{f}-{n}" for f, n in CASES])
def test_training_stays_on_the_device(
    family: str, name: str, accelerator: Accelerator, photographs: Path, tmp_path: Path
) -> None:
    """Nothing is mixed, nothing is in float64, and each step waits for the device as often as is said."""
    with pretended(doubles=False) as device:
        waited = waits(family, name, device, accelerator, photographs, tmp_path)
    assert max(map(len, waited)) <= COPIES, waited
    assert min(map(len, waited)) >= 2  # the loss and the norm: it is seen


def every_predictor() -> list[Predictor]:
    """Each at its defaults, and a grid of settings."""
    names = [name for name in PREDICTORS.names() if name != "tuned"]
    classes = [PREDICTORS.get(name) for name in names]
    grid = WindowGrid([WindowSoftargmax.Config(radius=1), WindowSoftargmax.Config(radius=2)])
    return [*(cls(cls.Config()) for cls in classes), grid]


def predicted(backbone: Backbone, split: Split, device: torch.device, accelerator: Accelerator) -> Predicted:
    encoder = Encoder(backbone, None, device)
    return Evaluator(encoder, accelerator, BATCH, SILENT).predict(split, every_predictor())


@pytest.mark.parametrize("doubles", [True, False], ids=["float64", "no float64"])
def test_scoring_stays_on_the_device(
    doubles: bool,
    accelerator: Accelerator,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is predicted is what the CPU predicts, and without float64 nothing of it is asked for."""
    backbone = fresh("dinov2")
    split = replace(split_of(photographs, tmp_path, backbone, "test"), prefixes=None)
    expected = predicted(backbone, split, torch.device("cpu"), accelerator)
    monkeypatch.setattr("peftcorr.engine.matcher.has_float64", lambda device: doubles)
    with pretended(doubles) as device:
        found = predicted(backbone.to(DEVICE), split, DEVICE, accelerator)
    np.testing.assert_allclose(found.points, expected.points, atol=1e-3)
    np.testing.assert_allclose(found.peaks, expected.peaks, atol=1e-6)
    if doubles:  # points and peaks, at the end
        assert len(device.to_host) == 2, device.to_host


Outcome = tuple[list[float], list[float], dict[str, torch.Tensor]]
"""Losses, the validation curve, and the strategy's tensors."""


def trained(device: torch.device, accelerator: Accelerator, photographs: Path, folder: Path) -> Outcome:
    """A training as a run makes it: on its contract, validated on the way, with the best step put back at the end."""
    strategy = make("last_k")
    contract = Contract(strategy, fresh("dinov2"), device)
    contract.begin()
    backbone = contract.backbone
    trn, val = (split_of(photographs, folder, backbone, name) for name in ("trn", "val"))
    val = replace(val, prefixes=trn.prefixes)
    recipe = Training(steps=4, images=3, validate_every=2, colour_jitter=0.0)
    encoder = Encoder(backbone, None, device, accelerator.autocast, strategy.first_trainable_block(backbone))
    evaluator = Evaluator(encoder, accelerator, BATCH, SILENT)
    task = Task(recipe, 0, trn, val, WindowSoftargmax(WindowSoftargmax.Config()))
    trainer = Trainer(task, strategy, evaluator, folder / f"state-{device.type}")
    points = trainer.run().validation
    contract.end()
    return trainer.losses, [point.pck for point in points], strategy.state_dict(backbone)


def test_a_whole_training_is_that_of_the_cpu(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoints, "save", lambda self: None)
    monkeypatch.setattr("peftcorr.engine.matcher.has_float64", lambda device: device != DEVICE)
    losses, curve, tensors = trained(torch.device("cpu"), Accelerator(cpu=True), photographs, tmp_path)
    with pretended(doubles=False):
        found = trained(DEVICE, on_the_device(), photographs, tmp_path)
    np.testing.assert_allclose(found[0], losses, rtol=1e-4)
    assert found[1] == curve
    assert len(curve) == 2
    assert found[2].keys() == tensors.keys()
    for name, tensor in found[2].items():
        assert not isinstance(tensor, OnDevice)
        if not without_effect(name):
            torch.testing.assert_close(tensor, tensors[name], rtol=1e-3, atol=1e-4)


def test_the_device_refuses_what_a_real_one_does() -> None:
    with pretended(doubles=False) as device:
        there, here = torch.ones(3, device=DEVICE), torch.ones(3)
        assert float((2 * there + torch.tensor(1.0)).sum()) == 9
        assert len(device.to_host) == 1
        for wrong in (
            lambda: there + here,
            lambda: there[torch.tensor([0])],
            lambda: here.copy_(there).to(DEVICE).double(),
            lambda: torch.zeros(3, device=DEVICE, dtype=torch.float64),
        ):
            with pytest.raises(Mixed):
                wrong()
        assert there[there > 0].cpu().tolist() == [1, 1, 1]
        assert [event.split()[0] for event in device.to_host] == [
            "_local_scalar_dense",
            "copy",
            "index",
            "copy",
        ]
