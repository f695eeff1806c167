"""What a strategy leaves as it was at the start, and what the first steps move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from peftcorr.backbones.dinov2 import Dinov2
from peftcorr.errors import PeftCorrError
from tests.small_models import FAMILY, Small, build, images, save_weights
from tests.strategies.adapting import INJECTED, TRAINED, acts_on_keys_alone, adapt, take_steps


@pytest.fixture(params=FAMILY, ids=lambda cls: cls.__name__)
def family(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[type[Dinov2], Path]:
    return request.param, save_weights(request.param, tmp_path / "weights")


@pytest.mark.parametrize("name", ["frozen", *(name for name in TRAINED if name not in ("adapter", "vpt"))])
@pytest.mark.parametrize("training", [False, True])
def test_features_start_bit_equal(family: tuple[type[Dinov2], Path], name: str, training: bool) -> None:
    cls, weights = family
    plain, (backbone, _) = build(cls, weights), adapt(weights, name, cls)
    backbone.train(training)
    with torch.no_grad():
        assert torch.equal(backbone.features(images()), plain.features(images()))


def test_lora_on_every_linear_layer_starts_bit_equal(family: tuple[type[Dinov2], Path]) -> None:
    cls, weights = family
    every = ["q", "k", "v", "out", "fc1", "fc2"]
    backbone, _ = adapt(weights, "lora", cls, targets=every)
    with torch.no_grad():
        assert torch.equal(backbone.features(images()), build(cls, weights).features(images()))


def test_adapter_starts_near_the_identity(family: tuple[type[Dinov2], Path]) -> None:
    cls, weights = family
    backbone, _ = adapt(weights, "adapter", cls)
    with torch.no_grad():
        plain = build(cls, weights).features(images())
        difference = (backbone.features(images()) - plain).norm() / plain.norm()
    assert 0 < difference < 1e-3


@pytest.mark.parametrize("name", TRAINED)
def test_two_steps_move_every_own_tensor_and_no_other(small_weights: Path, name: str) -> None:
    """With a matrix on each side of a product at zero, neither would ever move."""
    backbone, strategy = adapt(small_weights, name)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    take_steps(backbone)
    moved = {key for key, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[key])}
    unmoved = {key for key in strategy.state_dict(backbone).keys() - moved if not acts_on_keys_alone(key)}
    assert unmoved == set()
    assert moved <= strategy.state_dict(backbone).keys()


def test_one_step_moves_lora_b_alone_and_the_next_moves_a(small_weights: Path) -> None:
    backbone, strategy = adapt(small_weights, "lora")
    before = {name: tensor.clone() for name, tensor in strategy.state_dict(backbone).items()}
    for step, expected in ((1, {"lora_B"}), (2, {"lora_A", "lora_B"})):
        backbone, strategy = adapt(small_weights, "lora")
        take_steps(backbone, step)
        after = strategy.state_dict(backbone)
        moved = {name for name in before if not torch.equal(after[name], before[name])}
        assert {part for name in moved for part in ("lora_A", "lora_B") if part in name} == expected
        assert len(moved) == len(before) * len(expected) // 2


def test_adapter_trains_layer_norms_when_asked(small_weights: Path) -> None:
    backbone, strategy = adapt(small_weights, "adapter", layer_norm=True)
    before = {name: tensor.clone() for name, tensor in strategy.state_dict(backbone).items()}
    norms = [name for name in before if "norm" in name]
    assert len(norms) == 3 * 2 * 2
    assert not any("layernorm" in name for name in norms)
    take_steps(backbone)
    assert not any(torch.equal(strategy.state_dict(backbone)[name], before[name]) for name in norms)


@pytest.mark.parametrize("name", INJECTED)
@pytest.mark.parametrize(
    ("blocks", "adapted"), [([1], {1}), ([-1], {2}), ([2, 0], {0, 2}), ([-1, 2], {2}), ("all", {0, 1, 2})]
)
def test_only_the_chosen_blocks_are_adapted(
    small_weights: Path, name: str, blocks: Any, adapted: set[int]
) -> None:
    backbone, strategy = adapt(small_weights, name, blocks=blocks)
    own = strategy.state_dict(backbone)
    assert {int(key.split("layer.")[1].split(".")[0]) for key in own} == adapted
    first = strategy.first_trainable_block(backbone)
    assert first == min(adapted)
    with torch.no_grad():  # whatever the adapter becomes, what comes before it stays
        before, features = backbone.prefix(images(), first).tokens, backbone.features(images())
        take_steps_on(backbone)
        assert torch.equal(backbone.prefix(images(), first).tokens, before)
        assert not torch.equal(backbone.prefix(images(), first + 1).tokens, before)
        assert not torch.equal(backbone.features(images()), features)


@pytest.mark.parametrize("index", [3, -4, 100])
def test_a_block_that_is_not_there_is_named(small_weights: Path, index: int) -> None:
    with pytest.raises(
        PeftCorrError, match=f"strategy.blocks has {index}, but this backbone has blocks 0 to 2"
    ):
        adapt(small_weights, "lora", blocks=[0, index])


def take_steps_on(backbone: Dinov2) -> None:
    with torch.enable_grad():
        take_steps(backbone)


@pytest.mark.parametrize(("k", "first"), [(1, 2), (2, 1), (3, 0)])
def test_last_k_starts_at_the_kth_block_from_the_end(small_weights: Path, k: int, first: int) -> None:
    backbone, strategy = adapt(small_weights, "last_k", k=k)
    assert strategy.first_trainable_block(backbone) == first
    trainable = [any(p.requires_grad for p in block.parameters()) for block in backbone.blocks()]
    assert trainable == [index >= first for index in range(3)]
    assert all(p.requires_grad for p in backbone.final_norm().parameters())


def test_last_k_without_the_final_norm(small_weights: Path) -> None:
    backbone, strategy = adapt(small_weights, "last_k", final_norm=False)
    assert not any(p.requires_grad for p in backbone.final_norm().parameters())
    assert all("layer.2." in name for name in strategy.state_dict(backbone))


def test_frozen_has_nothing_to_train(small_weights: Path) -> None:
    backbone, strategy = adapt(small_weights, "frozen")
    assert not strategy.trains()
    assert strategy.state_dict(backbone) == {}
    assert strategy.first_trainable_block(backbone) == len(backbone.blocks())


@pytest.mark.parametrize("name", INJECTED)
def test_dropout_acts_in_training_alone(small_weights: Path, name: str) -> None:
    if name in ("adapter", "ssf"):
        pytest.skip("has no dropout")
    backbone, _ = adapt(small_weights, name, dropout=0.5)
    take_steps(backbone)
    with torch.no_grad():
        assert torch.equal(backbone.features(images()), backbone.features(images()))
        backbone.train()
        assert not torch.equal(backbone.features(images()), backbone.features(images()))


def test_the_scales_scale(small_weights: Path) -> None:
    """alpha / rank of LoRA and s of AdaptFormer multiply the update."""
    for name, weak, strong in (
        ("lora", {"alpha": 8}, {"alpha": 24}),
        ("adaptformer", {"scale": 0.1}, {"scale": 0.3}),
    ):
        updates = []
        for options in (weak, strong):
            backbone, strategy = adapt(small_weights, name, blocks=[-1], **options)
            own = {
                key: torch.full_like(tensor, 1e-3) for key, tensor in strategy.state_dict(backbone).items()
            }
            strategy.load_state_dict(backbone, own)
            with torch.no_grad():
                block, tokens = backbone.blocks()[-1], backbone.prefix(images(), 2).tokens
                updates.append(block(tokens) - build(Small, small_weights).blocks()[-1](tokens))
        assert (updates[1].norm() / updates[0].norm()).item() == pytest.approx(3, rel=0.01)
