"""Weights that are held in bfloat16: features near float32's, half the bytes, and what is trained is float32."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.base import Backbone
from peftcorr.backbones.bfloat16 import HalfConv2d, HalfLinear, narrowed, widened
from peftcorr.backbones.dinov2 import Dinov2, Variant
from peftcorr.backbones.identity import file_weights, local_weights
from peftcorr.errors import PeftCorrError, RecipeFails
from peftcorr.recipe import Recipe
from peftcorr.strategies.contract import Contract
from tests.backbones.timm import timm_models
from tests.matrix.families import FAMILIES, fresh
from tests.matrix.test_every_strategy_on_every_backbone import STRATEGY_OPTIONS, make
from tests.small_models import Small, images, save_weights

_NEAR = 0.02  # of the features' size: a weight is rounded by up to 1 / 256 of itself


def half(backbone: Backbone) -> Backbone:
    """The same backbone with its weights held so, as a recipe has it."""
    twin = copy.deepcopy(backbone)
    for part in twin.modules():
        if isinstance(part, Backbone) and not (part is twin and type(part).__name__ == "Fusion"):
            part.config = part.config.model_copy(update={"dtype": "bf16"})
    return narrowed(twin)


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize(
    "family", ["dinov2, gated, registers", "dinov3_convnext", "sam", "sd15", "fusion", "timm, EVA"]
)
def test_features_are_near_those_in_float32(family: str) -> None:
    plain, pictures = fresh(family), FAMILIES[family].images()
    thin = half(plain)
    with torch.no_grad():
        found = thin.features(pictures)
        expected = plain.features(pictures)
        rounded = widened(thin).features(pictures)
    assert found.dtype == torch.float32
    assert 0 < apart(found, expected) < _NEAR
    assert apart(found, rounded) < 1e-5  # it computes as float32 does with these weights


@pytest.mark.parametrize("name", STRATEGY_OPTIONS)
def test_every_strategy_keeps_its_contract_and_trains_in_float32(name: str) -> None:
    contract = Contract(make(name), half(fresh("dinov2")))
    torch.manual_seed(0)
    contract.begin()
    trained = [parameter for parameter in contract.backbone.parameters() if parameter.requires_grad]
    assert {parameter.dtype for parameter in trained} <= {torch.float32}
    if name != "full":
        assert any(parameter.dtype == torch.bfloat16 for parameter in contract.backbone.parameters())
    if trained:
        optimizer = torch.optim.AdamW(trained, lr=1e-3)
        contract.backbone.train()
        contract.backbone(images()).square().mean().backward()
        optimizer.step()
        contract.strategy.after_step(contract.backbone, 1, 1000)
        contract.backbone.eval()
    contract.end()


def test_gradients_are_those_of_the_rounded_weights() -> None:
    torch.manual_seed(0)
    linear, conv = nn.Linear(6, 5), nn.Conv2d(8, 6, 3, stride=2, padding=1, groups=2)
    for layer, kind, shape in ((linear, HalfLinear, (2, 3, 6)), (conv, HalfConv2d, (2, 8, 7, 7))):
        layer.weight.data = layer.weight.data.to(torch.bfloat16)
        layer.weight.requires_grad_(False)
        exact = copy.deepcopy(layer).float()
        layer.__class__ = kind
        one = torch.randn(shape, requires_grad=True)
        two = one.detach().clone().requires_grad_()
        layer(one).sin().sum().backward()
        exact(two).sin().sum().backward()
        torch.testing.assert_close(one.grad, two.grad)
        torch.testing.assert_close(layer.bias.grad, exact.bias.grad)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert layer(one).dtype == torch.bfloat16


def test_nothing_of_a_product_is_kept_in_float32_for_the_way_back() -> None:
    layer = nn.Linear(64, 64).requires_grad_(False)
    layer.weight.data = layer.weight.data.to(torch.bfloat16)
    layer.__class__ = HalfLinear
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor) or tensor, lambda kept: kept
    ):
        layer(torch.randn(2, 64, requires_grad=True))
    assert [tensor.dtype for tensor in kept] == [torch.bfloat16]


class Wide(Dinov2):
    """Most of whose bytes are in matrices."""

    class Config(Backbone.Config):
        image_size: int = 32

    variant = Variant(256, 2, 2, patch=8, pretrained_size=32)


class _Alive(TorchDispatchMode):
    """The most bytes that operations made and that were there at once, and the types of large matrices among them."""

    def __init__(self) -> None:
        super().__init__()
        self.matrices: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        given = {
            leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)
        }
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor) and not leaf.is_meta and leaf.untyped_storage()._cdata not in given:
                self.matrices |= {leaf.dtype} if leaf.numel() >= 256 * 256 else set()
        return made


@pytest.mark.parametrize("form", ["folder", "pth"])
def test_loading_never_makes_a_matrix_in_float32(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half the bytes are there in the end, and on the way no operation made a large float32 tensor."""
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")  # in threads, nobody would see what is made
    folder = save_weights(Wide, tmp_path / "wide")
    weights = local_weights(folder)
    plain = Wide.build(Wide.Config(), weights)
    if form == "pth":
        names, state = Wide.release(), plain.model.state_dict()
        assert names is not None
        theirs: dict[str, Tensor] = {}
        for name, place in names.places(plain.model).items():
            parts = theirs.setdefault(place.key, torch.cat([state[name]] * place.parts).clone())
            parts.chunk(place.parts)[place.part].copy_(state[name])
        torch.save(theirs, tmp_path / "wide.pth")
        weights = file_weights(tmp_path / "wide.pth")
    with _Alive() as alive:
        thin = narrowed(Wide.build(Wide.Config(dtype="bf16"), weights))
    assert alive.matrices == {torch.bfloat16}
    sizes = [sum(p.numel() * p.element_size() for p in model.parameters()) for model in (thin, plain)]
    assert sizes[0] < 0.55 * sizes[1]
    with torch.no_grad():
        assert 0 < apart(thin.features(images()), plain.features(images())) < _NEAR
    assert torch.equal(thin.final_norm().weight, plain.final_norm().weight)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["small_dinov3", "small_swin_v2"])
def test_a_model_of_timm_is_loaded_so_too(tmp_path: Path, name: str) -> None:
    """Swin v2 takes the weight of a layer and computes with it itself."""
    folder = timm_models.save(name, tmp_path)
    plain = timm_models.load(name, folder, image_size=32)
    thin = narrowed(timm_models.load(name, folder, image_size=32, dtype="bf16"))
    with torch.no_grad():
        assert 0 < apart(thin.features(images()), plain.features(images())) < _NEAR


def test_a_run_in_bfloat16_is_another_run_and_one_in_float32_is_what_it_was() -> None:
    def recipe(**options: str) -> Recipe:
        return Recipe.model_validate(
            {"strategy": "lora", "backbone": {"name": "tiny", **options}, "dataset": "synthetic"}
        )

    assert recipe(dtype="fp32").digest() == recipe().digest()
    assert recipe(dtype="bf16").digest() != recipe().digest()


def test_what_cannot_be_held_so_is_refused(small_weights: Path) -> None:
    with pytest.raises(PeftCorrError, match=r"backbone\.dtype of a fusion is one of each part"):
        BACKBONES.get("fusion").Config(dtype="bf16")
    backbone = Small.build(Small.Config(dtype="bf16"), local_weights(small_weights))
    for name, layer in list(backbone.named_modules()):
        if isinstance(layer, nn.Linear):
            backbone.set_submodule(name, nn.Identity())
    with pytest.raises(RecipeFails, match="no plain linear layer"):
        narrowed(backbone)
