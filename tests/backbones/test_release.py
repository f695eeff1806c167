"""Weights in Meta's own names: bit for bit what transformers' form of them gives, and else one sentence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import eva, vision_transformer
from torch import Tensor

from peftcorr.backbones import BACKBONES, dinov2, dinov3, dinov3_convnext
from peftcorr.backbones.huggingface import HuggingFace
from peftcorr.backbones.identity import local_weights
from peftcorr.errors import PeftCorrError
from peftcorr.registry import OURS
from tests.backbones.parity import parity


class Plain(dinov2.Dinov2):
    variant = dinov2.Variant(32, 3, 2, pretrained_size=56)


class Registers(dinov2.Dinov2):
    variant = dinov2.Variant(32, 3, 2, pretrained_size=56, registers=4)


class Gated(dinov2.Dinov2):
    variant = dinov2.Variant(32, 3, 2, pretrained_size=56, gated_mlp=True)


class GatedRegisters(dinov2.Dinov2):
    variant = dinov2.Variant(32, 3, 2, pretrained_size=56, gated_mlp=True, registers=4)


class Rotary(dinov3.Dinov3ViT):
    variant = dinov3.Variant(32, 3, 2, 128)


class RotaryGated(dinov3.Dinov3ViT):
    variant = dinov3.Variant(32, 3, 2, 64, gated_mlp=True)


class RotaryTeacher(dinov3.Dinov3ViT):
    variant = dinov3.Variant(32, 3, 2, 64, gated_mlp=True, query_value_bias=False)


class Convolutional(dinov3_convnext.Dinov3ConvNext):
    variant = dinov3_convnext.Variant((8, 16, 24, 40), (2, 1, 3, 2))


FAMILY: tuple[type[HuggingFace], ...] = (
    Plain, Registers, Gated, GatedRegisters, Rotary, RotaryGated, RotaryTeacher, Convolutional,
)  # fmt: skip
PUBLISHED = [
    entry.name
    for entry in BACKBONES.entries()
    if entry.origin == OURS and entry.name.startswith(("dinov2_", "dinov3_"))
]


@pytest.fixture(scope="module")
def meta() -> ModuleType:
    return parity("meta")


@pytest.fixture(params=FAMILY, ids=lambda cls: cls.__name__)
def cls(request: pytest.FixtureRequest) -> type[HuggingFace]:
    made: type[HuggingFace] = request.param
    return made


def written(meta: ModuleType, cls: type[HuggingFace], file: Path, **changed: Tensor | None) -> Path:
    """A file in Meta's names; `changed` replaces tensors, ``__`` for a dot, or takes out those that are None."""
    state = meta.in_meta_names(cls, dict(meta.random_model(cls).state_dict()))
    for name, tensor in changed.items():
        key = name.replace("__", ".")
        if tensor is None:
            del state[key]
        else:
            state[key] = tensor
    torch.save(state, file)
    return file


def pictures(size: int = 64) -> Tensor:
    return torch.randn((2, 3, size, size), generator=torch.Generator().manual_seed(0))


