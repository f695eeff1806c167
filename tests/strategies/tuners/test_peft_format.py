"""An adapter written in peft's format is what plain peft reads on the plain transformers model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from peftcorr.backbones.base import BlockSites
from peftcorr.backbones.dinov2 import Dinov2
from peftcorr.backbones.fused import split_projection
from peftcorr.backbones.identity import local_weights
from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.base import apply_checked
from tests.small_models import FAMILY, Small, images, save_weights
from tests.strategies.adapting import adapt, take_steps
from tests.strategies.tuners.peft_cases import OPTIONS

EVERY = ["q", "k", "v", "out", "fc1", "fc2"]
METHODS = ("lora", *sorted(OPTIONS))


def options_of(method: str) -> tuple[str, dict[str, Any]]:
    if method == "lora":
        return "lora", {"rank": 4, "alpha": 12.0, "targets": EVERY}
    targets = {} if method == "ln_tuning" else {"targets": EVERY}
    return "peft", {"tuner": method, "options": OPTIONS[method], **targets}


def by_plain_peft(cls: type[Dinov2], weights: Path, folder: Path) -> Tensor:
    """Features of transformers' own model with the folder's adapter, without anything of peftcorr's."""
    model_class, _ = cls.architecture()
    plain = model_class.from_pretrained(weights, attn_implementation="sdpa").eval()
    adapted = peft.PeftModel.from_pretrained(plain, folder).eval()
    with torch.no_grad():
        tokens = adapted(pixel_values=images()).last_hidden_state[:, 1 + cls.variant.registers :]
    return tokens.transpose(1, 2).reshape(2, 32, 4, 4)


def written(backbone: Dinov2, strategy: Any, folder: Path) -> Path:
    take_steps(backbone)
    form = strategy.peft_form(backbone)
    assert form is not None
    form.save(folder, "someone/a-model")
    return folder


def features(backbone: Dinov2) -> Tensor:
    with torch.no_grad():
        return backbone.features(images())


@pytest.mark.parametrize("method", METHODS)
def test_plain_peft_gives_the_same_features(small_weights: Path, tmp_path: Path, method: str) -> None:
    name, options = options_of(method)
    backbone, strategy = adapt(small_weights, name, **options)
    start = features(backbone)
    folder = written(backbone, strategy, tmp_path / "adapter")
    assert not torch.allclose(features(backbone), start, atol=1e-2)
    assert torch.equal(by_plain_peft(Small, small_weights, folder), features(backbone))
    assert not hasattr(backbone, "peft_config")


@pytest.mark.parametrize("cls", [family for family in FAMILY if family is not Small])
@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_other_architectures(tmp_path: Path, cls: type[Dinov2], method: str) -> None:
    weights = save_weights(cls, tmp_path / "weights")
    name, options = options_of(method)
    backbone, strategy = adapt(weights, name, cls, **options)
    folder = written(backbone, strategy, tmp_path / "adapter")
    assert torch.equal(by_plain_peft(cls, weights, folder), features(backbone))


@pytest.mark.parametrize("method", ["lora", "vera", "ln_tuning"])
def test_some_blocks_and_an_earlier_layer(tmp_path: Path, method: str) -> None:
    """Names are in full: the plain model has blocks that the backbone has not, and these stay as they were."""
    weights = save_weights(Small, tmp_path / "weights")
    name, options = options_of(method)
    backbone = Small.build(Small.Config(layer=2), local_weights(weights))
    made = STRATEGIES.get(name)
    strategy = made(made.Config(**options))
    apply_checked(strategy, backbone)
    folder = written(backbone, strategy, tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert {target.split(".")[2] for target in config["target_modules"]} == {"0", "1"}

    plain = Small.architecture()[0].from_pretrained(weights, attn_implementation="sdpa").eval()
    last = plain.encoder.layer[2]
    adapted = peft.PeftModel.from_pretrained(plain, folder).eval()
    assert not any("default" in name for name, _ in last.named_parameters())
    with torch.no_grad():
        tokens = adapted(pixel_values=images(), output_hidden_states=True).hidden_states[2]
        tokens = plain.layernorm(tokens)[:, 1:]
    assert torch.equal(tokens.transpose(1, 2).reshape(2, 32, 4, 4), features(backbone))


def test_what_the_files_say(small_weights: Path, tmp_path: Path) -> None:
    backbone, strategy = adapt(small_weights, "dora", options={"r": 2}, blocks=[1])
    folder = written(backbone, strategy, tmp_path / "adapter")
    assert {path.name for path in folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    text = (folder / "adapter_config.json").read_text()
    config = json.loads(text)
    assert str(tmp_path) not in text
    assert config["base_model_name_or_path"] == "someone/a-model"
    assert (config["peft_type"], config["use_dora"], config["r"], config["inference_mode"]) == (
        "LORA",
        True,
        2,
        True,
    )
    names = [f"encoder.layer.1.attention.{side}_proj" for side in "qv"]
    assert config["target_modules"] == names
    tensors = load_file(folder / "adapter_model.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        f"base_model.model.{name}.{part}": shape
        for name in names
        for part, shape in (
            ("lora_A.weight", (2, 32)),
            ("lora_B.weight", (32, 2)),
            ("lora_magnitude_vector", (32,)),
        )
    }


def test_only_its_own_layers_are_written(small_weights: Path) -> None:
    """Two tuners of one kind on a backbone are two adapters."""
    backbone, strategy = adapt(small_weights, "rslora", options={"r": 2}, targets=["q"])
    made = type(strategy)
    other = made(made.Config(options={"r": 2}, targets=["fc1"]))
    other.apply(backbone)
    for one, role in ((strategy, "q_proj"), (other, "fc1")):
        form = one.peft_form(backbone)
        assert form is not None
        assert len(form.tensors) == 3 * 2
        assert all(f".{role}." in name for name in form.tensors)


class SmallSplit(Small):
    """Its queries are a part of a projection that was split."""

    def __init__(self, config: Small.Config, model: Any):
        for layer in model.encoder.layer:
            split_projection(layer.attention, "q_proj", ("first", "second"))
        super().__init__(config, model)

    def sites(self) -> list[BlockSites]:
        for site in super().sites():
            site.linears["q"] = (f"{site.block}.attention.q_proj.first",)
        return self._sites


def test_a_backbone_with_split_projections_has_no_such_form(small_weights: Path) -> None:
    """The plain model has no layer of that name."""
    backbone, strategy = adapt(small_weights, "lora", SmallSplit, targets=["q"])
    assert strategy.peft_form(backbone) is None
    backbone, strategy = adapt(small_weights, "lora", SmallSplit, targets=["k"])
    assert strategy.peft_form(backbone) is not None


def test_methods_that_are_not_pefts_have_no_such_form(small_weights: Path) -> None:
    for name in ("frozen", "last_k", "adapter", "adaptformer"):
        backbone, strategy = adapt(small_weights, name)
        assert strategy.peft_form(backbone) is None
