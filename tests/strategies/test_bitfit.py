"""BitFit: biases, all of them and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from peftcorr.errors import PeftCorrError
from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.base import apply_checked
from tests.small_models import Small, build
from tests.strategies.adapting import adapt

BLOCK = (
    "attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj", "mlp.fc1", "mlp.fc2", "norm1",
    "norm2",
)  # fmt: skip


def test_the_biases_of_the_chosen_blocks(small_weights: Path) -> None:
    backbone, strategy = adapt(small_weights, "bitfit", blocks=[1])
    assert strategy.state_dict(backbone).keys() == {
        *(f"model.encoder.layer.1.{layer}.bias" for layer in BLOCK),
        "model.layernorm.bias",
    }
    assert backbone.trainable_parameters() == 12 * 32
    assert strategy.first_trainable_block(backbone) == 1
    assert strategy.trains()


def test_without_the_final_norm(small_weights: Path) -> None:
    backbone, _ = adapt(small_weights, "bitfit", final_norm=False)
    assert backbone.trainable_parameters() == 3 * 11 * 32


@pytest.mark.parametrize("name", ["bitfit", "norm"])
def test_blocks_without_any_are_refused(small_weights: Path, name: str) -> None:
    """Otherwise nothing would be trained under a trained strategy's name."""
    backbone = build(Small, small_weights)
    for module in list(backbone.blocks()[0].modules()):
        for child, layer in list(module.named_children()):
            if isinstance(layer, nn.Linear):
                layer.bias = None
            if isinstance(layer, nn.LayerNorm):
                setattr(module, child, nn.Identity())
    strategy = STRATEGIES.get(name)
    with pytest.raises(PeftCorrError, match="finds nothing to train in the chosen blocks"):
        apply_checked(strategy(strategy.Config(blocks=[0], final_norm=False)), backbone)
