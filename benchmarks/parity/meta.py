"""Files in Meta's names against transformers' own, at full size: ``python benchmarks/parity/meta.py [NAME ...]``.

Random weights of a model of transformers are written out under the names that Meta's code gives them, read as a user
reads such a file, and compared with what they came from, tensor by tensor: every bit must be the same. The names are
written out here a second time, from Meta's side. Then DINOv2-S's features with ``positions: meta`` are compared with
those of transformers' layers over positions that a few lines of NumPy interpolate in double precision. Nothing is
downloaded; DINOv2-g needs 14 GB of memory and 5 GB of disk. Without names, every model but the two largest of DINOv3.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.base import Backbone
from peftcorr.backbones.dinov2 import Dinov2, Dinov2S14
from peftcorr.backbones.dinov3_convnext import Dinov3ConvNext
from peftcorr.backbones.huggingface import HuggingFace

NAMES = (
    *(f"dinov2_vit{size}14{registers}" for size in "sblg" for registers in ("", "_reg")),
    *(f"dinov3_vit{size}" for size in ("s16", "s16plus", "b16", "l16")),
    *(f"dinov3_convnext_{size}" for size in ("tiny", "small", "base", "large")),
)
SIZES = ((224, 224), (448, 448), (518, 518), (672, 672), (840, 840), (448, 672))
BOUND = 1e-5

State = dict[str, Tensor]


def in_meta_names(cls: type[HuggingFace], state: State) -> State:
    """The tensors of transformers' model as Meta's own file of that model has them, constants and all."""
    if issubclass(cls, Dinov3ConvNext):
        return _convnext(cls, state)
    return _dinov2(cls, state) if issubclass(cls, Dinov2) else _dinov3(cls, state)


def _dinov2(cls: type[HuggingFace], state: State) -> State:
    written = {
        "cls_token": state["embeddings.cls_token"],
        "pos_embed": state["embeddings.position_embeddings"],
        "mask_token": state["embeddings.mask_token"],
    }
    if cls.variant.registers:
        written["register_tokens"] = state["embeddings.register_tokens"]
    for kind in ("weight", "bias"):
        written[f"patch_embed.proj.{kind}"] = state[f"embeddings.patch_embeddings.projection.{kind}"]
        written[f"norm.{kind}"] = state[f"layernorm.{kind}"]
        for index in range(cls.variant.depth):
            ours, theirs = f"encoder.layer.{index}", f"blocks.{index}"
            written |= _block(state, ours, theirs, kind)
            if cls.variant.gated_mlp:
                both = [state[f"{ours}.mlp.{part}_proj.{kind}"] for part in ("gate", "up")]
                written[f"{theirs}.mlp.w12.{kind}"] = torch.cat(both)
                written[f"{theirs}.mlp.w3.{kind}"] = state[f"{ours}.mlp.down_proj.{kind}"]
            else:
                for layer in ("fc1", "fc2"):
                    written[f"{theirs}.mlp.{layer}.{kind}"] = state[f"{ours}.mlp.{layer}.{kind}"]
    return written


def _dinov3(cls: type[HuggingFace], state: State) -> State:
    variant = cls.variant
    quarter = variant.width // variant.heads // 4
    written = {
        "cls_token": state["embeddings.cls_token"],
        "storage_tokens": state["embeddings.register_tokens"],
        "mask_token": state["embeddings.mask_token"].flatten(1),
        "rope_embed.periods": 100 ** (2 * torch.arange(quarter) / (variant.width // variant.heads // 2)),
    }
    layers = {"gate": "w1", "up": "w2", "down": "w3"} if variant.gated_mlp else {"up": "fc1", "down": "fc2"}
    for kind in ("weight", "bias"):
        written[f"patch_embed.proj.{kind}"] = state[f"embeddings.patch_embeddings.{kind}"]
        written[f"norm.{kind}"] = state[f"norm.{kind}"]
        if not variant.query_value_bias:  # the teacher's file has one more norm
            written[f"local_cls_norm.{kind}"] = torch.randn_like(state[f"norm.{kind}"])
        for index in range(variant.depth):
            ours, theirs = f"model.layer.{index}", f"blocks.{index}"
            written |= _block(state, ours, theirs, kind)
            for layer, name in layers.items():
                written[f"{theirs}.mlp.{name}.{kind}"] = state[f"{ours}.mlp.{layer}_proj.{kind}"]
    if variant.query_value_bias:
        mask = torch.ones(3, variant.width)
        mask[1] = 0
        for index in range(variant.depth):
            written[f"blocks.{index}.attn.qkv.bias_mask"] = mask.flatten()
    return written


def _block(state: State, ours: str, theirs: str, kind: str) -> State:
    """What a block of both generations has; a bias of keys that the mask would cover is random."""
    written = {
        f"{theirs}.norm1.{kind}": state[f"{ours}.norm1.{kind}"],
        f"{theirs}.norm2.{kind}": state[f"{ours}.norm2.{kind}"],
        f"{theirs}.attn.proj.{kind}": state[f"{ours}.attention.o_proj.{kind}"],
        f"{theirs}.ls1.gamma": state[f"{ours}.layer_scale1.lambda1"],
        f"{theirs}.ls2.gamma": state[f"{ours}.layer_scale2.lambda1"],
    }
    queries = state.get(f"{ours}.attention.q_proj.{kind}")
    if queries is not None:
        keys = state.get(f"{ours}.attention.k_proj.{kind}", torch.randn_like(queries))
        values = state[f"{ours}.attention.v_proj.{kind}"]
        written[f"{theirs}.attn.qkv.{kind}"] = torch.cat([queries, keys, values])
    return written


def _convnext(cls: type[Dinov3ConvNext], state: State) -> State:
    written = {}
    for kind in ("weight", "bias"):
        written[f"norm.{kind}"] = written[f"norms.3.{kind}"] = state[f"layer_norm.{kind}"]
        for stage, depth in enumerate(cls.variant.depths):
            for part in (0, 1):
                written[f"downsample_layers.{stage}.{part}.{kind}"] = state[
                    f"model.stages.{stage}.downsample_layers.{part}.{kind}"
                ]
            for index in range(depth):
                ours, theirs = f"model.stages.{stage}.layers.{index}", f"stages.{stage}.{index}"
                written[f"{theirs}.gamma"] = state[f"{ours}.gamma"]
                for layer, name in {
                    "depthwise_conv": "dwconv", "layer_norm": "norm",
                    "pointwise_conv1": "pwconv1", "pointwise_conv2": "pwconv2",
                }.items():  # fmt: skip
                    written[f"{theirs}.{name}.{kind}"] = state[f"{ours}.{layer}.{kind}"]
    return written


def random_model(cls: type[HuggingFace], seed: int = 0) -> Any:
    """transformers' model of that shape, every parameter random; features stay of order one."""
    model_class, config = cls.architecture()
    with torch.device("meta"):
        model = model_class(config)
    model = model.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(generator=generator)
            if parameter.dim() > 1 and name.endswith("weight"):
                parameter.div_(parameter[0].numel() ** 0.5)
            else:
                parameter.mul_(0.3).add_(float("norm" in name or "lambda" in name or "gamma" in name))
    return model


