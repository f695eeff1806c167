"""A fused projection taken apart computes what it did, and comes together again."""

import pytest
import torch
from torch import nn

from peftcorr.backbones.fused import SplitLinear, split_projection


@pytest.mark.parametrize("bias", [True, False])
def test_the_parts_compute_what_the_whole_did(bias: bool) -> None:
    torch.manual_seed(0)
    fused, tokens = nn.Linear(8, 24, bias), torch.randn(2, 5, 8)
    split = SplitLinear(fused)
    torch.testing.assert_close(split(tokens), fused(tokens), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        split.get_submodule("k")(tokens), fused(tokens)[..., 8:16], rtol=1e-6, atol=1e-6
    )
    whole = split.fused()
    assert torch.equal(whole.weight, fused.weight)
    assert (whole.bias is None) == (fused.bias is None)
    assert not bias or torch.equal(whole.bias, fused.bias)


def test_a_part_can_change_alone() -> None:
    torch.manual_seed(0)
    parent = nn.Module()
    parent.add_module("qkv", nn.Linear(8, 24))
    parent.requires_grad_(False)
    tokens = torch.randn(2, 5, 8)
    before = parent.get_submodule("qkv")(tokens)
    split_projection(parent, "qkv")
    split = parent.get_submodule("qkv")
    assert isinstance(split, SplitLinear)
    assert not any(parameter.requires_grad for parameter in split.parameters())
    with torch.no_grad():
        split.get_submodule("q").weight.add_(1.0)  # type: ignore[operator, union-attr]
    moved = (split(tokens) - before).abs().amax(dim=(0, 1)) > 1e-3
    assert moved[:8].any()
    assert not moved[8:].any()


def test_an_adapted_part_is_not_put_together() -> None:
    split = SplitLinear(nn.Linear(8, 24))
    split.add_module("v", nn.Sequential(nn.Linear(8, 8)))
    with pytest.raises(TypeError, match="merge"):
        split.fused()
