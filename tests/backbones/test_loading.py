"""Weights: named by hash, loaded whole, and refused in one sentence where they are of something else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from torch import Tensor

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.dinov2 import Dinov2, Variant
from peftcorr.backbones.identity import Weights, local_weights
from peftcorr.backbones.loading import fetch
from peftcorr.errors import PeftCorrError
from tests.small_models import (
    SIZE,
    Small,
    SmallGated,
    SmallRegisters,
    build,
    images,
    random_model,
    save_weights,
)


class Wide(Small):
    variant = Variant(48, 3, 2, patch=8, pretrained_size=SIZE)


class Deep(Small):
    variant = Variant(32, 4, 2, patch=8, pretrained_size=SIZE)


class Coarse(Small):
    variant = Variant(32, 3, 2, patch=16, pretrained_size=SIZE)


class FewRegisters(SmallRegisters):
    variant = Variant(32, 3, 2, patch=8, pretrained_size=SIZE, registers=2)


def refusal(cls: type[Dinov2], folder: Path) -> str:
    """What is said when `cls` is given the weights in `folder`: one sentence that names the folder."""
    with pytest.raises(PeftCorrError) as caught:
        build(cls, folder)
    text = str(caught.value)
    assert "\n" not in text
    assert str(folder) in text
    assert len(text) < 600
    return text


def change_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_tensors(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_a_folder_is_identified_by_name_and_hash(small_weights: Path) -> None:
    weights = local_weights(small_weights)
    content = (small_weights / "model.safetensors").read_bytes()
    assert weights == Weights("small", hashlib.sha256(content).hexdigest(), small_weights, official=False)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_without_a_file_is_refused(small_weights: Path, name: str) -> None:
    folder = small_weights.parent / f"without-{name}"
    save_weights(Small, folder)
    (folder / name).unlink()
    with pytest.raises(PeftCorrError, match=f"there is no {name} in it"):
        local_weights(folder)
    with pytest.raises(PeftCorrError, match=r"there is no config\.json in it"):
        local_weights(folder / "nowhere")


def test_half_precision_weights_are_used_in_full_precision(tmp_path: Path) -> None:
    model = random_model(Small)
    model.half().save_pretrained(tmp_path)  # type: ignore[operator]
    backbone = build(Small, tmp_path)
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}
    with torch.no_grad():
        expected = model.float()(pixel_values=images()).last_hidden_state[:, 1:]
        torch.testing.assert_close(backbone.features(images()).flatten(2).transpose(1, 2), expected)


@pytest.mark.parametrize(
    ("made_for", "asked", "key"),
    [
        (Wide, Small, "hidden_size 48"),
        (Deep, Small, "num_hidden_layers 4"),
        (Coarse, Small, "patch_size 16"),
        (SmallGated, Small, "use_swiglu_ffn True"),
        (SmallRegisters, Small, "model_type dinov2_with_registers"),
        (Small, SmallRegisters, "model_type dinov2"),
        (FewRegisters, SmallRegisters, "num_register_tokens 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_weights_of_another_architecture(
    tmp_path: Path, made_for: type[Dinov2], asked: type[Dinov2], key: str
) -> None:
    text = refusal(asked, save_weights(made_for, tmp_path / "weights"))
    assert f"config.json has {key}" in text
    assert "--backbone" in text


def test_another_mlp_ratio_is_another_architecture(tmp_path: Path) -> None:
    model_class, config = Small.architecture()
    config.mlp_ratio = 2
    model_class(config).save_pretrained(tmp_path)
    assert "mlp_ratio" in refusal(Small, tmp_path)


@pytest.mark.parametrize(("key", "value"), [("hidden_act", "relu"), ("layer_norm_eps", 1e-3)])
def test_what_no_tensor_gives_away_is_another_architecture(tmp_path: Path, key: str, value: object) -> None:
    """The hash of the tensors, which names a run, does not tell it."""
    save_weights(Small, tmp_path)
    change_config(tmp_path, **{key: value})
    assert f"config.json has {key} {value}" in refusal(Small, tmp_path)


def test_a_tensor_of_another_shape(tmp_path: Path) -> None:
    save_weights(Wide, tmp_path)
    change_config(tmp_path, hidden_size=32)
    assert "model.safetensors" in refusal(Small, tmp_path)


def test_a_missing_tensor(tmp_path: Path) -> None:
    save_weights(Small, tmp_path)
    change_tensors(tmp_path, lambda tensors: tensors.pop("encoder.layer.1.mlp.fc1.weight"))
    text = refusal(Small, tmp_path)
    assert "lacks 1 tensors" in text
    assert "encoder.layer.1.mlp.fc1.weight" in text


def test_a_tensor_too_many(tmp_path: Path) -> None:
    """A block that the configuration does not name would silently be left out."""
    save_weights(Small, tmp_path)
    change_tensors(
        tmp_path,
        lambda t: t.update({"encoder.layer.3.norm1.weight": t["encoder.layer.2.norm1.weight"].clone()}),
    )
    assert "encoder.layer.3.norm1.weight" in refusal(Small, tmp_path)


def test_a_mask_token_is_not_needed(tmp_path: Path) -> None:
    save_weights(Small, tmp_path)
    change_tensors(tmp_path, lambda tensors: tensors.pop("embeddings.mask_token"))
    assert build(Small, tmp_path).trainable_parameters() == 0


@pytest.mark.parametrize("keep", [0, 5, 300, 0.5, 0.99])
def test_truncated_weights(tmp_path: Path, keep: float) -> None:
    path = save_weights(Small, tmp_path) / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    assert "model.safetensors" in refusal(Small, tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe"])
def test_an_unreadable_configuration(tmp_path: Path, content: bytes) -> None:
    (save_weights(Small, tmp_path) / "config.json").write_bytes(content)
    assert "config.json" in refusal(Small, tmp_path)


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> str:
        raise LocalEntryNotFoundError("cannot find the requested files\nin the local cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(
        PeftCorrError, match=r"facebook/dinov2-small could not be fetched .* --weights"
    ) as caught:
        fetch("facebook/dinov2-small")
    assert "\n" not in str(caught.value)


def test_a_licence_that_is_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's refusal says where to accept it and how to log in, in one sentence."""

    def refused(*args: object, **kwargs: object) -> str:
        answer = SimpleNamespace(headers={}, request=None)
        raise GatedRepoError("401 Client Error.\nAccess to the model is restricted", response=answer)  # type: ignore[arg-type]

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refused)
    cls = BACKBONES.get("dinov3_vits16")
    with pytest.raises(PeftCorrError) as caught:
        cls.build(cls.Config(), cls.find_weights(cls.Config(), None))
    text = str(caught.value)
    assert "accept it at https://huggingface.co/facebook/dinov3-vits16-pretrain-lvd1689m" in text
    assert "hf auth login" in text
    assert "HF_TOKEN" in text
    assert "--weights" in text
    assert "\n" not in text