def load(cls: type[HuggingFace], file: Path, **options: Any) -> Backbone:
    """A backbone from a file, as ``--weights`` gives it."""
    config = cls.Config(**options)
    return cls.build(config, cls.find_weights(config, file)).eval()


def differing(backbone: Backbone, model: nn.Module, backbone_class: type[HuggingFace]) -> list[str]:
    """Tensors of the plain model that the backbone has not, or not bit for bit."""
    built = backbone_class(backbone_class.Config(), model).state_dict()
    loaded = backbone.state_dict()
    return sorted(
        name
        for name in built.keys() | loaded.keys()
        if name not in loaded or name not in built or not torch.equal(built[name], loaded[name])
    )


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel with a = -0.75, torch's bicubic."""
    d, a = np.abs(distance), -0.75
    near, far = (a + 2) * d**3 - (a + 3) * d**2 + 1, a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _axis(count: int, side: int) -> NDArray[np.float64]:
    """Weights (count, side) of the trained positions for each cell of an axis, as Meta's code scales it."""
    centre = (np.arange(count) + 0.5) * side / (count + 0.1) - 0.5
    weights = np.zeros((count, side))
    for step in range(-1, 3):
        cell = np.floor(centre).astype(int) + step
        np.add.at(weights, (np.arange(count), cell.clip(0, side - 1)), _cubic(centre - cell))
    return weights


