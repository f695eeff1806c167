"""Full fine-tuning: everything that takes part, from the first block on."""

from __future__ import annotations

from pathlib import Path

from tests.small_models import Small, build
from tests.strategies.adapting import adapt


def test_everything_is_trained(small_weights: Path) -> None:
    backbone, strategy = adapt(small_weights, "full")
    assert backbone.trainable_parameters() == backbone.total_parameters()
    assert strategy.state_dict(backbone).keys() == dict(backbone.named_parameters()).keys()
    assert "model.embeddings.position_embeddings" in strategy.state_dict(backbone)
    assert strategy.first_trainable_block(backbone) == 0
    assert strategy.learning_rate() < 1e-4
    strategy.merge(backbone)
    assert backbone.state_dict().keys() == build(Small, small_weights).state_dict().keys()


def test_blocks_that_are_cut_off_are_not(small_weights: Path) -> None:
    """Features of an earlier layer: what comes after it neither exists nor counts."""
    backbone, _ = adapt(small_weights, "full")
    assert backbone.total_parameters() - len(backbone.blocks()) * (12 * 32**2 + 15 * 32) == (
        2 * 32 + 3 * 64 * 32 + 32 + 32 + 17 * 32  # final norm, patch embedding, class token, positions
    )
