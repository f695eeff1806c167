"""The peak memory that ``--dry-run`` estimates against the one that a process has: on the CPU, in float32.

Usage: ``python benchmarks/memory.py [--strategy lora] [BACKBONE:SIZE ...]``

Every cell is a process of its own, with random weights of the published shape, which encodes as many images as a run
scores at once and makes a step of the default training. The table goes to the standard output; the command fails where
an estimate is more than a quarter off.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

CELLS = (
    "tiny:112", "tiny:224", "dinov2_vits14:224", "dinov2_vits14:518", "dinov3_vits16:224", "dinov3_vits16:512",
    "dinov2_vitb14:224", "dinov2_vitb14:378", "sam_vitb:256", "sam_vitb:384",
)  # fmt: skip
ALLOWED = 0.25


def one(name: str, size: int, strategy_name: str) -> tuple[int, int]:
    """Bytes that a cell is estimated to take, and those that it takes in this process."""
    import torch

    from peftcorr.backbones import BACKBONES
    from peftcorr.backbones.huggingface import HuggingFace
    from peftcorr.engine.memory import estimate_memory, resident
    from peftcorr.engine.plan import Model
    from peftcorr.matching.similarity import normalise
    from peftcorr.recipe import Recipe
    from peftcorr.results.environment import PeakMemory
    from peftcorr.strategies.base import apply_checked

    cls: Any = BACKBONES.get(name)
    sections = {
        "strategy": strategy_name,
        "backbone": {"name": name, "image_size": size},
        "dataset": "synthetic",
    }
    recipe, config = Recipe.model_validate(sections), cls.Config(image_size=size)
    libraries, peak = resident(), PeakMemory()
    model = Model(cls, config, None, recipe.strategy)
    estimated = libraries + estimate_memory(model, recipe).peak
    peak.reset()
    if issubclass(cls, HuggingFace):
        model_class, architecture = cls.architecture()
        backbone = cls(config, model_class(architecture))
    else:
        backbone = cls.build(config, cls.find_weights(config, None))
    strategy = model.strategy()
    apply_checked(strategy, backbone)

    def features(count: int) -> torch.Tensor:
        images = torch.randint(256, (count, 3, size, size), dtype=torch.uint8)
        return normalise(backbone.features(backbone.preprocess(images)))

    assert recipe.encode_batch != "auto"
    with torch.inference_mode():
        features(recipe.encode_batch).permute(0, 2, 3, 1).contiguous()
    if strategy.trains():
        trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained)
        torch.autograd.backward(features(recipe.training.images).sum())
        optimizer.step()
    return estimated, peak.read()


def main() -> int:
    """Print the table; 1 if an estimate is too far off."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", nargs="*", default=list(CELLS), metavar="BACKBONE:SIZE")
    parser.add_argument("--strategy", default="lora")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    cells = [(name, int(size)) for name, _, size in (cell.partition(":") for cell in given.cells)]
    if given.one:
        print(json.dumps(one(*cells[0], given.strategy)))
        return 0
    print(f"| backbone, {given.strategy} | image size | estimated GB | measured GB | estimated / measured |")
    print("| --- | ---: | ---: | ---: | ---: |")
    off = 0
    for name, size in cells:
        own = [sys.executable, __file__, "--strategy", given.strategy, "--one", f"{name}:{size}"]
        done = subprocess.run(own, check=True, stdout=subprocess.PIPE, text=True)
        estimated, peak = json.loads(done.stdout.splitlines()[-1])
        off += abs(estimated / peak - 1) > ALLOWED
        print(
            f"| {name} | {size} | {estimated / 1e9:.2f} | {peak / 1e9:.2f} | {estimated / peak:.2f} |",
            flush=True,
        )
    return int(off > 0)


if __name__ == "__main__":
    sys.exit(main())
