"""Fusion: the contract of every backbone, against its parts run by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.base import Backbone
from peftcorr.backbones.dinov2 import Variant
from peftcorr.backbones.fusion import Fusion
from peftcorr.config import options
from peftcorr.errors import PeftCorrError
from peftcorr.recipe import validate
from peftcorr.strategies import STRATEGIES, Strategy
from peftcorr.strategies.base import apply_checked
from tests.small_models import Small, build, save_weights


class Wide(Small):
    """Another stride, width and depth, other statistics, and registers."""

    class Config(Backbone.Config):
        image_size: int = Field(default=48, gt=0)

    variant = Variant(48, 2, 3, patch=12, pretrained_size=48, registers=2)
    mean = (0.5, 0.4, 0.3)
    std = (0.5, 0.6, 0.7)


class Named(Small):
    """Shifts its stream by the length of the category's name."""

    uses_categories = True
    said: tuple[str, ...] = ()

    def condition(self, categories: Any) -> None:
        self.said = tuple(categories)


@pytest.fixture(scope="module", autouse=True)
def names() -> Any:
    before = dict(BACKBONES._entries)
    BACKBONES.register("wide")(Wide)
    BACKBONES.register("named")(Named)
    yield
    BACKBONES._entries.clear()
    BACKBONES._entries.update(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    save_weights(Small, folder / "small", seed=0)
    save_weights(Wide, folder / "wide", seed=1)
    return folder


def fused(folder: Path, first: dict[str, Any] | None = None, second: dict[str, Any] | None = None) -> Fusion:
    parts = [
        {"name": "small", "weights": "small", **(first or {})},
        {"name": "wide", "weights": "wide", **(second or {})},
    ]
    config = Fusion.Config(parts=parts)
    backbone = Fusion.build(config, Fusion.find_weights(config, folder))
    backbone.eval()
    return backbone


def raw(count: int = 2, height: int = 32, width: int = 32) -> Tensor:
    return torch.randint(
        0, 256, (count, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def part_alone(cls: type[Small], folder: Path, name: str, pictures: Tensor) -> Tensor:
    with torch.no_grad():
        backbone = build(cls, folder / name)
        return nn.functional.normalize(backbone.features(backbone.preprocess(pictures)), dim=1)


def test_features_are_the_parts_own_normalised_and_weighted(folder: Path) -> None:
    """At 32 pixels of stride 8 and 48 of stride 12 both have 4 x 4 cells."""
    backbone = fused(folder, {"weight": 1}, {"weight": 3})
    pictures = raw()
    with torch.no_grad():
        features = backbone.features(backbone.preprocess(pictures))
    assert features.shape == (2, 32 + 48, 4, 4)
    assert (backbone.stride, backbone.channels, backbone.config.image_size) == (8, 80, 32)
    torch.testing.assert_close(features[:, :32], 0.25 * part_alone(Small, folder, "small", pictures))
    # The second part's image is resized before it is rounded to whole brightness, which the reference does after.
    larger = resize(pictures, [48, 48], antialias=True)
    second = 0.75 * part_alone(Wide, folder, "wide", larger)
    assert nn.functional.cosine_similarity(features[:, 32:], second).min() > 0.999
    torch.testing.assert_close(features[:, 32:].norm(dim=1), torch.full((2, 4, 4), 0.75))


def test_another_grid_is_brought_to_the_first(folder: Path) -> None:
    backbone = fused(folder, None, {"image_size": 24})
    pictures = backbone.preprocess(raw())
    with torch.no_grad():
        own = backbone.parts[1].features(backbone._seen_by(1, pictures))
        features = backbone.features(pictures)
    assert own.shape == (2, 48, 2, 2)
    expected = nn.functional.interpolate(own, (4, 4), mode="bilinear", align_corners=False)
    torch.testing.assert_close(features[:, 32:], 0.5 * nn.functional.normalize(expected, dim=1))
    with torch.no_grad():
        assert backbone.features(backbone.preprocess(raw(1, 32, 64))).shape == (1, 80, 4, 8)


@pytest.mark.parametrize("second", [{}, {"image_size": 24}, {"layer": 1}])
def test_every_block_is_a_place_to_cut(folder: Path, second: dict[str, Any]) -> None:
    backbone = fused(folder, None, second)
    pictures = backbone.preprocess(raw())
    assert len(backbone.blocks()) == 3 + second.get("layer", 2)
    with torch.no_grad():
        whole = backbone.features(pictures)
        for k in range(len(backbone.blocks()) + 1):
            state = backbone.prefix(pictures, k)
            assert state.tokens.shape[0] == 2
            assert torch.equal(backbone.suffix(state, k), whole), f"block {k}"
            assert torch.equal(backbone(state, k), whole)


def test_sites_name_the_parts_blocks_in_order(folder: Path) -> None:
    backbone = fused(folder)
    sites = backbone.sites()
    assert [backbone.get_submodule(site.block) for site in sites] == backbone.blocks()
    assert [site.width for site in sites] == [32, 32, 32, 48, 48]
    for site in sites:
        places = [site.norm2, site.attention_output, site.mlp_output, *sum(site.linears.values(), ())]
        assert all(str(place).startswith(f"{site.block}.") for place in places)
        assert all(backbone.get_submodule(str(place)) is not None for place in places)
    assert backbone.final_norm() is backbone.parts[1].final_norm()
    assert backbone.leading_tokens is None


def adapted(folder: Path, name: str, **options: Any) -> tuple[Fusion, Strategy]:
    backbone, made = fused(folder), STRATEGIES.get(name)
    strategy = made(made.Config(**options))
    torch.manual_seed(1)
    apply_checked(strategy, backbone)
    backbone.eval()
    return backbone, strategy


@pytest.mark.parametrize(
    ("name", "options", "first", "count"),
    [
        ("lora", {}, 0, 4 * 8 * (3 * 32 + 2 * 48)),
        ("lora", {"blocks": [-1]}, 4, 4 * 8 * 48),
        ("adapter", {"bottleneck": 4, "blocks": [2, 3]}, 2, 2 * (2 * 4 * 80 + 8 + 80)),
        ("adaptformer", {"bottleneck": 4}, 0, 2 * 4 * 192 + 5 * 4 + 192),
        ("last_k", {"k": 3}, 2, (12 * 32**2 + 15 * 32) + 2 * (12 * 48**2 + 15 * 48) + 2 * 48),
    ],
)
def test_strategies_reach_every_part(
    folder: Path, name: str, options: dict[str, Any], first: int, count: int
) -> None:
    backbone, strategy = adapted(folder, name, **options)
    pictures = backbone.preprocess(raw())
    assert backbone.trainable_parameters() == count
    assert strategy.first_trainable_block(backbone) == first
    with torch.no_grad():
        start = fused(folder).features(pictures)
        torch.testing.assert_close(backbone.features(pictures), start, rtol=0, atol=1e-2)
        state = backbone.prefix(pictures, first)
    own = {key: tensor.clone() for key, tensor in strategy.state_dict(backbone).items()}
    optimizer = torch.optim.AdamW(
        [p for p in backbone.parameters() if p.requires_grad], lr=1e-2, weight_decay=0
    )
    for _ in range(2):
        optimizer.zero_grad()
        (backbone(state, first) * torch.linspace(-1, 1, 80).view(1, -1, 1, 1)).sum().backward()
        optimizer.step()
    after = strategy.state_dict(backbone)
    assert [key for key in own if torch.equal(after[key], own[key]) and "k_proj.bias" not in key] == []
    with torch.no_grad():  # what comes before the first trained block did not move
        assert torch.equal(backbone.prefix(pictures, first).tokens, state.tokens)


def test_no_parameter_is_dead_and_training_mode_changes_nothing(folder: Path) -> None:
    backbone = fused(folder)
    assert backbone.trainable_parameters() == 0
    pictures = backbone.preprocess(raw())
    with torch.no_grad():
        features = backbone.features(pictures)
        assert torch.equal(backbone.train().features(pictures), features)
    backbone.requires_grad_(True).features(pictures).square()[:, ::2].sum().backward()
    assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []
    alone = [build(cls, folder / name) for cls, name in ((Small, "small"), (Wide, "wide"))]
    assert backbone.total_parameters() == sum(part.total_parameters() for part in alone)


def test_categories_go_to_the_parts_that_listen() -> None:
    config = Fusion.Config(parts=["small", "named"])
    backbone = Fusion.build(config, None)
    assert backbone.uses_categories
    backbone.condition(["cat", "dog"])
    assert [getattr(part, "said", None) for part in backbone.parts] == [None, ("cat", "dog")]
    assert not Fusion.build(Fusion.Config(parts=["small", "wide"]), None).uses_categories


def test_weights_are_of_each_part(folder: Path) -> None:
    config = Fusion.Config(parts=[{"name": "small", "weights": "small"}, {"name": "tiny"}])
    weights = Fusion.find_weights(config, folder)
    assert [part.id for part in weights.parts] == ["small", "tiny"]
    assert weights.id == "small + tiny"
    assert not weights.official
    swapped = Fusion.Config(parts=["tiny", {"name": "small", "weights": str(folder / "small")}])
    other = Fusion.find_weights(swapped, None)
    assert len({weights.sha256, other.sha256, *(part.sha256 for part in weights.parts)}) == 4
    hub = Fusion.find_weights(Fusion.Config(parts=["tiny", "dinov2_vits14"]), None)
    assert (hub.sha256, hub.official) == (None, True)
    with pytest.raises(PeftCorrError, match=r"--weights .* reads backbone\.parts\[i\]\.weights below it"):
        Fusion.find_weights(Fusion.Config(parts=["tiny", "small"]), folder)
    with pytest.raises(PeftCorrError, match=r"backbone\.parts\[1\]: --weights .*nowhere: there is no config"):
        Fusion.find_weights(Fusion.Config(parts=["tiny", {"name": "small", "weights": "nowhere"}]), folder)


def section(**backbone: Any) -> dict[str, Any]:
    return {"strategy": "frozen", "dataset": "synthetic", "backbone": {"name": "fusion", **backbone}}


def test_a_recipe_has_every_option_written_out() -> None:
    recipe = validate(section(parts=["small", {"name": "wide", "weight": 2}], resize="pad"), "test")
    config = Fusion.Config(**options(recipe.backbone))
    assert recipe.backbone == {
        "name": "fusion",
        "image_size": 32,
        "resize": "pad",
        "parts": [
            {"name": "small", "weight": 1.0, "weights": None, "image_size": 32},
            {"name": "wide", "weight": 2.0, "weights": None, "image_size": 48},
        ],
    }
    assert validate(recipe.model_dump(mode="json"), "again").digest() == recipe.digest()
    assert all(part.config.resize == "pad" for part in Fusion.build(config, None).parts)
    larger = validate(section(parts=["small", "wide"], image_size=64), "test")
    assert larger.backbone["parts"][0]["image_size"] == 64


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ({"parts": ["small", {"name": "wide", "layers": 1}]},
         r"backbone\.parts\[1\] 'wide': there is no key 'layers'\. Did you mean 'layer'\?"),
        ({"parts": ["small", "wid"]}, r"backbone\.parts\[1\]: Unknown backbone 'wid'\. Did you mean 'wide'\?"),
        ({"parts": ["small", {"name": "wide", "weight": 0}]}, r"backbone\.parts\[1\]\.weight is 0: .* above 0"),
        ({"parts": ["small", {"name": "wide", "weights": 3}]}, r"parts\[1\]\.weights is 3: it must be the path"),
        ({"parts": ["small", {"name": "wide", "resize": "pad"}]}, r"parts\[1\]\.resize: write it for the whole"),
        ({"parts": ["small", {"weight": 2}]}, r"backbone\.parts\[1\] must be a name, or a mapping with a name"),
        ({"parts": [{"name": "small", "image_size": 40}, "wide"], "image_size": 32},
         r"backbone\.parts\[0\]\.image_size is 40, but the whole's image size, which is the same, is 32"),
        ({"parts": ["small", "wide"], "layer": 2}, r"backbone\.layer of a fusion is one of each part"),
        ({"parts": ["small"]}, r"'fusion': parts is .*at least 2 items"),
        ({"parts": "small"}, r"'fusion': parts is 'small'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_part_is_said_of_it(backbone: dict[str, Any], message: str) -> None:
    with pytest.raises(PeftCorrError, match=message):
        validate(section(**backbone), "test")


def test_a_size_that_a_part_cannot_have() -> None:
    config = Fusion.Config(parts=["small", {"name": "wide", "image_size": 50}])
    with pytest.raises(PeftCorrError, match=r"backbone\.parts\[1\]: --image-size 50 is not a multiple .* 12"):
        Fusion.build(config, None)


def test_the_default_is_the_papers_pair() -> None:
    pytest.importorskip("diffusers", reason="Stable Diffusion needs peftcorr[diffusion]")
    backbone = Fusion.build(Fusion.Config(), None)
    first, second = backbone.parts
    assert first.config.image_size // first.stride == second.config.image_size // second.stride == 60
    assert backbone.channels == 768 + 1280
    assert Fusion.Config(image_size=448).parts[0]["image_size"] == 448