def reference_positions(trained: Tensor, rows: int, columns: int) -> Tensor:
    """Positions (1, rows * columns, D) of a grid, of the trained ones (1, 1 + M^2, D), the class token's first."""
    side = int((trained.shape[1] - 1) ** 0.5)
    grid = trained[0, 1:].reshape(side, side, -1).double().numpy()
    if (rows, columns) != (side, side):
        grid = np.einsum("rm,cn,mnd->rcd", _axis(rows, side), _axis(columns, side), grid)
    return torch.from_numpy(grid.reshape(1, rows * columns, -1)).float()


def reference_features(cls: type[Dinov2], model: Any, images: Tensor) -> Tensor:
    """Patch tokens (B, N, D) of transformers' layers, over positions interpolated here."""
    trained = model.embeddings.position_embeddings.detach()
    rows, columns = (length // cls.variant.patch for length in images.shape[-2:])
    positions = reference_positions(trained, rows, columns)
    first = (model.embeddings.cls_token + trained[:, :1]).expand(len(images), -1, -1)
    tokens = torch.cat([first, model.embeddings.patch_embeddings(images) + positions], 1)
    for layer in model.encoder.layer:
        tokens = layer(tokens)
    features: Tensor = model.layernorm(tokens)[:, 1:]
    return features


def position_error(cls: type[Dinov2], height: int, width: int, positions: str = "meta") -> float:
    """Norm of the difference between the backbone's features of noise and the reference's, relative to the latter."""
    model = random_model(cls)
    image = torch.randn((1, 3, height, width), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = reference_features(cls, model, image)
        found = cls(cls.Config.model_validate({"positions": positions}), model).features(image)
    found = found.flatten(2).transpose(1, 2)
    return float((found - expected).norm() / expected.norm())


def check(name: str, folder: Path) -> bool:
    """Write, read and compare one model at full size, and print a line about it."""
    cls = BACKBONES.get(name)
    assert issubclass(cls, HuggingFace)
    model = random_model(cls)
    state = dict(model.state_dict())
    file = folder / f"{name}_pretrain.pth"
    torch.save(in_meta_names(cls, state), file)
    started = time.perf_counter()
    backbone = load(cls, file)
    seconds = time.perf_counter() - started
    gigabytes = file.stat().st_size / 1e9
    file.unlink()
    wrong = differing(backbone, model, cls)
    print(
        f"{name}: {len(state)} tensors, {sum(t.numel() for t in state.values()):,} values, {gigabytes:.2f} GB read in "
        f"{seconds:.1f} s: {f'{len(wrong)} differ, {wrong[0]}' if wrong else 'bit-equal'}; most memory so far "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB",
        flush=True,
    )
    return not wrong


def main() -> int:
    """Print what was compared; 1 if something differs."""
    with tempfile.TemporaryDirectory() as folder:
        found = {name: check(name, Path(folder)) for name in sys.argv[1:] or NAMES}
    whole = all(found.values())
    for height, width in SIZES if len(sys.argv) == 1 else ():
        error, other = (position_error(Dinov2S14, height, width, way) for way in ("meta", "size"))
        whole &= error <= BOUND
        print(
            f"{height} x {width} px, positions as Meta scales them: relative error of the features {error:.1e} "
            f"(<= {BOUND:g} required); as transformers does: {other:.1e}"
        )
    return int(not whole)


if __name__ == "__main__":
    sys.exit(main())
