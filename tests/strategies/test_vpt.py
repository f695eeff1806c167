"""Visual prompts: where they stand, how long they stay, and which backbones can have them."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.eva import EvaBlock
from torch import Tensor, nn
from transformers import DINOv3ViTConfig
from transformers.models.dinov3_vit.modeling_dinov3_vit import DINOv3ViTLayer

from peftcorr.backbones.dinov2 import Dinov2
from peftcorr.errors import PeftCorrError
from peftcorr.strategies.base import apply_checked
from peftcorr.strategies.vpt import Prompts, Vpt, prompt
from tests.small_models import Small, SmallRegisters, build, images
from tests.strategies.adapting import adapt
from tests.strategies.convolutional import Convolutional


@pytest.mark.parametrize("cls", [Small, SmallRegisters], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("deep", [True, False])
def test_prompts_stand_after_the_leading_tokens(
    family_weights: dict[type[Dinov2], Path], cls: type[Dinov2], deep: bool
) -> None:
    """The blocks by hand, on tokens with the prompts between class token (and registers) and patches."""
    backbone, _ = adapt(family_weights[cls], "vpt", cls, deep=deep, prompts=3)
    plain = build(cls, family_weights[cls])
    leading = 1 + cls.variant.registers

    def join(tokens: Tensor, prompts: Tensor) -> Tensor:
        return torch.cat((tokens[:, :leading], prompts.expand(2, -1, -1), tokens[:, leading:]), 1)

    def part(tokens: Tensor) -> Tensor:
        return torch.cat((tokens[:, :leading], tokens[:, leading + 3 :]), 1)

    with torch.no_grad():
        tokens = plain.prefix(images(), 0).tokens
        for k, block in enumerate(plain.blocks()):
            if deep or k == 0:
                tokens = join(tokens, backbone.blocks()[k].prompts.tokens)
            tokens = block(tokens)
            if deep or k == len(plain.blocks()) - 1:
                tokens = part(tokens)
            assert torch.equal(backbone.prefix(images(), k + 1).tokens, tokens)
        assert not torch.allclose(tokens, plain.prefix(images(), 3).tokens, atol=1e-3)


def test_chosen_blocks(small_weights: Path) -> None:
    for deep, count, lengths in ((True, 2, [17, 17, 17, 17]), (False, 1, [17, 17, 21, 17])):
        backbone, strategy = adapt(small_weights, "vpt", deep=deep, prompts=4, blocks=[1, 2])
        assert backbone.trainable_parameters() == count * 4 * 32
        assert strategy.first_trainable_block(backbone) == 1
        with torch.no_grad():
            assert [backbone.prefix(images(), k).tokens.shape[1] for k in range(4)] == lengths


def test_initialisation_is_uniform_by_the_size_of_a_patch(small_weights: Path) -> None:
    backbone, strategy = adapt(small_weights, "vpt", prompts=200)
    bound = math.sqrt(6 / (3 * 8 * 8 + 32))
    for tokens in strategy.state_dict(backbone).values():
        assert 0.99 * bound < tokens.abs().max() <= bound
        assert tokens.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_the_bound_of_a_base_model() -> None:
    """Patches of 16 and a width of 768, whose sum is no union of bits."""
    bound = math.sqrt(6 / (3 * 16 * 16 + 768))
    found = Prompts(64, 768, patch=16, leading=1, dropout=0.0).tokens.abs().max().item()
    assert 0.999 * bound < found <= bound


def with_rotary_positions(kind: str) -> tuple[nn.Module, dict[str, Any], int]:
    """A block with rotary positions of 16 patches, what it takes besides tokens, and its leading tokens."""
    torch.manual_seed(0)
    angles = torch.randn(16, 16)
    if kind == "timm":
        block = EvaBlock(dim=32, num_heads=2, num_prefix_tokens=1)
        return block.eval(), {"rope": torch.cat((angles.sin(), angles.cos()), -1)}, 1
    config = DINOv3ViTConfig(
        hidden_size=32, num_attention_heads=2, intermediate_size=64, attn_implementation="eager"
    )
    return DINOv3ViTLayer(config).eval(), {"position_embeddings": (angles.cos(), angles.sin())}, 5


@pytest.mark.parametrize("kind", ["transformers", "timm"])
def test_patches_keep_their_rotary_positions(kind: str) -> None:
    """Prompts are as unrotated as the leading tokens; the blocks' further arguments reach them."""
    block, positions, leading = with_rotary_positions(kind)
    stream = torch.randn(2, leading + 16, 32)
    prompts = Prompts(3, 32, 14, leading, 0.0)
    more_leading = copy.deepcopy(block)
    if kind == "timm":
        more_leading.get_submodule("attn").num_prefix_tokens = leading + 3  # type: ignore[assignment]
    with torch.no_grad():
        plain = block(stream, **positions)
        prompt(prompts, [block])
        longer = torch.cat((stream[:, :leading], prompts.tokens.expand(2, -1, -1), stream[:, leading:]), 1)
        expected = more_leading(longer, **positions)
        expected = torch.cat((expected[:, :leading], expected[:, leading + 3 :]), 1)
        found = block(stream, **positions)
    assert torch.equal(found, expected)
    assert not torch.allclose(found, plain, atol=1e-4)


def test_the_stream_may_be_the_first_of_a_tuple() -> None:
    class Tupled(nn.Module):
        def forward(self, stream: Tensor, further: str) -> tuple[Tensor, str]:
            return stream + 1, f"{further} {stream.shape[1]}"

    block = Tupled()
    prompt(Prompts(3, 8, 14, 1, 0.0), [block])
    stream = torch.randn(2, 5, 8)
    found, further = block(stream, "length")
    assert torch.equal(found, stream + 1)
    assert further == "length 8"


def test_a_backbone_without_a_sequence_of_tokens_is_refused() -> None:
    with pytest.raises(PeftCorrError, match=r"vpt needs a backbone .* Convolutional is not: choose another"):
        apply_checked(Vpt(Vpt.Config()), Convolutional())
