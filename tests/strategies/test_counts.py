"""Trainable parameters of the published sizes against the literal numbers, on the meta device: no weights."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.base import Backbone
from peftcorr.errors import PeftCorrError
from peftcorr.strategies import STRATEGIES, Strategy
from peftcorr.strategies.base import apply_checked

SIZES = ("dinov2_vits14", "dinov2_vitb14", "dinov2_vitl14")
DEFAULTS = {
    "frozen": (0, 0, 0),
    "last_k": (1_776_000, 7_090_944, 12_600_320),
    "lora": (147_456, 294_912, 786_432),
    "adapter": (1_190_400, 2_379_264, 6_343_680),
    "adaptformer": (595_200, 1_189_632, 3_171_840),
    "bitfit": (51_072, 102_144, 271_360),  # (11 L + 1) D
    "norm": (19_200, 38_400, 100_352),  # (4 L + 2) D
    "full": (22_056_192, 86_579_712, 304_367_616),
    "ssf": (101_376, 202_752, 540_672),  # 22 L D
    "vpt": (46_080, 92_160, 245_760),  # L P D for ten prompts a block
    "head": (147_840, 590_592, 1_049_600),  # D^2 + D
    # Of q and v, D wide, in L blocks; ia3 of k, v and the 4 D inputs of fc2; ln_tuning of two norms a block.
    "peft": (156_672, 313_344, 835_584),  # its default is dora
    "dora": (156_672, 313_344, 835_584),  # 2 L (2 r D + D), r 8
    "rslora": (147_456, 294_912, 786_432),
    "adalora": (221_472, 442_656, 1_180_224),  # 2 L r (2 D + 1), r 12 before ranks are taken away
    "loha": (294_912, 589_824, 1_572_864),  # 2 L 4 r D
    "lokr": (15_360, 26_112, 73_728),  # D = a b with 16 24, 24 32 and 32 32: 2 L (a^2 + 2 r b)
    "oft": (142_848, 285_696, 761_856),  # 2 L (D / b) b (b - 1) / 2, b 32
    "boft": (46_080, 92_160, 245_760),  # 2 L (D b + D), b 4
    "hra": (73_728, 147_456, 393_216),  # 2 L r D
    "ia3": (27_648, 55_296, 147_456),  # 6 L D
    "vera": (15_360, 24_576, 61_440),  # 2 L (r + D), r 256
    "fourierft": (24_000, 24_000, 48_000),  # 2 L n, n 1000
    "ln_tuning": (18_432, 36_864, 98_304),  # 4 L D
}
UNCHANGED = ("frozen", "last_k", "bitfit", "norm", "full")


@cache
def total(backbone: str) -> int:
    cls = BACKBONES.get(backbone)
    return cls.build(cls.Config(), None).total_parameters()


def adapted(backbone: str, strategy: str, **options: Any) -> tuple[Backbone, int]:
    """The backbone with the strategy applied, and what the closed form said before it was."""
    cls, made = BACKBONES.get(backbone), STRATEGIES.get(strategy)
    built = cls.build(cls.Config(), None)
    applied = made(made.Config(**options))
    before = applied.expected_parameters(built)
    apply_checked(applied, built)
    return built, before


@pytest.mark.parametrize(
    ("strategy", "size", "count"),
    [(name, size, n) for name, row in DEFAULTS.items() for size, n in zip(SIZES, row, strict=True)],
)
def test_defaults(strategy: str, size: str, count: int) -> None:
    backbone, closed_form = adapted(size, strategy)
    assert closed_form == count
    assert backbone.trainable_parameters() == count
    grown = 0 if strategy in UNCHANGED else count
    assert backbone.total_parameters() == total(size) + grown


@pytest.mark.parametrize(
    ("size", "k", "final_norm", "count"),
    [
        ("dinov2_vits14", 2, True, 3_551_232),
        ("dinov2_vitb14", 1, False, 7_089_408),
        ("dinov2_vitb14", 2, True, 14_180_352),
        ("dinov2_vitb14", 3, True, 21_269_760),
        ("dinov2_vitl14", 3, False, 37_794_816),
        ("dinov2_vitb14_reg", 1, True, 7_090_944),
        ("dinov2_vitg14", 1, False, 28_336_640),  # gated MLP, h 4096: 4 D^2 + 3 D h + 2 h + 11 D
    ],
)
def test_last_k(size: str, k: int, final_norm: bool, count: int) -> None:
    """k (12 D^2 + 15 D), and 2 D for the final norm."""
    assert adapted(size, "last_k", k=k, final_norm=final_norm)[0].trainable_parameters() == count


@pytest.mark.parametrize(
    ("strategy", "options", "count"),
    [
        ("lora", {"rank": 4}, 73_728),
        ("lora", {"targets": ["q", "k", "v", "out", "fc1", "fc2"]}, 663_552),  # 18 D r L
        ("lora", {"targets": ["fc1"], "blocks": [-1]}, 15_360),
        ("adapter", {"bottleneck": 16, "blocks": [0, 11]}, 2 * 2 * (2 * 384 * 16 + 16 + 384)),
        ("adapter", {"layer_norm": True}, 1_190_400 + 12 * 4 * 384),
        ("peft", {"tuner": "hira", "options": {"r": 32}}, 4 * 32 * 384 * 12),
        ("peft", {"tuner": "delora"}, 2 * 12 * (8 * 768 + 1)),
        ("peft", {"tuner": "miss", "options": {"r": 64}}, 2 * 12 * 64 * 384),
        ("peft", {"tuner": "road"}, 2 * 12 * 384),
        ("peft", {"tuner": "c3a"}, 2 * 12 * 384 * 384 // 64),
        ("adaptformer", {"bottleneck": 512, "blocks": [9, 10, 11]}, 3 * (2 * 384 * 512 + 512 + 384)),
        ("bitfit", {"blocks": [4, 5, 6, 7, 8, 9, 10, 11], "final_norm": False}, 8 * 11 * 384),
        ("norm", {"blocks": [-1], "final_norm": False}, 4 * 384),
        ("ssf", {"blocks": [0, -1]}, 2 * 22 * 384),
        ("vpt", {"deep": False, "prompts": 50}, 50 * 384),
        ("vpt", {"blocks": [9, 10, 11], "prompts": 4}, 3 * 4 * 384),
        ("head", {"channels": 128}, 384 * 128 + 128),
        ("head", {"hidden": 64}, 384 * 64 + 64 + 64 * 384 + 384),
        ("head", {"hidden": 64, "channels": 256}, 384 * 64 + 64 + 64 * 256 + 256),
        ("lora+norm", {"lora": {"rank": 4}}, 73_728 + 19_200),
    ],
)
def test_options(strategy: str, options: dict[str, Any], count: int) -> None:
    backbone, closed_form = adapted("dinov2_vits14", strategy, **options)
    assert (backbone.trainable_parameters(), closed_form) == (count, count)


@pytest.mark.parametrize(
    ("strategy", "count"),
    [
        ("lora", 1_966_080),
        ("adapter", 15_856_640),
        ("adaptformer", 7_928_320),
        ("bitfit", 40 * (7 * 1536 + 2 * 4096) + 1536),
        ("ssf", 40 * 2 * (7 * 1536 + 2 * 4096)),
    ],
)
def test_gated_mlp(strategy: str, count: int) -> None:
    """ViT-g, whose MLP has three matrices: 40 blocks, D 1536."""
    assert adapted("dinov2_vitg14", strategy)[0].trainable_parameters() == count


def test_a_closed_form_that_is_wrong_is_caught() -> None:
    honest = STRATEGIES.get("lora")

    class Boastful(honest):  # type: ignore[misc, valid-type]
        def expected_parameters(self, backbone: Backbone) -> int:
            return int(super().expected_parameters(backbone)) - 1

    cls = BACKBONES.get("dinov2_vits14")
    with pytest.raises(PeftCorrError, match=r"Boastful left 147,456 .* closed form says 147,455"):
        apply_checked(Boastful(Boastful.Config()), cls.build(cls.Config(), None))


def test_what_was_trainable_before_is_not_after() -> None:
    """A strategy starts from a frozen backbone, whatever state it is given in."""
    cls, frozen = BACKBONES.get("dinov2_vits14"), STRATEGIES.get("frozen")
    backbone = cls.build(cls.Config(), None).requires_grad_(True)
    apply_checked(frozen(frozen.Config()), backbone)
    assert backbone.trainable_parameters() == 0


def test_every_strategy_is_in_the_table() -> None:
    assert {entry.name for entry in STRATEGIES.entries() if entry.origin == "peftcorr"} == set(DEFAULTS)
    assert all(issubclass(STRATEGIES.get(name), Strategy) for name in DEFAULTS)
