"""Everything that decides a feature is in the name that it is kept under."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from peftcorr.data.images import ImageStore
from peftcorr.engine.evaluate import Split
from peftcorr.features import identity
from peftcorr.features.encode import Encoder, autocast
from peftcorr.features.identity import encoder_identity, image_keys, tensors_sha256
from tests.engine.building import load_split
from tests.small_folder import write_folder
from tests.small_models import SIZE, Small, build
from tests.strategies.adapting import adapt


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return load_split(write_folder(tmp_path / "photographs"), tmp_path / "cache", "test")


@pytest.fixture
def encoder(small_weights: Path) -> Encoder:
    return Encoder(build(Small, small_weights))


@pytest.fixture
def matmul() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def test_size_resize_precision_and_code(
    split: Split, encoder: Encoder, small_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = split.store
    plain = encoder_identity(encoder, store)
    again = ImageStore(store.image_root, SIZE)
    assert encoder_identity(Encoder(build(Small, small_weights)), again) == plain
    for other in (ImageStore(store.image_root, 2 * SIZE), ImageStore(store.image_root, SIZE, "pad")):
        assert encoder_identity(encoder, other) != plain
    half = Encoder(encoder.backbone, autocast=lambda: torch.autocast("cpu", torch.bfloat16))
    assert encoder_identity(half, store)["dtype"] == "torch.bfloat16" != plain["dtype"]
    source = "peftcorr.features.identity.inspect.getsource"
    for edited in ("data.images", "data.frame", "features.encode", "matching.similarity", "small_models"):
        monkeypatch.setattr(source, lambda module: "same")
        before = encoder_identity(encoder, store)["code"]
        monkeypatch.setattr(source, lambda module, own=edited: "edit" if own in module.__name__ else "same")
        assert encoder_identity(encoder, store)["code"] != before, edited


@pytest.mark.parametrize(
    "library", ["torch", "transformers", "timm", "diffusers", "segment-anything", "peft", "pillow"]
)
def test_versions_of_the_libraries(
    split: Split, encoder: Encoder, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = identity._version
    plain = encoder_identity(encoder, split.store)
    for other in ("99.9", None):
        changed = lambda name, to=other: to if name == library else version(name)  # noqa: E731
        monkeypatch.setattr(identity, "_version", changed)
        assert encoder_identity(encoder, split.store) != plain


@pytest.mark.parametrize("attribute", ["model_name", "mean", "std"])
def test_the_model_that_options_and_tensors_do_not_tell(
    split: Split, encoder: Encoder, attribute: str
) -> None:
    """Of timm the class is one for many, which differ in activation or in how pictures are normalised."""
    plain = encoder_identity(encoder, split.store)
    setattr(encoder.backbone, attribute, "clip_quickgelu" if attribute == "model_name" else (0.5, 0.5, 0.5))
    assert encoder_identity(encoder, split.store) != plain


def test_a_trained_head_is_no_part_of_its_own_prefix(split: Split, small_weights: Path) -> None:
    found = []
    for seed in (0, 1):
        backbone, _ = adapt(small_weights, "head", seed=seed, channels=16)
        found.append(encoder_identity(Encoder(backbone), split.store, before=len(backbone.blocks())))
    assert found[0] == found[1]
    whole = [
        encoder_identity(Encoder(adapt(small_weights, "head", seed=s, channels=16)[0]), split.store)
        for s in (0, 1)
    ]
    assert whole[0] != whole[1]


@pytest.mark.usefixtures("matmul")
def test_the_precision_of_products(split: Split, encoder: Encoder) -> None:
    found = set()
    for precision in ("highest", "high", "medium"):
        torch.set_float32_matmul_precision(precision)
        found.add(tuple(sorted(encoder_identity(encoder, split.store).items())))
    assert len(found) == 3


@pytest.mark.usefixtures("matmul")
def test_the_precision_that_the_encoder_sets(
    split: Split, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU by `rounding`; torch by itself rounds convolutions alone."""
    plain = encoder_identity(encoder, split.store)
    assert "convolution_tf32" not in plain, "a CPU has no such thing, and what it kept stays valid"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    gpu = torch.device("cuda")
    found = {
        tf32: encoder_identity(Encoder(encoder.backbone, None, gpu, autocast(tf32, gpu)), split.store)
        for tf32 in ("fp32", "tf32")
    }
    kept = {key: [one[key] for one in found.values()] for key in ("matmul", "convolution_tf32")}
    assert kept == {"matmul": ["highest", "high"], "convolution_tf32": ["False", "True"]}
    assert encoder_identity(encoder, split.store) == plain
    asis = encoder_identity(Encoder(encoder.backbone, None, gpu), split.store)
    assert (asis["matmul"], asis["convolution_tf32"]) == ("highest", str(torch.backends.cudnn.allow_tf32))


def test_every_tensor_by_name_type_shape_and_value() -> None:
    def of(**tensors: torch.Tensor) -> str:
        holder: Any = torch.nn.Module()
        for name, tensor in tensors.items():
            holder.register_buffer(name, tensor)
        return tensors_sha256(holder)

    zero = torch.zeros(2, 3)
    distinct = [
        of(a=zero), of(b=zero), of(a=zero, b=zero), of(a=zero.T.contiguous()), of(a=zero.int()), of(a=zero + 1e-45),
        of(a=zero.reshape(6)), of(a=zero[:1]), of(),
    ]  # fmt: skip
    assert len(set(distinct)) == len(distinct)
    assert of(a=torch.arange(6.0).view(2, 3).T) == of(a=torch.arange(6.0).view(2, 3).T.contiguous())


def test_an_image_by_bytes_category_path_and_annotated_size(split: Split, tmp_path: Path) -> None:
    """A photograph whose annotation has the rotated size is rotated: the same bytes, and another picture."""
    data, store, every = split.data, split.store, np.arange(2)

    def keys(**change: Any) -> list[str]:
        return [key.key for key in image_keys(replace(data, **change), store, every).values()]

    plain = keys()
    assert len(set(plain)) == 2
    assert keys() == plain
    width, height = data.sizes[0]
    assert keys(sizes=[[height, width], *data.sizes[1:]])[0] != plain[0]
    assert keys(sizes=[[], *data.sizes[1:]])[0] != plain[0]
    assert keys(categories=["another", *data.categories[1:]])[0] != plain[0]
    copy = store.image_root / "copy.jpg"
    copy.write_bytes((store.image_root / data.images[0]).read_bytes())
    assert keys(images=["copy.jpg", *data.images[1:]])[0] != plain[0]
    assert keys()[1] == plain[1]
    with (store.image_root / data.images[0]).open("ab") as stream:
        stream.write(b"\0")
    assert keys()[0] != plain[0]
