"""peft's tuners on convolutions: which take them, what they train there, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from peftcorr.errors import PeftCorrError
from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.base import apply_checked
from peftcorr.strategies.tuners.catalogue import TUNERS
from tests.small_models import Small, build, save_weights
from tests.strategies.adapting import adapt, take_steps
from tests.strategies.tuners.peft_cases import CONVOLVING, SmallConvolutions, SmallDilated, SmallGrouped
from tests.strategies.tuners.test_peft_strategies import ALL, EXACT, case, features


@pytest.fixture(scope="module")
def convolutions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_weights(Small, tmp_path_factory.mktemp("weights") / "small")


def convolving(tuner: str) -> tuple[str, dict[str, Any]]:
    own = {"targets": ["conv", "q"], "blocks": [0]}
    return ("lora", {**own, "rank": 4}) if tuner == "lora" else ("peft", case(tuner, **own))


@pytest.mark.parametrize("tuner", CONVOLVING)
def test_convolutions(convolutions: Path, tuner: str) -> None:
    name, options = convolving(tuner)
    backbone, strategy = adapt(convolutions, name, SmallConvolutions, **options)
    plain = features(build(SmallConvolutions, convolutions))
    torch.testing.assert_close(features(backbone), plain, rtol=0, atol=0 if tuner in EXACT else 1e-5)
    before = strategy.state_dict(backbone)
    before = {key: tensor.clone() for key, tensor in before.items()}
    take_steps(backbone)
    after = strategy.state_dict(backbone)
    assert any("projection.1" in key for key in after)
    assert not any(torch.equal(after[key], before[key]) for key in after)
    adapted = features(backbone)
    strategy.merge(backbone)
    torch.testing.assert_close(features(backbone), adapted, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("tuner", "options"),
    [("loha", {"use_effective_conv2d": True}), ("lokr", {"r": 2, "use_effective_conv2d": True})],
)
def test_effective_convolutions(convolutions: Path, tuner: str, options: dict[str, Any]) -> None:
    backbone, strategy = adapt(
        convolutions, "peft", SmallConvolutions, tuner=tuner, options=options, targets=["conv"], blocks=[0]
    )
    assert any("_t2" in key for key in strategy.state_dict(backbone))


def test_lora_of_a_convolution_by_hand(convolutions: Path) -> None:
    """r (in kh kw + out); of a grouped one B alone is grouped, and the rank has to divide."""
    own: dict[str, Any] = {"targets": ["conv"], "blocks": [0]}
    backbone, _ = adapt(convolutions, "lora", SmallConvolutions, rank=4, **own)
    assert backbone.trainable_parameters() == 4 * (32 * 9 + 32)
    backbone, strategy = adapt(convolutions, "lora", SmallGrouped, rank=4, **own)
    assert backbone.trainable_parameters() == 4 * (32 * 9 + 32 // 4)
    take_steps(backbone)
    with pytest.raises(PeftCorrError, match=r"lora cannot be merged into .*projection\.1 .*groups"):
        strategy.merge(backbone)
    with pytest.raises(
        PeftCorrError, match=r"lora cannot take .*projection\.1 .*4 groups, .*rank 6 is no multiple"
    ):
        adapt(convolutions, "lora", SmallGrouped, rank=6, **own)
    with pytest.raises(PeftCorrError, match=r"lora cannot take .*dilated"):
        adapt(convolutions, "lora", SmallDilated, **own)


@pytest.mark.parametrize("tuner", sorted(set(ALL) - {"ln_tuning"}))
def test_convolutions_that_a_tuner_does_not_take(convolutions: Path, tuner: str) -> None:
    """On the meta device as on the CPU; what is taken has one group at least."""
    made = STRATEGIES.get("peft")
    strategy = made(made.Config(**case(tuner, targets=["conv"], blocks=[0])))
    for cls in (SmallConvolutions, SmallGrouped):
        backbone = cls.build(cls.Config(), None)
        takes = TUNERS[tuner].convolutions
        if takes == "all" or (takes == "ungrouped" and cls is SmallConvolutions):
            apply_checked(strategy, backbone)
            continue
        with pytest.raises(
            PeftCorrError, match=rf"tuner {tuner} cannot take .*projection\.1 \(it is a convolution"
        ):
            apply_checked(strategy, backbone)