def save_in_parts(folder: Path) -> list[Path]:
    """Weights as the hub has those of the largest models: an index, and a file for every few tensors."""
    random_model(Small).save_pretrained(folder, max_shard_size="40KB")  # type: ignore[operator]
    assert not (folder / "model.safetensors").exists()
    parts = sorted(folder.glob("model-*.safetensors"))
    assert len(parts) > 1
    return parts


def test_weights_in_parts(tmp_path: Path, small_weights: Path) -> None:
    parts = save_in_parts(tmp_path)
    content = b"".join(part.read_bytes() for part in parts)
    assert local_weights(tmp_path).sha256 == hashlib.sha256(content).hexdigest()
    with torch.no_grad():
        whole = build(Small, small_weights).features(images())
        assert torch.equal(build(Small, tmp_path).features(images()), whole)


def test_weights_of_which_a_part_is_missing(tmp_path: Path) -> None:
    part = save_in_parts(tmp_path)[1]
    part.unlink()
    assert f"there is no {part.name} in it" in refusal(Small, tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"weight_map": 3}'])
def test_an_unreadable_index(tmp_path: Path, content: bytes) -> None:
    save_in_parts(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_bytes(content)
    assert "model.safetensors.index.json cannot be read" in refusal(Small, tmp_path)


def test_the_hub_is_asked_for_every_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    save_in_parts(tmp_path)
    wanted: list[str] = []

    def answer(hub_id: str, allow_patterns: list[str], **_: object) -> str:
        wanted.extend(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
    assert fetch("facebook/dinov2-small") == tmp_path
    published = [
        *(path.name for path in tmp_path.iterdir()),
        "model.safetensors",
        "pytorch_model.bin",
        "model.onnx",
    ]
    found = {name for name in published if any(fnmatch(name, pattern) for pattern in wanted)}
    assert found == set(published) - {"pytorch_model.bin", "model.onnx"}


def test_embedded_weights_come_before_the_hub() -> None:
    """``tiny`` never asks the network, and is small enough to ship."""
    cls = BACKBONES.get("tiny")
    try:
        weights = cls.embedded_weights()
    except PeftCorrError:
        pytest.skip("the embedded weights are not there")
    assert weights is not None
    assert weights.folder is not None
    assert weights.official
    assert (weights.folder / "model.safetensors").stat().st_size <= 6_000_000
    backbone = cls.build(cls.Config(), weights)
    assert backbone.total_parameters() <= 3_000_000
    with torch.no_grad():
        assert backbone.features(torch.zeros(1, 3, 128, 128)).isfinite().all()


def test_a_mark_before_the_configuration_is_no_part_of_it(tmp_path: Path) -> None:
    plain, marked = (save_weights(Small, tmp_path / name) for name in ("plain", "marked"))
    path = marked / "config.json"
    path.write_text("\ufeff" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert torch.equal(build(Small, marked).features(images()), build(Small, plain).features(images()))
    path.write_text("\ufeff{", encoding="utf-8")
    assert "config.json cannot be read" in refusal(Small, marked)
