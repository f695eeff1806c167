"""Every strategy on every family of backbones: what holds of all, and which pairs are impossible and why."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from peftcorr.backbones.base import Backbone
from peftcorr.errors import PeftCorrError
from peftcorr.strategies import STRATEGIES, Strategy
from peftcorr.strategies.base import apply_checked
from tests.matrix.families import FAMILIES, fresh
from tests.strategies.tuners.peft_cases import OPTIONS

STRATEGY_OPTIONS: dict[str, dict[str, Any]] = {
    "frozen": {},
    "last_k": {},
    "lora": {"rank": 2},
    "adapter": {"bottleneck": 4},
    "adaptformer": {"bottleneck": 4, "dropout": 0.0},
    "bitfit": {},
    "norm": {},
    "full": {},
    "ssf": {},
    "vpt": {"prompts": 3},
    "head": {},
    "lora+norm": {"lora": {"rank": 2}},
    **{tuner: {"options": options} for tuner, options in OPTIONS.items() if tuner in STRATEGIES.names()},
}
EXACT = set(STRATEGY_OPTIONS) - {"adapter", "vpt"}
"""Those whose features start as the frozen backbone's, up to the rounding of a rotation or a rescaled norm."""

_NO_ROLE = r"strategy.targets has [qk], but .* has only"
_NO_PLACE = "needs a place that .* does not have"
_NO_SEQUENCE = "needs a backbone whose blocks all attend to one sequence of tokens"
_CONVOLUTIONAL = ("dinov3_convnext", "timm, ResNet", "timm, ConvNeXt")
_OF_PROJECTIONS = ("lora", "lora+norm", *(name for name in OPTIONS if name in STRATEGIES.names()))

IMPOSSIBLE: dict[tuple[str, str], str] = {
    **{
        (family, name): _NO_ROLE
        for family in _CONVOLUTIONAL
        for name in _OF_PROJECTIONS
        if name != "ln_tuning"
    },
    **{
        (family, name): _NO_PLACE
        for family in (*_CONVOLUTIONAL, "timm, Swin")
        for name in ("adapter", "adaptformer")
    },
    ("timm, ResNet", "ln_tuning"): "finds no norm in model.layer1",
    **{(family, "vpt"): _NO_SEQUENCE for family in (*_CONVOLUTIONAL, "timm, Swin", "sam", "sd15", "fusion")},
}
"""Every pair that cannot be, with the sentence that a user reads; on convolutions LoRA needs other targets."""

PAIRS = [(family, name) for family in FAMILIES for name in STRATEGY_OPTIONS]


def make(name: str) -> Strategy:
    cls = STRATEGIES.get(name)
    return cls(cls.Config(**STRATEGY_OPTIONS[name]))


def adapted(family: str, name: str, seed: int = 1) -> tuple[Backbone, Strategy]:
    backbone, strategy = fresh(family), make(name)
    torch.manual_seed(seed)
    apply_checked(strategy, backbone)  # the count is the closed form's
    return backbone.eval(), strategy


def without_effect(name: str) -> bool:
    """What is added to all keys adds the same to every logit of a softmax: its gradient is zero but for rounding."""
    return bool(
        re.search(
            r"\b(k|k_proj|to_k)\.(base_layer\.)?bias$|_k(_proj)?\.shift$|\bssf_\w*_k(_proj)?\.shift$", name
        )
    )


def loss_of(backbone: Backbone, pictures: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return ((backbone(pictures) - wanted) ** 2).mean()


@pytest.mark.parametrize(("family", "name"), PAIRS, ids=[f"{f}-{n}" for f, n in PAIRS])
def test_pair(family: str, name: str) -> None:
    if (family, name) in IMPOSSIBLE:
        with pytest.raises(PeftCorrError, match=IMPOSSIBLE[family, name]):
            adapted(family, name)
        return
    backbone, strategy = adapted(family, name)
    pictures = FAMILIES[family].images()
    with torch.no_grad():
        plain, start = fresh(family).features(pictures), backbone.features(pictures)
        if name in EXACT:
            torch.testing.assert_close(start, plain, rtol=1e-4, atol=1e-4)
        for k in range(len(backbone.blocks()) + 1):
            again = backbone.suffix(backbone.prefix(pictures, k), k)
            torch.testing.assert_close(again, start, rtol=0, atol=1e-6)
    own = {key for key, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert own == strategy.state_dict(backbone).keys()
    if name == "frozen":
        assert not own
        return
    _train(backbone, strategy, pictures, own)
    _reload(family, name, backbone, strategy, pictures)


def _train(backbone: Backbone, strategy: Strategy, pictures: torch.Tensor, own: set[str]) -> None:
    """A step down the gradient lowers the loss; two of the optimiser move everything that is trained, and no more."""
    with torch.no_grad():
        shape = backbone.features(pictures).shape
    wanted = torch.randn(shape, generator=torch.Generator().manual_seed(7))
    trained = {key: parameter for key, parameter in backbone.named_parameters() if key in own}
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    loss = loss_of(backbone, pictures, wanted)
    loss.backward()
    gradients = {key: parameter.grad for key, parameter in trained.items() if parameter.grad is not None}
    length = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    assert length > 0
    with torch.no_grad():
        for step in (1e-3, 1e-1):  # a tenth where a thousandth is lost in rounding
            for key, gradient in gradients.items():
                trained[key].sub_(step * gradient / length)
            if lower := bool(loss_of(backbone, pictures, wanted) < loss.detach()):
                break
    assert lower

    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2, weight_decay=0)
    backbone.train()
    for _ in range(2):
        optimizer.zero_grad()
        loss_of(backbone, pictures, wanted).backward()
        optimizer.step()
    backbone.eval()
    moved = {key for key, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[key])}
    assert moved <= own
    assert sorted(key for key in own - moved if not without_effect(key)) == []


def _reload(family: str, name: str, backbone: Backbone, strategy: Strategy, pictures: torch.Tensor) -> None:
    saved = strategy.state_dict(backbone)
    twin, same = adapted(family, name, seed=2)
    same.load_state_dict(twin, saved)
    with torch.no_grad():
        features = backbone.features(pictures)
        assert torch.equal(twin.features(pictures), features)


def test_every_strategy_is_in_the_matrix() -> None:
    assert {name for name in STRATEGIES.names() if name != "peft"} <= set(STRATEGY_OPTIONS)
