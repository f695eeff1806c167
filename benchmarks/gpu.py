"""What a GPU makes of a run: equal scores, speed as shares of the encoder's, peak memory against the estimate.

Usage: ``python benchmarks/gpu.py [--page leaderboard]``

At most four minutes on one NVIDIA GPU, from nothing but this checkout: the embedded backbone and random weights of
published shapes. Writes ``gpu.md`` and ``gpu.json`` to --page. On a machine without a GPU it says so and ends with 0.
``--on cpu`` tries the script itself on the embedded backbone alone, and writes only where --page says.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.huggingface import HuggingFace
from peftcorr.backbones.randomised import randomised
from peftcorr.engine.memory import estimate_memory, resident
from peftcorr.engine.plan import Model
from peftcorr.features.encode import autocast
from peftcorr.machine.devices import device_name, driver_version
from peftcorr.matching.similarity import normalise
from peftcorr.recipe import Recipe
from peftcorr.results.environment import PeakMemory
from peftcorr.strategies.base import apply_checked

PAGE = Path(__file__).resolve().parent.parent / "leaderboard"
LARGE = ("dinov2_vitb14", "dinov2_vitl14")
PRECISIONS = ("fp32", "tf32", "bf16")
SHORT = [
    "training.steps=20", "training.validate_every=20", "dataset.categories=[bird,car]",
    "dataset.images={trn: 16, val: 8, test: 16}", "dataset.pairs={trn: 60, val: 20, test: 60}",
]  # fmt: skip
_SECONDS = 3.0  # that each speed is measured for


def waited(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(work: Callable[[], object], images: int, device: torch.device, seconds: float) -> float:
    """Images a second, after one that does not count."""
    work()
    waited(device)
    begun, count = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        work()
        waited(device)
        count += images
    return count / (time.monotonic() - begun)


def made(name: str) -> tuple[Any, Recipe, Model]:
    """A backbone with LoRA on it, its recipe and model; random weights, but for the embedded one."""
    cls: Any = BACKBONES.get(name)
    recipe = Recipe.model_validate({"strategy": "lora", "backbone": name, "dataset": "synthetic"})
    config, model = cls.Config(), Model.of(recipe, lambda *_: None)
    if issubclass(cls, HuggingFace):
        model_class, architecture = cls.architecture()
        backbone = cls(config, randomised(model_class(architecture)))
    else:
        backbone = cls.build(config, cls.find_weights(config, None))
    apply_checked(model.strategy(), backbone)
    return backbone.eval(), recipe, model


def encoder(name: str, device: torch.device, seconds: float) -> list[dict[str, Any]]:
    """Speed, agreement with the CPU and memory of one backbone in every precision."""
    backbone, recipe, model = made(name)
    size = model.options.image_size
    images = torch.randint(
        256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        expected = normalise(backbone.features(backbone.preprocess(images)))
    backbone.to(device)
    batch = recipe.encode_batch if isinstance(recipe.encode_batch, int) else 16
    many = torch.randint(256, (batch, 3, size, size), dtype=torch.uint8)
    few = many[: recipe.training.images]
    libraries = resident()
    estimated, peak = libraries + estimate_memory(model, recipe).peak, PeakMemory(device)
    peak.reset()
    rows = []

    def encode(pictures: Tensor, precision: str) -> Tensor:
        with torch.inference_mode(), autocast(precision, device)():
            return normalise(backbone.features(backbone.preprocess(pictures)).float())

    def there_and_back(precision: str) -> None:
        encode(many.to(device), precision).cpu()

    def step(pictures: Tensor, precision: str) -> None:
        backbone.zero_grad()
        context = autocast(precision, device) if precision != "fp32" else nullcontext
        with context():
            features = normalise(backbone.features(backbone.preprocess(pictures.to(device))).float())
        torch.autograd.backward(features.sum())

    for precision in PRECISIONS if device.type == "cuda" else ("fp32",):
        off = float((encode(images.to(device), precision).cpu() - expected).norm() / expected.norm())
        there = many.to(device)
        limit = rate(partial(encode, there, precision), batch, device, seconds)
        moved = rate(partial(there_and_back, precision), batch, device, seconds)
        trained = rate(partial(step, few, precision), len(few), device, seconds)
        rows.append(
            {"backbone": name, "image_size": size, "precision": precision, "features_off": off,
             "encoder": limit, "evaluation": moved / limit, "training": trained / limit}
        )  # fmt: skip
    return [{**row, "estimated": estimated, "peak": peak.read()} for row in rows]


def scores(folder: Path, *more: str, cpu: bool = False) -> dict[int, float]:
    """PCK@0.1 by seed of a short run of the embedded backbone."""
    command = [
        sys.executable,
        "-m",
        "peftcorr.cli",
        "run",
        "--strategy",
        "lora",
        "--output",
        str(folder),
        *more,
    ]
    environment = {
        **os.environ,
        **({"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""} if cpu else {}),
    }
    subprocess.run([*command, "--set", *SHORT], check=True, stdout=subprocess.DEVNULL, env=environment)
    found = {}
    for path in (folder / "records").glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        first = next(iter(next(iter(record["scores"].values())).values()))
        found[record["seed"]] = first["per_keypoint"]["0.1"]
    return found


def measured(device: torch.device, names: tuple[str, ...], seconds: float) -> dict[str, Any]:
    """Everything that the page has."""
    with tempfile.TemporaryDirectory() as folder:
        here = scores(Path(folder, "here"))
        two = scores(Path(folder, "two"), "--seed", "0", "1", "--workers", "2")
        host = scores(Path(folder, "cpu"), cpu=True)
    rows = [row for name in names for row in encoder(name, device, seconds)]
    return {
        "device": device_name(device), "driver": driver_version(), "cuda": torch.version.cuda,
        "torch": torch.__version__, "pck": here[0], "pck_cpu": host[0], "pck_two_workers": two[0], "rows": rows,
    }  # fmt: skip


def markdown(found: dict[str, Any]) -> str:
    """The page."""
    lines = [
        "# On a GPU", "",
        f"Made by `python benchmarks/gpu.py` on {found['device']}, CUDA {found['cuda']}, torch {found['torch']}.", "",
        f"LoRA on the embedded backbone, 20 steps, PCK@0.1: {found['pck']:.2f} here, "
        f"{found['pck_cpu']:.2f} on the CPU, {found['pck_two_workers']:.2f} with two workers on this device.", "",
        "*off*: norm of the difference of the features from the CPU's in float32, over their norm. *evaluation*, "
        "*training*: images a second with their way to the device and back, as shares of the encoder's alone. *peak*: "
        "what torch allocated, beside the estimate of `--dry-run`.", "",
        "| backbone | precision | off | encoder, images/s | evaluation | training | peak GB | estimated GB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]  # fmt: skip
    lines += [
        f"| {row['backbone']} {row['image_size']} | {row['precision']} | {row['features_off']:.1e} | "
        f"{row['encoder']:,.1f} | {row['evaluation']:.2f} | {row['training']:.2f} | {row['peak'] / 1e9:.2f} | "
        f"{row['estimated'] / 1e9:.2f} |"
        for row in found["rows"]
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the page, or say why not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--on", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, default=_SECONDS, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.on == "cuda" and not torch.cuda.is_available():
        print("There is no GPU here that torch can use: nothing was measured.")
        return 0
    names = ("tiny", *LARGE) if given.on == "cuda" else ("tiny",)
    found = measured(torch.device(given.on), names, given.seconds)
    given.page.mkdir(parents=True, exist_ok=True)
    (given.page / "gpu.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (given.page / "gpu.md").write_text(markdown(found), encoding="utf-8")
    print(markdown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
