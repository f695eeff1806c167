"""The peak memory that ``--dry-run`` estimates against the one that a process has: on the CPU, in float32.

Usage: ``python benchmarks/memory.py [--page leaderboard] [BACKBONE:SIZE[:STRATEGY[:IMAGES]] ...]``

Every cell is a process of its own, with random weights of the published shape, which encodes as many images as a run
scores at once (or as many as the cell says) and makes a step of the default training. The one factor that the estimate
has (`HOLES` in ``peftcorr/engine/memory.py``) was chosen on the first ten cells; the others are held out. What was
measured is written to ``memory.md`` and ``memory.json`` in --page, beside the cells that are there already. The command
fails where an estimate is more than a quarter off.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "leaderboard"
FITTED = (
    "tiny:112", "tiny:224", "dinov2_vits14:224", "dinov2_vits14:518", "dinov3_vits16:224", "dinov3_vits16:512",
    "dinov2_vitb14:224", "dinov2_vitb14:378", "sam_vitb:256", "sam_vitb:384",
)  # fmt: skip
HELD_OUT = (
    "tiny:448:adapter", "tiny:160:full", "dinov2_vits14_reg:308", "dinov2_vits14_reg:448:adaptformer:4",
    "dinov3_vitb16:256:lora:4", "dinov3_vitb16:384:last_k:4", "dinov3_convnext_tiny:256:norm",
    "dinov3_convnext_tiny:512:last_k:4", "timm/vit_small_patch16_224:224", "timm/vit_small_patch16_224:384:adapter:4",
    "timm/resnet50:224:last_k", "timm/resnet50:448:norm:4", "sam_vitb:512:last_k:2", "sam_vitb:320:lora:2",
)  # fmt: skip
ALLOWED = 0.25


@dataclass(frozen=True)
class Cell:
    """One cell, as it is written on the command line."""

    backbone: str
    image_size: int
    strategy: str = "lora"
    images: int = 16

    @classmethod
    def parse(cls, text: str) -> Cell:
        """``BACKBONE:SIZE[:STRATEGY[:IMAGES]]``."""
        name, size, strategy, images = [*text.split(":"), *("lora", "16")[text.count(":") - 1 :]]
        return cls(name, int(size), strategy, int(images))


def built(cls: Any, config: Any) -> Any:
    """A backbone with random weights, loaded as files are where its family can write them."""
    from safetensors.torch import save_file

    from peftcorr.backbones.huggingface import HuggingFace
    from peftcorr.backbones.timm.base import create

    if issubclass(cls, HuggingFace):
        model_class, architecture = cls.architecture()
        return cls(config, model_class(architecture))
    if cls.embedded_weights() is not None:
        return cls.build(config, cls.find_weights(config, None))
    with TemporaryDirectory() as folder:
        save_file(
            create(cls.timm_name(config), config.image_size).state_dict(), Path(folder, "model.safetensors")
        )
        return cls.build(config, cls.find_weights(config, Path(folder)))


def one(cell: Cell) -> tuple[int, int]:
    """Bytes that a cell is estimated to take, and those that it takes in this process."""
    import torch

    from peftcorr.backbones import BACKBONES
    from peftcorr.engine.memory import estimate_memory, resident
    from peftcorr.engine.plan import Model
    from peftcorr.matching.similarity import normalise
    from peftcorr.recipe import Recipe
    from peftcorr.results.environment import PeakMemory
    from peftcorr.strategies.base import apply_checked

    cls: Any = BACKBONES.get(cell.backbone)
    sections = {
        "strategy": cell.strategy,
        "backbone": {"name": cell.backbone, "image_size": cell.image_size},
        "dataset": "synthetic",
        "encode_batch": cell.images,
        "training": {"prefix_cache": "none"},  # a step that computes all of it
    }
    recipe, config = Recipe.model_validate(sections), cls.Config(image_size=cell.image_size)
    libraries, peak = resident(), PeakMemory()
    model = Model(cls, config, None, recipe.strategy)
    estimated = libraries + estimate_memory(model, recipe).peak
    peak.reset()
    backbone = built(cls, config)
    strategy = model.strategy()
    apply_checked(strategy, backbone)

    def features(count: int) -> torch.Tensor:
        size = cell.image_size
        images = torch.randint(256, (count, 3, size, size), dtype=torch.uint8)
        return normalise(backbone.features(backbone.preprocess(images)))

    with torch.inference_mode():
        features(cell.images).permute(0, 2, 3, 1).contiguous()
    if strategy.trains():
        trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained)
        torch.autograd.backward(features(recipe.training.images).sum())
        optimizer.step()
    return estimated, peak.read()


def markdown(rows: list[dict[str, Any]]) -> str:
    """The page."""
    lines = [
        "# Peak memory", "",
        "Made by `python benchmarks/memory.py`: what `--dry-run` estimates and what a process takes, on a CPU in "
        "float32, libraries included. Every row is a process of its own with random weights of the published shape: "
        "it encodes the images and makes a training step of five. The estimate has one factor, which was chosen on "
        "the rows without *held out*.", "",
        "| backbone | image size | strategy | images encoded at once | estimated GB | measured GB | "
        "estimated / measured | |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | --- |",
    ]  # fmt: skip
    lines += [
        f"| {row['backbone']} | {row['image_size']} | {row['strategy']} | {row['images']} | "
        f"{row['estimated'] / 1e9:.2f} | {row['measured'] / 1e9:.2f} | {row['estimated'] / row['measured']:.2f} | "
        f"{'held out' if row['held_out'] else ''} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure; 1 if an estimate is too far off."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", nargs="*", metavar="BACKBONE:SIZE[:STRATEGY[:IMAGES]]")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(Cell.parse(given.cells[0]))))
        return 0
    table, every = given.page / "memory.json", [*FITTED, *HELD_OUT]
    rows = json.loads(table.read_text(encoding="utf-8")) if given.cells and table.is_file() else {}
    given.page.mkdir(parents=True, exist_ok=True)
    for text in given.cells or every:
        own = [sys.executable, __file__, "--one", text]
        done = subprocess.run(own, check=True, stdout=subprocess.PIPE, text=True)
        estimated, measured = json.loads(done.stdout.splitlines()[-1])
        cell, held_out = asdict(Cell.parse(text)), text not in FITTED
        rows[text] = {**cell, "held_out": held_out, "estimated": estimated, "measured": measured}
        print(markdown([rows[text]]).splitlines()[-1], flush=True)
        rows = {name: rows[name] for name in [*every, *rows] if name in rows}  # in their order
        table.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        table.with_suffix(".md").write_text(markdown(list(rows.values())), encoding="utf-8")
    return int(any(abs(row["estimated"] / row["measured"] - 1) > ALLOWED for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
