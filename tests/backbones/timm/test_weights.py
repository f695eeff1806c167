"""timm by name, and its weights: found, loaded whole, or refused in one sentence."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.identity import Weights
from peftcorr.backbones.timm.model import Timm
from peftcorr.config import options
from peftcorr.errors import PeftCorrError
from peftcorr.recipe import resolve
from tests.backbones.timm.timm_models import load, reference, save
from tests.small_models import images


def refusal(name: str, folder: Path) -> str:
    with pytest.raises(PeftCorrError) as caught:
        load(name, folder)
    text = str(caught.value)
    assert "\n" not in text
    assert str(folder) in text
    return text


def change(folder: Path, **tensors: Any) -> Path:
    """Put tensors into the weights, or take out those that are None."""
    path = folder / "model.safetensors"
    state = load_file(path)
    for name, tensor in tensors.items():
        if tensor is None:
            del state[name]
        else:
            state[name] = tensor
    save_file(state, path)
    return folder


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("resnet5O", r"Unknown timm model 'resnet5O'\. Did you mean 'resnet50'"),
        ("vit_smal_patch14_dinov2", "or "),
        ("vit_base_patch16_224.augreg_in22k", r"no pretrained weights 'augreg_in22k'\. Did you mean .*augreg_in21k'"),
        ("small_vit.three", r"Did you mean 'small_vit\.(one|two)' or 'small_vit\.(one|two)'\?"),
        ("", "Unknown timm model ''"),
        ("%", r"timm\.list_models\(\)"),
    ],
)  # fmt: skip
def test_unknown_names(asked: str, said: str) -> None:
    with pytest.raises(PeftCorrError, match=said):
        BACKBONES.get(f"timm/{asked}")
    with pytest.raises(PeftCorrError, match=said):
        Timm.Config(model=asked)


def test_what_timm_publishes_is_taken_over() -> None:
    cls = BACKBONES.get("timm/small_vit")
    assert (cls.hub_id, cls.licence, cls.Config().image_size) == ("timm/small_vit.one", "mit", 32)
    backbone = cls.build(cls.Config(), None)
    assert (backbone.mean, backbone.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    tagged = BACKBONES.get("timm/small_vit.two")
    assert tagged.hub_id == "somebody/else"
    assert BACKBONES.get("timm/small_vit") is cls
    assert tagged.__qualname__ != cls.__qualname__  # what weights are remembered under
    assert BACKBONES.get("timm/vit_base_patch16_224.augreg_in21k").hub_id == (
        "timm/vit_base_patch16_224.augreg_in21k"
    )


def test_by_option_or_by_name() -> None:
    """A recipe says either, with the image size of pretraining written out."""
    by_option = resolve({"backbone": {"name": "timm", "model": "small_vit.one"}}, [], None)
    assert by_option.backbone == {
        "name": "timm", "image_size": 32, "resize": "stretch", "model": "small_vit.one",
    }  # fmt: skip
    by_name = resolve({"backbone": {"name": "timm/small_vit.one", "image_size": 64}}, [], None)
    assert by_name.backbone == {"name": "timm/small_vit.one", "image_size": 64, "resize": "stretch"}
    total = 3 * (12 * 32 * 32 + 13 * 32) + (3 * 8 * 8 + 1) * 32 + 17 * 32 + 32 + 2 * 32
    for recipe in (by_option, by_name):
        cls = BACKBONES.get(recipe.backbone["name"])
        config = cls.Config(**options(recipe.backbone))
        assert cls.find_weights(config, None) == Weights("timm/small_vit.one", None, None, official=True)
        assert cls.build(config, None).total_parameters() == total
    with pytest.raises(PeftCorrError, match="no key 'modle'"):
        resolve({"backbone": {"name": "timm", "modle": "small_vit"}}, [], None)
    with pytest.raises(PeftCorrError, match="Unknown timm model 'smal_vit'"):
        resolve({"backbone": {"name": "timm", "model": "smal_vit"}}, [], None)


def test_a_folder_is_named_and_hashed(tmp_path: Path) -> None:
    folder = save("small_vit", tmp_path / "mine")
    cls = BACKBONES.get("timm/small_vit")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert cls.find_weights(cls.Config(), folder) == Weights("mine", digest, folder, official=False)
    (folder / "config.json").unlink()  # optional
    assert cls.find_weights(cls.Config(), folder).sha256 == digest
    (folder / "model.safetensors").unlink()
    assert "there is no model.safetensors" in refusal("small_vit", folder)


def test_a_classifier_may_be_left_over(tmp_path: Path) -> None:
    folder = save("small_pooled", tmp_path)
    with torch.no_grad():
        plain = load("small_pooled", folder).features(images())
        change(folder, **{"head.weight": torch.ones(10, 32), "head.bias": torch.ones(10)})
        assert torch.equal(load("small_pooled", folder).features(images()), plain)
        change(folder, **{"head.weight": None, "fc_norm.weight": None, "fc_norm.bias": None})
        assert torch.equal(load("small_pooled", folder).features(images()), plain)


@pytest.mark.parametrize(
    ("name", "tensors", "said"),
    [
        ("small_vit", {"blocks.1.mlp.fc1.weight": None}, "lacks 1 tensors .*blocks.1.mlp.fc1.weight"),
        ("small_vit", {"blocks.3.norm1.weight": torch.ones(32)}, "has 1 tensors .*blocks.3.norm1.weight"),
        ("small_vit", {"norm.weight": torch.ones(48)}, "does not fit timm's small_vit .*norm.weight"),
        ("test_resnet", {"layer2.0.bn1.running_mean": None}, "lacks 1 tensors .*layer2.0.bn1.running_mean"),
        ("small_swin", {"layers.0.blocks.0.mlp.fc9.bias": torch.ones(1)}, "has 1 tensors"),
    ],
)
def test_weights_of_something_else(tmp_path: Path, name: str, tensors: dict[str, Any], said: str) -> None:
    folder = change(save(name, tmp_path), **tensors)
    cls = BACKBONES.get(f"timm/{name}")
    config = cls.Config(image_size=32 if name.startswith("small") else 64)
    with pytest.raises(PeftCorrError, match=said):
        cls.build(config, cls.find_weights(config, folder))


def test_a_configuration_of_another_model_or_of_none(tmp_path: Path) -> None:
    folder = save("small_vit", tmp_path)
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet50"}))
    assert "config.json is of timm's resnet50, but the backbone is small_vit" in refusal("small_vit", folder)
    for text in ("{", "[]", "\ufeff"):
        (folder / "config.json").write_text(text)
        assert "config.json cannot be read" in refusal("small_vit", folder)


@pytest.mark.parametrize("keep", [0, 100, 10_000])
def test_truncated_weights(tmp_path: Path, keep: int) -> None:
    path = save("small_vit", tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "model.safetensors cannot be read as weights" in refusal("small_vit", tmp_path)


def test_positions_of_another_image_size_are_resampled(tmp_path: Path) -> None:
    """As timm does: bicubic, antialiased."""
    folder = save("small_vit", tmp_path, img_size=64)
    wide = reference("small_vit", img_size=64)
    wide.set_input_size((32, 32))
    with torch.no_grad():
        expected = wide.forward_features(images())[:, 1:]
        features = load("small_vit", folder).features(images()).flatten(2).transpose(1, 2)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def test_half_precision_weights_are_used_in_full_precision(tmp_path: Path) -> None:
    folder = save("small_vit", tmp_path)
    change(folder, **{key: t.half() for key, t in load_file(folder / "model.safetensors").items()})
    assert {p.dtype for p in load("small_vit", folder).parameters()} == {torch.float32}


def test_no_network_and_no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*args: object, **kwargs: object) -> str:
        raise LocalEntryNotFoundError("cannot find the requested files\nin the local cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    cls = BACKBONES.get("timm/small_vit")
    with pytest.raises(PeftCorrError, match=r"timm/small_vit\.one could not be fetched .* --weights"):
        cls.build(cls.Config(), cls.find_weights(cls.Config(), None))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **kwargs: str(tmp_path))
    with pytest.raises(PeftCorrError, match=r"The repository timm/small_vit\.one has no model\.safetensors"):
        cls.build(cls.Config(), cls.find_weights(cls.Config(), None))
    save("small_vit", tmp_path)
    assert cls.build(cls.Config(), cls.find_weights(cls.Config(), None)).trainable_parameters() == 0
    none = BACKBONES.get("timm/small_eva")
    with pytest.raises(PeftCorrError, match="timm publishes no weights of small_eva"):
        none.find_weights(none.Config(), None)
