"""What holds of every strategy, on the plain, the gated and the register backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from peftcorr.backbones.dinov2 import Dinov2
from peftcorr.engine.cost import estimate
from peftcorr.engine.plan import Model
from peftcorr.recipe import resolve
from tests.small_models import Small, SmallGated, SmallRegisters, build, images
from tests.strategies.adapting import acts_on_keys_alone, adapt, take_steps

CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("bitfit", {"blocks": [1, 2]}),
    ("norm", {"blocks": [2]}),
    ("full", {}),
    ("ssf", {"blocks": [-1]}),
    ("vpt", {"prompts": 3}),
    ("vpt", {"deep": False, "prompts": 3}),
    ("vpt", {"deep": False, "blocks": [1, 2]}),
    ("head", {}),
    ("head", {"hidden": 16}),
    ("head", {"hidden": 16, "channels": 8}),
    ("lora+norm", {}),
    ("adapter+bitfit+head+vpt", {"head": {"channels": 8}}),
    ("adaptformer+lora+ssf", {"adaptformer": {"dropout": 0.0}}),
)
EXACT = ("bitfit", "norm", "full", "ssf", "lora+norm", "adaptformer+lora+ssf")


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
@pytest.mark.parametrize("cls", [Small, SmallGated, SmallRegisters], ids=lambda cls: cls.__name__)
def test_it_is_sound(
    family_weights: dict[type[Dinov2], Path], cls: type[Dinov2], name: str, options: dict[str, Any]
) -> None:
    """The start, the steps, the cut at every block, and what is saved."""
    backbone, strategy = adapt(family_weights[cls], name, cls, **options)
    first = strategy.first_trainable_block(backbone)
    with torch.no_grad():
        plain = build(cls, family_weights[cls]).features(images())
        start = backbone.features(images())
        before_first = backbone.prefix(images(), first).tokens
    if name in EXACT or (name == "head" and "channels" not in options):
        assert torch.equal(start, plain)
    assert start.shape == (2, backbone.channels, 4, 4)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}

    take_steps(backbone)
    own = strategy.state_dict(backbone)
    moved = {key for key, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[key])}
    assert moved <= own.keys()
    assert [key for key in own.keys() - moved if not acts_on_keys_alone(key)] == []

    with torch.no_grad():
        features = backbone.features(images())
        assert not torch.allclose(features, start, atol=1e-3)
        assert torch.equal(backbone.prefix(images(), first).tokens, before_first) or first == 0
        for k in range(len(backbone.blocks()) + 1):
            assert torch.equal(backbone.suffix(backbone.prefix(images(), k), k), features), f"block {k}"

    again, same = adapt(family_weights[cls], name, cls, seed=2, **options)
    same.load_state_dict(again, own)
    with torch.no_grad():
        assert torch.equal(again.features(images()), features)


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_its_cost_is_known_from_shapes_alone(name: str, options: dict[str, Any]) -> None:
    recipe = resolve({"strategy": {"name": name, **options}, "backbone": "small"}, [], None)
    found = estimate(Model.of(recipe, lambda *_: None))
    assert found.trainable > 0
    assert found.total >= found.trainable
    assert found.train_flops > 0
