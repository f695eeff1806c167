"""Models of timm in stages: each stage a place to cut, features those of timm's own interface."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from peftcorr.backbones import BACKBONES
from peftcorr.errors import PeftCorrError
from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.base import apply_checked
from tests.backbones.timm.timm_models import load, reference, save

# The smallest of timm's own, and what each brings: batch normalisation, layers named layer1 to layer4, maps with
# channels last, a final norm, layers after the stages.
SIZES = {
    "test_resnet": 64, "test_convnext": 64, "test_efficientnet": 64, "test_mambaout": 64, "test_nfnet": 64,
    "test_byobnet": 64, "small_swin": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("timm")
    return {name: save(name, root / name) for name in SIZES}


@pytest.fixture(scope="module")
def loaded(folders: dict[str, Path]) -> dict[str, Any]:
    return {name: load(name, folder, image_size=SIZES[name]) for name, folder in folders.items()}


@pytest.fixture(params=SIZES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def backbone(name: str, loaded: dict[str, Any]) -> Any:
    return copy.deepcopy(loaded[name])


def pictures(size: int) -> torch.Tensor:
    return torch.randn((2, 3, size, size), generator=torch.Generator().manual_seed(1))


def adapted(backbone: Any, strategy: str, **options: Any) -> None:
    made = STRATEGIES.get(strategy)
    apply_checked(made(made.Config(**options)), backbone)


def test_every_stage_is_a_place_to_cut(name: str, backbone: Any) -> None:
    """And a state that is kept is not written into."""
    images = pictures(SIZES[name])
    with torch.no_grad():
        whole = backbone.features(images)
        assert (
            whole[0] - whole[1]
        ).norm() > 0.01 * whole.norm()  # no dead network, which would prove nothing
        for k in range(len(backbone.blocks()) + 1):
            state = backbone.prefix(images, k)
            kept = state.tokens.clone()
            assert torch.equal(backbone.suffix(state, k), whole), f"stage {k}"
            assert torch.equal(state.tokens, kept)
            assert torch.equal(backbone.suffix(state, k), whole)
            assert len(kept) == 2


def test_each_stage_gives_timms_intermediate(name: str, folders: dict[str, Path]) -> None:
    model, size = reference(name, **({"img_size": 32} if name == "small_swin" else {})), SIZES[name]
    depth = len(load(name, folders[name], image_size=size).blocks())
    for layer in {1, depth - 1}:
        backbone = load(name, folders[name], image_size=size, layer=layer)
        stage = backbone.sites()[-1].block.removeprefix("model.")
        indices = [i for i, entry in enumerate(model.feature_info) if entry["module"] == stage]
        if not indices:  # timm lists not every stage of EfficientNet
            continue
        [expected] = model.forward_intermediates(pictures(size), indices=indices, intermediates_only=True)
        features = backbone.features(pictures(size))
        assert len(backbone.blocks()) == len(backbone.sites()) == layer
        assert backbone.channels == backbone.sites()[-1].width == expected.shape[1]
        assert backbone.stride == size // expected.shape[-1] == model.feature_info[indices[0]]["reduction"]
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "channels_last"),
    [("test_resnet", False), ("test_convnext", False), ("test_mambaout", True), ("small_swin", True)],
)
def test_the_whole_gives_timms_features(name: str, backbone: Any, channels_last: bool) -> None:
    """With the final norm where timm has one: Swin."""
    with torch.no_grad():
        expected = reference(name).forward_features(pictures(SIZES[name]))
        features = backbone.features(pictures(SIZES[name]))
    expected = expected.permute(0, 3, 1, 2) if channels_last else expected
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    assert (backbone.final_norm() is not None) == (name == "small_swin")


@pytest.mark.parametrize(("name", "size"), [("test_resnet", 96), ("test_convnext", 128), ("small_swin", 64)])
def test_another_image_size(name: str, size: int, folders: dict[str, Path]) -> None:
    backbone = load(name, folders[name], image_size=size)
    options = {"img_size": size} if name == "small_swin" else {}
    with torch.no_grad():
        expected = reference(name, **options).forward_features(pictures(size))
        features = backbone.features(pictures(size))
    expected = expected.permute(0, 3, 1, 2) if name == "small_swin" else expected
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def test_no_parameter_is_dead(backbone: Any, name: str) -> None:
    assert backbone.trainable_parameters() == 0
    backbone.requires_grad_(True)
    backbone.features(pictures(SIZES[name])).square().sum().backward()
    assert [key for key, parameter in backbone.named_parameters() if parameter.grad is None] == []


def test_training_mode_changes_nothing(backbone: Any, name: str) -> None:
    """Batch statistics neither act nor move."""
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with torch.no_grad():
        still = backbone.features(pictures(SIZES[name]))
        assert torch.equal(backbone.train().features(pictures(SIZES[name])), still)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize("name", ["test_resnet"])
def test_a_trained_stage_keeps_its_statistics_too(backbone: Any) -> None:
    adapted(backbone, "last_k")
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.train().features(pictures(64)).square().mean().backward()
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    torch.optim.SGD(trained, lr=0.1).step()
    moved = {key for key, value in backbone.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {key for key, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert any(isinstance(module, nn.BatchNorm2d) for module in backbone.blocks()[-1].modules())


@pytest.mark.parametrize("k", [1, 2])
def test_last_k_is_by_stage(backbone: Any, k: int) -> None:
    adapted(backbone, "last_k", k=k)
    norm = backbone.final_norm()
    expected = sum(p.numel() for stage in backbone.blocks()[-k:] for p in stage.parameters())
    expected += sum(p.numel() for p in norm.parameters()) if norm is not None else 0
    assert backbone.trainable_parameters() == expected > 0


@pytest.mark.parametrize("name", ["small_swin"])
def test_lora_adapts_the_windows_q_and_v(backbone: Any) -> None:
    with torch.no_grad():
        plain = backbone.features(pictures(32))
        adapted(backbone, "lora")
        assert backbone.trainable_parameters() == 2 * (4 * 8 * 16) + 2 * (4 * 8 * 32)  # two blocks a stage
        assert torch.equal(backbone.eval().features(pictures(32)), plain)
        assert torch.equal(backbone.train().features(pictures(32)), plain)
    assert backbone.train()(pictures(32)).requires_grad


@pytest.mark.parametrize("name", ["small_swin"])
def test_fused_projections_of_swin_are_split_in_order(backbone: Any) -> None:
    model, [site, _] = reference("small_swin"), backbone.sites()
    fused = model.layers[0].blocks[1].attn.qkv
    for place, role in enumerate(("q", "k", "v")):
        layer = backbone.get_submodule(site.linears[role][1])
        assert torch.equal(layer.weight, fused.weight[16 * place : 16 * (place + 1)])
        assert torch.equal(layer.bias, fused.bias[16 * place : 16 * (place + 1)])


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("test_resnet", {"conv"}),
        ("test_convnext", {"conv", "fc1", "fc2"}),
        ("small_swin", {"q", "k", "v", "out", "fc1", "fc2"}),
    ],
)
def test_roles(backbone: Any, roles: set[str]) -> None:
    for site in backbone.sites():
        assert set(site.linears) == roles
        for role, layers in site.linears.items():
            kind = nn.Conv2d if role == "conv" else nn.Linear
            assert all(type(backbone.get_submodule(layer)) is kind for layer in layers)


@pytest.mark.parametrize("strategy", ["adapter", "adaptformer"])
def test_a_stage_has_no_place_for_what_attaches_to_a_residual_stream(backbone: Any, strategy: str) -> None:
    with pytest.raises(PeftCorrError, match=rf"The strategy {strategy} needs a place that model\.\w+"):
        adapted(backbone, strategy)


@pytest.mark.parametrize("name", ["test_resnet"])
def test_lora_of_q_where_there_is_no_attention(backbone: Any) -> None:
    with pytest.raises(PeftCorrError, match=r"strategy\.targets has q, but model\.layer1 .* has only conv"):
        adapted(backbone, "lora")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("vgg11", "it has no list of stages"),
        ("test_vit_relpos", "a tensor of 3 dimensions"),
        ("xcit_nano_12_p16_224", "not called once with one input"),
    ],
)
def test_a_model_that_is_no_row_of_stages_is_refused(name: str, why: str) -> None:
    cls = BACKBONES.get(f"timm/{name}")
    with pytest.raises(PeftCorrError, match=f"timm's {name} cannot be a backbone here: .*{why}"):
        cls.build(cls.Config(), None)


def test_image_sizes_that_do_not_fit() -> None:
    cls = BACKBONES.get("timm/test_resnet")
    with pytest.raises(PeftCorrError, match="100 is not a multiple of this backbone's stride 32: use 96"):
        cls.build(cls.Config(image_size=100), None)
    with pytest.raises(PeftCorrError, match=r"backbone\.layer is 5, but this backbone has 4 blocks"):
        cls.build(cls.Config(image_size=96, layer=5), None)


@pytest.mark.parametrize(
    ("name", "total", "stride"),
    [
        ("resnet50", 25_557_032 - 2_049_000, 32),  # the published count less the classifier
        ("convnext_tiny", 28_589_128 - 769_000 - 2 * 768, 32),  # and the norm after pooling
        ("swin_tiny_patch4_window7_224", 28_288_354 - 769_000, 32),
    ],
)
def test_published_sizes_without_weights(name: str, total: int, stride: int) -> None:
    cls = BACKBONES.get(f"timm/{name}")
    backbone = cls.build(cls.Config(), None)
    assert (backbone.total_parameters(), backbone.stride) == (total, stride)
    assert all(tensor.is_meta for tensor in backbone.parameters())
    features = backbone.features(torch.zeros((1, 3, 224, 224), device="meta"))
    assert features.shape == (1, backbone.channels, 7, 7)
