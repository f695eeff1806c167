"""Folders as people have them: pickled by PyTorch, in parts, with a classifier; the record's hash covers every part."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.identity import local_weights
from peftcorr.errors import PeftCorrError
from tests.backbones.small_sam import SmallSam, in_transformers
from tests.backbones.small_sam import load as load_sam
from tests.small_models import Small, SmallGatedRegisters, build, images, random_model, save_weights

BIN = "pytorch_model.bin"


def pickled(folder: Path, parts: int = 1) -> Path:
    """Write a folder's tensors anew as PyTorch pickles them, whole or in parts with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if parts == 1:
        torch.save(tensors, folder / BIN)
        return folder
    names = sorted(tensors)
    place = {
        name: f"pytorch_model-{index % parts + 1:05}-of-{parts:05}.bin" for index, name in enumerate(names)
    }
    for file in set(place.values()):
        torch.save({name: tensors[name] for name in names if place[name] == file}, folder / file)
    (folder / f"{BIN}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": place}))
    return folder


@pytest.fixture(params=[Small, SmallGatedRegisters], ids=lambda cls: cls.__name__)
def cls(request: pytest.FixtureRequest) -> type[Small]:
    made: type[Small] = request.param
    return made


@pytest.mark.parametrize("parts", [1, 3])
def test_pickled_tensors(cls: type[Small], tmp_path: Path, parts: int) -> None:
    """Under the names of published files, which are not those of the class today."""
    folder = pickled(save_weights(cls, tmp_path / "weights"), parts)
    content = b"".join(path.read_bytes() for path in sorted(folder.glob("*.bin")))
    weights = local_weights(folder)
    assert (weights.id, weights.sha256) == ("weights", hashlib.sha256(content).hexdigest())
    whole = build(cls, save_weights(cls, tmp_path / "whole")).state_dict()
    loaded = build(cls, folder).state_dict()
    assert loaded.keys() == whole.keys()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in loaded.items())


def test_safetensors_come_first(tmp_path: Path) -> None:
    """So a folder that has both means what it meant before the other could be read."""
    folder = save_weights(Small, tmp_path)
    before = local_weights(folder)
    torch.save({"embeddings.cls_token": torch.zeros(1)}, folder / BIN)
    assert local_weights(folder) == before
    assert build(Small, folder).total_parameters() > 0


@pytest.mark.parametrize("part", [0, 1, 2])
def test_the_hash_covers_every_part(tmp_path: Path, part: int) -> None:
    folder = pickled(save_weights(Small, tmp_path), 3)
    before = local_weights(folder).sha256
    path = sorted(folder.glob("pytorch_model-*.bin"))[part]
    tensors = torch.load(path, weights_only=True)
    next(iter(tensors.values())).view(-1)[0] += 1
    torch.save(tensors, path)
    assert local_weights(folder).sha256 != before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    model = random_model(Small).to(dtype)
    model.save_pretrained(tmp_path)  # type: ignore[operator]
    backbone = build(Small, pickled(tmp_path))
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}
    expected = model.float().state_dict()["layernorm.weight"]
    assert torch.equal(backbone.state_dict()["model.layernorm.weight"], expected)


@pytest.mark.parametrize("parts", [0, 1])
def test_a_classifier_is_left_aside(tmp_path: Path, parts: int, capfd: pytest.CaptureFixture[str]) -> None:
    """A fine-tuned model's folder: the encoder under a name of its own, the classifier beside it."""
    classifier = transformers.Dinov2ForImageClassification(random_model(Small).config)
    classifier.dinov2.load_state_dict(random_model(Small).state_dict())
    classifier.save_pretrained(tmp_path)
    assert "classifier.weight" in load_file(tmp_path / "model.safetensors")
    capfd.readouterr()
    backbone = build(Small, pickled(tmp_path) if parts else tmp_path)
    assert "UNEXPECTED" not in "".join(capfd.readouterr())
    with torch.no_grad():
        expected = random_model(Small)(pixel_values=images()).last_hidden_state[:, 1:]
        assert torch.equal(backbone.features(images()).flatten(2).transpose(1, 2), expected)


def test_a_whole_sam(tmp_path: Path) -> None:
    in_transformers().save_pretrained(tmp_path / "sam")
    whole = load_sam(tmp_path / "sam").state_dict()
    loaded = load_sam(pickled(tmp_path / "sam", 2), SmallSam).state_dict()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in loaded.items())


