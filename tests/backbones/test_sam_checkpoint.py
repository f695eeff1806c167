"""SAM's weights: a folder or the package's own file, read whole, and refused in one sentence otherwise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from peftcorr.backbones.sam import Sam, SamB, Variant
from peftcorr.errors import PeftCorrError
from tests.backbones.small_sam import (
    SIZE,
    SmallSam,
    in_package,
    in_transformers,
    load,
    package_encoder,
    randomised,
    save_checkpoint,
)


class Wide(SmallSam):
    variant = Variant(48, 4, 2, (1, 3), window=3, neck=16, pretrained_size=SIZE)


class Deep(SmallSam):
    variant = Variant(32, 5, 2, (1, 3), window=3, neck=16, pretrained_size=SIZE)


class Shallow(SmallSam):
    variant = Variant(32, 3, 2, (1,), window=3, neck=16, pretrained_size=SIZE)


class OtherWindows(SmallSam):
    variant = Variant(32, 4, 2, (1, 3), window=4, neck=16, pretrained_size=SIZE)


class OtherGlobals(SmallSam):
    variant = Variant(32, 4, 2, (0, 3), window=3, neck=16, pretrained_size=SIZE)


def refusal(path: Path, cls: type[Sam] = SmallSam) -> str:
    """What is said of these weights: one sentence that names them."""
    with pytest.raises(PeftCorrError) as caught:
        load(path, cls)
    text = str(caught.value)
    assert "\n" not in text
    assert f"--weights {path}" in text
    assert len(text) < 600
    return text


def changed(file: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    state = in_package().state_dict()
    change(state)
    torch.save(state, file)
    return file


def test_a_file_is_identified_by_name_and_hash(tmp_path: Path) -> None:
    file = save_checkpoint(tmp_path / "sam_small.pth")
    weights = SmallSam.find_weights(SmallSam.Config(), file)
    assert weights.id == "sam_small.pth"
    assert weights.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert not weights.official
    hub = SamB.find_weights(SamB.Config(), None)
    assert (hub.id, hub.folder, hub.official) == ("facebook/sam-vit-base", None, True)


def test_every_tensor_is_the_files(tmp_path: Path) -> None:
    """Under the names of transformers; the mask decoder is neither built nor counted."""
    backbone = load(save_checkpoint(tmp_path / "sam.pth"))
    package = package_encoder()
    own, theirs = backbone.state_dict(), package.state_dict()
    attention = "model.layers.2.attn"
    fused = torch.cat([own[f"{attention}.qkv.{part}.weight"] for part in "qkv"])
    assert torch.equal(fused, theirs["blocks.2.attn.qkv.weight"])
    for name, key in {
        "model.pos_embed": "pos_embed",
        "model.patch_embed.projection.bias": "patch_embed.proj.bias",
        "model.layers.3.layer_norm1.weight": "blocks.3.norm1.weight",
        "model.layers.3.layer_norm2.weight": "blocks.3.norm2.weight",
        f"{attention}.rel_pos_w": "blocks.2.attn.rel_pos_w",
        "model.layers.0.mlp.lin2.bias": "blocks.0.mlp.lin2.bias",
        "model.neck.layer_norm2.bias": "neck.3.bias",
    }.items():
        assert torch.equal(own[name], theirs[key])
    assert backbone.total_parameters() == sum(p.numel() for p in package.parameters())
    assert not any(p.requires_grad or p.is_meta for p in backbone.parameters())


def test_half_precision_is_used_in_full_precision(tmp_path: Path) -> None:
    torch.save(in_package().half().state_dict(), tmp_path / "sam.pth")
    assert {p.dtype for p in load(tmp_path / "sam.pth").parameters()} == {torch.float32}


class Payload:
    """What a hostile pickle would be: unpickling it would run its constructor."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('a pickle was executed')",)


@pytest.mark.parametrize(
    "content", [Payload(), {"image_encoder.pos_embed": Payload()}], ids=["object", "inside"]
)
def test_a_pickled_object_is_never_executed(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "sam.pth")
    assert "holds pickled objects other than tensors" in refusal(tmp_path / "sam.pth")


def test_a_whole_pickled_model(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "sam.pth")
    assert "holds pickled objects other than tensors" in refusal(tmp_path / "sam.pth")


@pytest.mark.parametrize("content", [[torch.zeros(2)], {1: torch.zeros(2)}, {"model": {"a": torch.zeros(2)}}])
def test_no_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "sam.pth")
    assert "is no state dict" in refusal(tmp_path / "sam.pth")


