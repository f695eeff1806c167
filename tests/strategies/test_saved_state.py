"""An adapter is saved apart from the backbone, put back, copied, merged, and refused where it does not belong."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from peftcorr.backbones.dinov2 import Dinov2
from peftcorr.errors import PeftCorrError
from tests.small_models import Small, build, images
from tests.strategies.adapting import INJECTED, TRAINED, UNFREEZING, adapt, take_steps


def features(backbone: Dinov2) -> Tensor:
    with torch.no_grad():
        return backbone.features(images())


@pytest.mark.parametrize("name", TRAINED)
def test_saved_and_loaded_features_are_equal(small_weights: Path, tmp_path: Path, name: str) -> None:
    trained, strategy = adapt(small_weights, name)
    take_steps(trained)
    save_file(strategy.state_dict(trained), tmp_path / "adapter.safetensors")

    fresh, again = adapt(small_weights, name, seed=2)
    assert not torch.equal(features(fresh), features(trained))
    again.load_state_dict(fresh, load_file(tmp_path / "adapter.safetensors"))
    assert torch.equal(features(fresh), features(trained))


@pytest.mark.parametrize("name", TRAINED)
def test_only_its_own_tensors_are_saved(small_weights: Path, name: str) -> None:
    backbone, strategy = adapt(small_weights, name)
    own = strategy.state_dict(backbone)
    assert sum(tensor.numel() for tensor in own.values()) == strategy.expected_parameters(backbone)
    plain = build(Small, small_weights).state_dict().keys()
    assert (own.keys() & plain) == (own.keys() if name in UNFREEZING else set())


@pytest.mark.parametrize("name", [name for name in TRAINED if name != "lora"])
def test_the_base_keeps_its_names(small_weights: Path, name: str) -> None:
    backbone, _ = adapt(small_weights, name)
    assert build(Small, small_weights).state_dict().keys() <= backbone.state_dict().keys()


@pytest.mark.parametrize(
    ("saved", "loaded"),
    [
        (("lora", {}), ("adapter", {})),
        (("adapter", {}), ("adaptformer", {})),
        (("last_k", {}), ("last_k", {"k": 2})),
        (("lora", {"blocks": [1]}), ("lora", {})),
        (("lora", {}), ("lora", {"targets": ["q"]})),
        (("lora", {}), ("frozen", {})),
    ],
    ids=str,
)
def test_an_adapter_of_another_strategy_is_refused(
    small_weights: Path, saved: tuple[str, Any], loaded: tuple[str, Any]
) -> None:
    backbone, strategy = adapt(small_weights, saved[0], **saved[1])
    other, other_strategy = adapt(small_weights, loaded[0], **loaded[1])
    with pytest.raises(PeftCorrError, match="another strategy or options"):
        other_strategy.load_state_dict(other, strategy.state_dict(backbone))


def test_an_adapter_of_another_shape_is_refused_whole(small_weights: Path) -> None:
    backbone, strategy = adapt(small_weights, "lora", rank=4)
    other, other_strategy = adapt(small_weights, "lora")
    before = features(other)
    with pytest.raises(PeftCorrError, match=r"lora_A.* of shape \(4, 32\), this strategy has \(8, 32\)"):
        other_strategy.load_state_dict(other, strategy.state_dict(backbone))
    assert torch.equal(features(other), before)


@pytest.mark.parametrize("name", TRAINED)
def test_a_deep_copy_is_whole_and_independent(small_weights: Path, name: str) -> None:
    backbone, strategy = adapt(small_weights, name)
    take_steps(backbone)
    twin = copy.deepcopy(backbone)
    before = features(backbone)
    assert torch.equal(features(twin), before)
    take_steps(twin)
    assert not torch.equal(features(twin), before)
    assert torch.equal(features(backbone), before)
    strategy.load_state_dict(backbone, strategy.state_dict(twin))
    assert torch.equal(features(backbone), features(twin))


@pytest.mark.parametrize("name", TRAINED)
def test_gradient_checkpointing_gives_the_same_gradients(small_weights: Path, name: str) -> None:
    found = []
    for checkpointing in (False, True):
        backbone, _ = adapt(small_weights, name, **({"dropout": 0.0} if name == "adaptformer" else {}))
        take_steps(backbone)
        if checkpointing:
            backbone.model.gradient_checkpointing_enable({"use_reentrant": False})
        backbone.train()
        backbone(images()).square().mean().backward()
        found.append({n: p.grad for n, p in backbone.named_parameters() if p.requires_grad})
    for key, gradient in found[0].items():
        assert gradient is not None
        torch.testing.assert_close(found[1][key], gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "options", [{}, {"blocks": [-1], "targets": ["fc1", "fc2"]}, {"alpha": 32.0, "rank": 2, "dropout": 0.5}]
)
def test_merged_lora_gives_the_same_features(small_weights: Path, options: dict[str, Any]) -> None:
    backbone, strategy = adapt(small_weights, "lora", **options)
    take_steps(backbone)
    unmerged = features(backbone)
    assert not torch.allclose(unmerged, features(build(Small, small_weights)), atol=1e-3)
    strategy.merge(backbone)
    torch.testing.assert_close(features(backbone), unmerged, rtol=0, atol=1e-5)
    assert backbone.state_dict().keys() == build(Small, small_weights).state_dict().keys()


def test_what_cannot_be_merged_says_so(small_weights: Path) -> None:
    for name in ("adapter", "adaptformer", "vpt", "head"):
        backbone, strategy = adapt(small_weights, name)
        with pytest.raises(PeftCorrError, match="no exact merge"):
            strategy.merge(backbone)
    _, lora = adapt(small_weights, "lora")
    with pytest.raises(PeftCorrError, match="carries no lora"):
        lora.merge(build(Small, small_weights))


@pytest.mark.parametrize("name", INJECTED)
@pytest.mark.parametrize(("blocks", "index"), [([3], 3), ([0, -4], -4)])
def test_a_block_that_is_not_there(small_weights: Path, name: str, blocks: list[int], index: int) -> None:
    with pytest.raises(PeftCorrError, match=rf"strategy\.blocks has {index}, .* blocks 0 to 2\."):
        adapt(small_weights, name, blocks=blocks)


def test_more_last_blocks_than_there_are(small_weights: Path) -> None:
    with pytest.raises(PeftCorrError, match=r"strategy\.k is 4, but this backbone has 3 blocks\."):
        adapt(small_weights, "last_k", k=4)


@pytest.mark.parametrize("name", INJECTED)
def test_no_block_at_all_is_said_plainly(small_weights: Path, name: str) -> None:
    """An empty list would train nothing under a trained strategy's name."""
    with pytest.raises((PeftCorrError, ValueError), match="blocks"):
        adapt(small_weights, name, blocks=[])