def test_timm_reads_what_the_makers_publish(tmp_path: Path) -> None:
    """A single file, through timm's own conversion, and a pickled folder of timm's names."""
    cls = BACKBONES.get("timm/test_vit")
    model = timm.create_model("test_vit", num_classes=0, device="meta")
    state = {name: torch.rand(tensor.shape) for name, tensor in model.state_dict().items()}
    (tmp_path / "folder").mkdir()
    for file in (tmp_path / "test_vit.pth", tmp_path / "folder" / BIN):
        torch.save({**state, "head.weight": torch.zeros(3, 64)}, file)
    for given in (tmp_path / "test_vit.pth", tmp_path / "folder"):
        weights = cls.find_weights(cls.Config(), given)
        content = (given if given.is_file() else given / BIN).read_bytes()
        assert (weights.id, weights.sha256) == (given.name, hashlib.sha256(content).hexdigest())
        loaded = cls.build(cls.Config(), weights).state_dict()
        assert torch.equal(loaded["model.cls_token"], state["cls_token"])


def refusal(folder: Path) -> str:
    """What is said of a folder: one sentence that names it."""
    with pytest.raises(PeftCorrError) as caught:
        build(Small, folder)
    text = str(caught.value)
    assert "\n" not in text
    assert str(folder) in text
    assert len(text) < 600
    return text


class Payload:
    """What a hostile pickle would be: unpickling it would run its constructor."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('a pickle was executed')",)


def _page(path: Path) -> object:
    return path.write_bytes(b"<!doctype html><title>404</title>")


def _pointer(path: Path) -> object:
    return path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def _code(path: Path) -> object:
    return torch.save({"a": Payload()}, path)


def _half(path: Path) -> object:
    return path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


WRONG = [
    (Path.unlink, "there is no {name} in it"),
    (_page, "{name} is an HTML page: fetch the file again"),
    (_pointer, "{name} is the pointer that Git LFS leaves"),
    (_half, "{name} "),
    (_code, "{name} holds pickled objects other than tensors"),
]


@pytest.mark.parametrize(("spoil", "said"), WRONG)
@pytest.mark.parametrize("parts", [1, 3])
def test_a_spoilt_file_or_part(
    tmp_path: Path, spoil: Callable[[Path], object], said: str, parts: int
) -> None:
    folder = pickled(save_weights(Small, tmp_path), parts)
    path = sorted(folder.glob("*.bin"))[-1]
    spoil(path)
    name = "model.safetensors" if parts == 1 and not path.exists() else path.name
    assert said.format(name=name) in refusal(folder)


@pytest.mark.parametrize(("spoil", "said"), WRONG[1:3])
def test_a_spoilt_safetensors(tmp_path: Path, spoil: Callable[[Path], object], said: str) -> None:
    folder = save_weights(Small, tmp_path)
    spoil(folder / "model.safetensors")
    assert said.format(name="model.safetensors") in refusal(folder)


def test_only_our_sentence_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """transformers would print a table of the file's own names, escape sequences and all."""
    folder = pickled(save_weights(Small, tmp_path))
    torch.save({**torch.load(folder / BIN, weights_only=True), "\x1b[31mred": torch.zeros(1)}, folder / BIN)
    capfd.readouterr()
    assert r"no place for, \x1b[31mred" in refusal(folder)
    assert "\x1b[31m" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("name", ["../outside.bin", "/etc/hostname", "", "."])
def test_an_index_that_leaves_its_folder(tmp_path: Path, name: str) -> None:
    folder = pickled(save_weights(Small, tmp_path), 2)
    (folder / f"{BIN}.index.json").write_text(json.dumps({"weight_map": {"layernorm.bias": name}}))
    assert f"{BIN}.index.json cannot be read" in refusal(folder)


def test_a_part_of_which_tensors_are_missing(tmp_path: Path) -> None:
    folder = pickled(save_weights(Small, tmp_path), 3)
    path = sorted(folder.glob("pytorch_model-*.bin"))[0]
    tensors = torch.load(path, weights_only=True)
    name = sorted(tensors)[0]
    del tensors[name]
    torch.save(tensors, path)
    assert "lacks 1 tensors of the model" in refusal(folder)


def test_a_file_where_a_folder_is_asked_for(tmp_path: Path) -> None:
    """A backbone whose makers publish no such file says what it reads."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(
        PeftCorrError, match=r"is a file: for this backbone give a folder in Hugging Face format"
    ):
        local_weights(file)