@pytest.mark.parametrize("keep", [0, 5, 300, 0.5, 0.99])
def test_a_truncated_file(tmp_path: Path, keep: float) -> None:
    content = save_checkpoint(tmp_path / "whole.pth").read_bytes()
    (tmp_path / "sam.pth").write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    assert "fetch the file again" in refusal(tmp_path / "sam.pth")


def test_no_file(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "sam.pth")


def test_the_encoder_alone(tmp_path: Path) -> None:
    torch.save(package_encoder().state_dict(), tmp_path / "sam.pth")
    assert "has no tensor under image_encoder." in refusal(tmp_path / "sam.pth")


@pytest.mark.parametrize(
    ("made_for", "asked", "text"),
    [
        (Wide, SmallSam, "of shape (1, 8, 8, 48), but this backbone has (1, 8, 8, 32)"),
        (OtherWindows, SmallSam, "blocks.0.attn.rel_pos_h of shape (7, 16)"),
        (OtherGlobals, SmallSam, "blocks.0.attn.rel_pos_h of shape (15, 16)"),
        (Deep, Shallow, "blocks.3.attn.proj.bias among them: choose the --backbone"),
        (Shallow, SmallSam, "blocks.3.attn.proj.bias among them: fetch"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_model_of_another_size(tmp_path: Path, made_for: type[Sam], asked: type[Sam], text: str) -> None:
    file = save_checkpoint(tmp_path / "sam.pth", made_for)
    assert text in refusal(file, asked)


def test_a_missing_tensor(tmp_path: Path) -> None:
    key = "image_encoder.blocks.1.mlp.lin1.weight"
    text = refusal(changed(tmp_path / "sam.pth", lambda state: state.pop(key)))
    assert f"lacks 1 tensors of the model, {key}" in text


def test_a_tensor_too_many(tmp_path: Path) -> None:
    key = "image_encoder.blocks.1.adapter.weight"
    text = refusal(changed(tmp_path / "sam.pth", lambda state: state.update({key: torch.zeros(2)})))
    assert f"has 1 tensors that the model has no place for, {key}" in text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    in_transformers().save_pretrained(tmp_path / "sam")
    return tmp_path / "sam"


def test_a_folder_of_the_whole_model_and_of_the_encoder(folder: Path, tmp_path: Path) -> None:
    whole = load(folder)
    assert any(name.startswith("mask_decoder.") for name in load_file(folder / "model.safetensors"))
    vision = randomised(transformers.SamVisionModel(SmallSam.architecture()[1]))
    vision.vision_encoder.load_state_dict(in_transformers().vision_encoder.state_dict())
    vision.save_pretrained(tmp_path / "vision")
    alone = load(tmp_path / "vision").state_dict()
    assert alone.keys() == whole.state_dict().keys()
    assert all(torch.equal(tensor, alone[name]) for name, tensor in whole.state_dict().items())


def test_a_published_configuration_with_an_empty_model_type(folder: Path) -> None:
    """So older versions of transformers wrote it."""
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["vision_config"]["model_type"] = ""
    path.write_text(json.dumps(content))
    assert load(folder).trainable_parameters() == 0


@pytest.mark.parametrize(
    ("cls", "text"),
    [
        (Wide, "config.json has hidden_size 32, but this backbone has 48"),
        (OtherGlobals, "config.json has global_attn_indexes [1, 3], but this backbone has [0, 3]"),
        (OtherWindows, "config.json has window_size 3"),
        (SamB, "config.json has hidden_size 32, but this backbone has 768"),
    ],
)
def test_a_folder_of_another_model(folder: Path, cls: type[Sam], text: str) -> None:
    assert text in refusal(folder, cls)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.pop("vision_encoder.layers.1.attn.rel_pos_h"), "lacks 1 tensors of the model"),
        (lambda t: t.update({"vision_encoder.extra": torch.zeros(1)}), "has 1 tensors that the model"),
        (lambda t: t.update({"vision_encoder.pos_embed": torch.zeros(1, 4, 4, 32)}), "does not fit"),
    ],
    ids=["missing", "unexpected", "misshapen"],
)
def test_a_folder_with_other_tensors(
    folder: Path, change: Callable[[dict[str, Any]], object], text: str
) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})
    assert text in refusal(folder)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(PeftCorrError, match=r"there is no config\.json in it"):
        load(tmp_path)