def test_every_bit_is_that_of_transformers_form(
    meta: ModuleType, cls: type[HuggingFace], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of the model that was written out, and of a folder of it that transformers wrote."""
    model = meta.random_model(cls)
    model.save_pretrained(tmp_path / "folder")
    file = written(meta, cls, tmp_path / "model_pretrain.pth")
    capfd.readouterr()
    backbone = meta.load(cls, file)
    assert "MISSING" not in "".join(capfd.readouterr())
    folder = cls.build(cls.Config(), local_weights(tmp_path / "folder")).eval()
    assert not meta.differing(backbone, model, cls)
    assert folder.state_dict().keys() == backbone.state_dict().keys()
    assert all(torch.equal(folder.state_dict()[k], tensor) for k, tensor in backbone.state_dict().items())
    with torch.no_grad():
        size = 56 if issubclass(cls, dinov2.Dinov2) else 64
        assert torch.equal(backbone.features(pictures(size)), folder.features(pictures(size)))
    assert not any(p.requires_grad or p.is_meta for p in backbone.parameters())
    addresses = [p.untyped_storage().data_ptr() for p in backbone.parameters()]
    assert len(set(addresses)) == len(addresses)  # no part of a stacked layer keeps the whole


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_names_of_every_published_size(meta: ModuleType, name: str) -> None:
    """From shapes alone: what the file holds is what the model asks for, and what is left aside; nothing else."""
    published = BACKBONES.get(name)
    assert issubclass(published, HuggingFace)
    names = published.release()
    assert names is not None
    model_class, config = published.architecture()
    with torch.device("meta"):
        model = model_class(config)
        state = model.state_dict()
        file = meta.in_meta_names(published, dict(state))
    places = names.places(model)
    assert {key for key in file if not names.unread.search(key)} == {place.key for place in places.values()}
    for name, place in places.items():
        assert file[place.key].chunk(place.parts)[place.part].shape == state[name].shape
    assert len(set(places.values())) == len(places)


class ShortS(dinov2.Dinov2S14):
    variant = replace(dinov2.Dinov2S14.variant, depth=2, pretrained_size=112)


class ShortSGated(dinov2.Dinov2S14):
    variant = replace(dinov2.Dinov2S14.variant, depth=2, pretrained_size=112, gated_mlp=True)


class ShortRotary(dinov3.Dinov3ViTS16):
    variant = replace(dinov3.Dinov3ViTS16.variant, depth=2)


class ShortRotaryGated(dinov3.Dinov3ViTS16Plus):
    variant = replace(dinov3.Dinov3ViTS16Plus.variant, depth=2)


@pytest.mark.parametrize(
    ("short", "name", "options"),
    [
        (ShortS, "vit_small_patch14_dinov2", {"img_size": 112}),
        (
            ShortSGated,
            "vit_giant_patch14_dinov2",
            {"img_size": 112, "embed_dim": 384, "num_heads": 6, "mlp_ratio": 1024 * 2 / 384},
        ),
        (ShortRotary, "vit_small_patch16_dinov3_qkvb", {}),
        (ShortRotaryGated, "vit_small_plus_patch16_dinov3_qkvb", {}),
    ],
    ids=["plain", "gated", "rotary", "rotary and gated"],
)
def test_timm_reads_the_same_from_the_file(
    meta: ModuleType, tmp_path: Path, short: type[HuggingFace], name: str, options: dict[str, Any]
) -> None:
    """timm's own conversion of Meta's names is another: it knows which half is the gate, and which third the keys."""
    file = written(meta, short, tmp_path / "model.pth")
    other = timm.create_model(name, depth=2, num_classes=0, dynamic_img_size=True, **options).eval()
    convert = (eva if "dinov3" in name else vision_transformer).checkpoint_filter_fn
    other.load_state_dict(convert(torch.load(file, weights_only=True), other))
    with torch.no_grad():
        expected = other.forward_features(pictures(112))[:, other.num_prefix_tokens :]
        found = meta.load(short, file).features(pictures(112)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_used_in_full_precision(
    meta: ModuleType, cls: type[HuggingFace], tmp_path: Path, dtype: torch.dtype
) -> None:
    model = meta.random_model(cls).to(dtype)
    torch.save(meta.in_meta_names(cls, dict(model.state_dict())), tmp_path / "half.pth")
    backbone = meta.load(cls, tmp_path / "half.pth")
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    assert not meta.differing(backbone, model.float(), cls)


def test_safetensors_and_a_head(meta: ModuleType, tmp_path: Path) -> None:
    """The names decide, not how they were packed; a classifier is left aside."""
    model = meta.random_model(Plain)
    state = meta.in_meta_names(Plain, dict(model.state_dict()))
    save_file({**state, "head.weight": torch.zeros(5, 64)}, tmp_path / "mine.safetensors")
    assert not meta.differing(meta.load(Plain, tmp_path / "mine.safetensors"), model, Plain)


def test_a_file_is_identified_by_name_and_hash(meta: ModuleType, tmp_path: Path) -> None:
    file = written(meta, Plain, tmp_path / "dinov2_small_pretrain.pth")
    weights = Plain.find_weights(Plain.Config(), file)
    assert (weights.id, weights.official) == ("dinov2_small_pretrain.pth", False)
    assert weights.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def refusal(meta: ModuleType, cls: type[HuggingFace], file: Path) -> str:
    """What is said of a file: one sentence that names it."""
    with pytest.raises(PeftCorrError) as caught:
        meta.load(cls, file)
    text = str(caught.value)
    assert "\n" not in text
    assert f"--weights {file}" in text
    assert len(text) < 600
    return text


class Wide(Plain):
    variant = dinov2.Variant(48, 3, 2, pretrained_size=56)


class Deep(Plain):
    variant = dinov2.Variant(32, 4, 2, pretrained_size=56)


@pytest.mark.parametrize(
    ("made_for", "asked", "said"),
    [
        (Wide, Plain, "cls_token of shape (1, 1, 48), but this backbone has (1, 1, 32)"),
        (Deep, Plain, "no place for, blocks.3.attn.proj.bias among them: choose the --backbone"),
        (Registers, Plain, "no place for, register_tokens among them: choose the --backbone"),
        (Plain, Registers, "lacks 1 tensors of the model, register_tokens among them"),
        (Gated, Plain, "is of another model: it lacks blocks.0.mlp.fc1.bias"),
        (Rotary, Registers, "is of another model: it lacks pos_embed"),
        (RotaryGated, Rotary, "is of another model"),
        (RotaryTeacher, RotaryGated, "lacks 3 tensors of the model, blocks.0.attn.qkv.bias among them"),
        (Convolutional, Plain, "is of another model"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_file_of_another_model(
    meta: ModuleType, tmp_path: Path, made_for: type[HuggingFace], asked: type[HuggingFace], said: str
) -> None:
    assert said in refusal(meta, asked, written(meta, made_for, tmp_path / "model.pth"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"blocks__1__attn__qkv__weight": None}, "lacks 1 tensors of the model, blocks.1.attn.qkv.weight"),
        ({"blocks__1__attn__qkv__weight": torch.zeros(64, 32)}, "has blocks.1.attn.qkv.weight of shape (64, 32)"),
        ({"blocks__1__attn__qkv__bias_mask": torch.ones(96)}, "blocks.1.attn.qkv.bias_mask has other values"),
        ({"blocks__1__attn__qkv__bias_mask": torch.full((96,), torch.nan)}, "bias_mask has other values"),
        ({"blocks__1__attn__qkv__bias_mask": torch.ones(2, 2)}, "bias_mask has other values"),
        ({"rope_embed__periods": 10_000 ** (torch.arange(4) / 4)}, "rope_embed.periods has other values"),
        ({"rope_embed__periods": torch.zeros(())}, "rope_embed.periods has other values"),
    ],
)  # fmt: skip
def test_a_changed_file(
    meta: ModuleType, tmp_path: Path, changed: dict[str, Tensor | None], said: str
) -> None:
    assert said in refusal(meta, Rotary, written(meta, Rotary, tmp_path / "model.pth", **changed))


def test_names_in_a_file_are_shown(meta: ModuleType, tmp_path: Path) -> None:
    """They are whatever the file says: neither a line break nor an escape sequence takes effect, and none is long."""
    state = meta.in_meta_names(Plain, dict(meta.random_model(Plain).state_dict()))
    torch.save({**state, "a\n\x1b[31m" + 5000 * "b": torch.zeros(1)}, tmp_path / "model.pth")
    assert r"no place for, a\n\x1b[31mbbb" in refusal(meta, Plain, tmp_path / "model.pth")


def test_rounded_periods_are_the_same(meta: ModuleType, tmp_path: Path) -> None:
    """They may have been kept in bfloat16; transformers computes them."""
    periods = (100 ** (torch.arange(4) / 4)).bfloat16()
    file = written(meta, Rotary, tmp_path / "model.pth", rope_embed__periods=periods)
    assert not meta.differing(meta.load(Rotary, file), meta.random_model(Rotary), Rotary)


def test_a_file_in_transformers_names(meta: ModuleType, tmp_path: Path) -> None:
    torch.save(meta.random_model(Plain).state_dict(), tmp_path / "model.pth")
    said = refusal(meta, Plain, tmp_path / "model.pth")
    assert "has transformers' names (embeddings.cls_token): give the folder that it lies in" in said


class Payload:
    """What a hostile pickle would be: unpickling it would run its constructor."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('a pickle was executed')",)


def _pickled(content: object) -> Callable[[Path], object]:
    return lambda file: torch.save(content, file)


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(content)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (_pickled({"cls_token": Payload()}), "holds pickled objects other than tensors"),
        (_pickled({"teacher": {"backbone.cls_token": torch.zeros(2)}}), "is no state dict (tensors by name)"),
        (_bytes(b"\n<!DOCTYPE html>\n<html><title>Sign in</title></html>"), "is an HTML page: fetch"),
        (_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"), "Git LFS leaves"),
        (_bytes(b""), "fetch the file again"),
        (_bytes(b"PK\x03\x04"), "fetch the file again"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_what_is_no_weights(
    meta: ModuleType, tmp_path: Path, write: Callable[[Path], object], said: str, name: str
) -> None:
    write(tmp_path / name)
    found = refusal(meta, Plain, tmp_path / name)
    assert (said in found) or (name.endswith("safetensors") and "fetch the file again" in found)


def test_no_file(meta: ModuleType, tmp_path: Path) -> None:
    assert "there is no such file" in refusal(meta, Plain, tmp_path / "dinov2_vits14_pretrain.pth")
