"""The peak memory that ``--dry-run`` estimates against the one that the same run has: on the CPU, in float32.

Usage: ``python benchmarks/memory.py [--strategy lora] [BACKBONE:SIZE ...]``

Every cell is a process of its own, with random weights of the published shape, two steps and a few images. The table
goes to the standard output; the command fails where an estimate is more than a quarter off.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CELLS = (
    "tiny:112", "tiny:224", "dinov2_vits14:224", "dinov2_vits14:518", "dinov3_vits16:224", "dinov3_vits16:512",
    "dinov3_convnext_tiny:224", "dinov3_convnext_tiny:448", "sam_vitb:256", "sam_vitb:384",
)  # fmt: skip
ALLOWED = 0.25

SHORT = [
    "training.steps=2", "training.validate_every=2", "dataset.categories=[bird,car]",
    "dataset.images={trn: 8, val: 8, test: 16}", "dataset.pairs={trn: 20, val: 10, test: 40}",
]  # fmt: skip


def save_random(name: str, folder: Path) -> Path | None:
    """Random weights of a backbone in its library's format; None for one that ships with the package."""
    from peftcorr.backbones import BACKBONES
    from peftcorr.backbones.huggingface import HuggingFace
    from peftcorr.backbones.randomised import randomised

    cls: Any = BACKBONES.get(name)
    if not issubclass(cls, HuggingFace):
        return None
    model_class, config = cls.architecture()
    model: Any = randomised(model_class(config))
    model.save_pretrained(folder)
    return folder


def one(name: str, size: int, strategy: str, output: Path) -> None:
    """Estimate a cell, run it and print both in bytes: what a fresh process does."""
    from peftcorr.backbones import BACKBONES
    from peftcorr.engine.memory import estimate_memory, resident
    from peftcorr.engine.plan import Model
    from peftcorr.recipe import Recipe

    weights = output / "weights"
    if not weights.is_dir():
        save_random(name, weights)
        return
    recipe = Recipe(strategy=strategy, backbone={"name": name, "image_size": size}, dataset="synthetic")
    cls = BACKBONES.get(name)
    estimated = estimate_memory(Model(cls, cls.Config(image_size=size), None, recipe.strategy), recipe)
    print(json.dumps({"estimated": resident() + estimated.peak, **vars(estimated)}))


def measured(name: str, size: int, strategy: str, folder: Path) -> tuple[int, int]:
    """Bytes that a cell is estimated to take, and those that it took."""
    folder.mkdir()
    own = [sys.executable, __file__, "--strategy", strategy, "--one", str(folder), f"{name}:{size}"]
    subprocess.run(own, check=True, capture_output=True)
    (folder / "weights").mkdir(exist_ok=True)
    told = subprocess.run(own, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    weights = ["--weights", str(folder / "weights")] if any((folder / "weights").iterdir()) else []
    command = [sys.executable, "-m", "peftcorr.cli", "run", "--strategy", strategy, "--backbone", name]
    command += ["--image-size", str(size), *weights, "--output", str(folder / "output")]
    subprocess.run([*command, "--set", *SHORT], check=True, capture_output=True)
    (record,) = (folder / "output").rglob("records/*.json")
    print(told, file=sys.stderr)
    return json.loads(told)["estimated"], json.loads(record.read_text())["cost"]["peak_memory_bytes"]


def main() -> int:
    """Print the table; 1 if an estimate is too far off."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", nargs="*", default=list(CELLS), metavar="BACKBONE:SIZE")
    parser.add_argument("--strategy", default="lora")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    cells = [(name, int(size)) for name, _, size in (cell.partition(":") for cell in given.cells)]
    if given.one:
        one(*cells[0], given.strategy, given.one)
        return 0
    print(f"| backbone, {given.strategy} | image size | estimated GB | measured GB | estimated / measured |")
    print("| --- | ---: | ---: | ---: | ---: |")
    off = 0
    for name, size in cells:
        with tempfile.TemporaryDirectory() as folder:
            estimated, peak = measured(name, size, given.strategy, Path(folder) / "cell")
        off += abs(estimated / peak - 1) > ALLOWED
        print(
            f"| {name} | {size} | {estimated / 1e9:.2f} | {peak / 1e9:.2f} | {estimated / peak:.2f} |",
            flush=True,
        )
    return int(off > 0)


if __name__ == "__main__":
    sys.exit(main())
