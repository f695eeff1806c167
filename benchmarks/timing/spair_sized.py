"""A case of SPair-71k's size: what is not the encoder takes little, and memory does not follow the number of pairs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from peftcorr.backbones import Backbone
from peftcorr.backbones.dinov2 import Dinov2, Dinov2S14
from peftcorr.data.base import PairDataset
from peftcorr.features.encode import Encoder
from peftcorr.machine.launch import use_all_cores
from peftcorr.results.environment import PeakMemory
from timing.evaluation import Case, Result, compare, ours
from timing.settings import Settings, dataset
from timing.spair_layout import COPIES, write

SIZE = 224  # of the runs with a real encoder
_REST = (768, 518)  # channels and size of the run with an encoder that costs nothing: DINOv2 ViT-B/14's
SECONDS_ASKED = 45.0
_MEMORY_RUNS = 5  # of each, in turn: one run differs from the next by more than the lists of pairs do


def measure(settings: Settings) -> tuple[Result, dict[str, Any]]:
    """Measure the times in this process, and memory in a fresh one for each number of pairs.

    Returns:
        the comparison with naive loop and limit, and what is asked of this case besides.
    """
    root = write(settings.work / "spair-sized", settings.quick)
    opened = dataset("pairs", root, "test", settings.work / "cache")
    runs = 1 if settings.quick else _MEMORY_RUNS
    whole, rest = (
        _figures([{split: _child(root, split, encoder, settings) for split in COPIES} for _ in range(runs)])
        for encoder in ("vit", "free")
    )
    result = compare(Case("spair-sized", "pairs", "", SIZE, 0, 0), opened, vit(SIZE), settings)
    return result, {
        "pairs": [len(opened) * copies for copies in COPIES.values()],
        "whole": whole,
        "rest": rest,
        "rest_seconds_asked": SECONDS_ASKED,
        "rest_channels": _REST[0],
        "rest_size": _REST[1],
    }


def _figures(runs: list[dict[str, dict[str, Any]]]) -> dict[str, list[list[Any]]]:
    """Each figure of each run, by split: the shortest list of pairs first."""
    return {name: [[run[split][name] for run in runs] for split in runs[0]] for name in runs[0]["test"]}


def _child(root: Path, split: str, encoder: str, settings: Settings) -> dict[str, Any]:
    command = [sys.executable, str(Path(sys.argv[0]).resolve()), "--child", str(root), split, encoder]
    done = subprocess.run([*command, str(settings.work)], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(arguments: list[str]) -> None:
    """Evaluate once in this process and print what it took as JSON."""
    root, split, encoder, work = arguments
    use_all_cores()
    opened = dataset("pairs", Path(root), split, Path(work) / "cache")
    backbone = vit(SIZE) if encoder == "vit" else Free()
    print(json.dumps(_evaluate(opened, backbone, Path(work))))


def _evaluate(opened: PairDataset, backbone: Backbone, work: Path) -> dict[str, Any]:
    inside, so_far = 0.0, 0
    features = Encoder.features

    def timed(self: Encoder, *arguments: Any, **options: Any) -> Tensor:
        nonlocal inside, so_far
        begun = time.perf_counter()
        result = features(self, *arguments, **options)
        inside += time.perf_counter() - begun
        so_far = peak.read()
        return result

    Encoder.features = timed  # type: ignore[method-assign]
    with PeakMemory() as peak:
        elapsed, _, forwards = ours(opened, backbone, backbone.config.image_size, work)
    Encoder.features = features  # type: ignore[method-assign]
    return {
        "seconds": elapsed,
        "encoder_seconds": inside,
        "forwards": forwards,
        "peak_bytes": peak.read(),
        "peak_bytes_encoding": so_far,
    }


def vit(size: int) -> Backbone:
    """DINOv2 ViT-S/14 with random weights, which take as long as any."""
    torch.manual_seed(0)
    model_class, config = Dinov2S14.architecture()
    model = model_class(config)
    assert isinstance(model, transformers.PreTrainedModel)
    backbone = Dinov2S14(Dinov2S14.Config(image_size=size), model)
    backbone.eval()
    return backbone


class Free(Dinov2):
    """Maps of DINOv2 ViT-B/14's shape at 518 px for next to nothing: patches' mean colours times fixed numbers."""

    variant = Dinov2S14.variant

    def __init__(self) -> None:
        model_class, config = Dinov2S14.architecture()
        config.num_hidden_layers = 0
        super().__init__(self.Config(image_size=_REST[1]), model_class(config))
        self.channels = _REST[0]
        self.mixing: Tensor
        mixing = torch.randn((3, self.channels), generator=torch.Generator().manual_seed(0))
        self.register_buffer("mixing", mixing)

    def features(self, images: Tensor) -> Tensor:
        """See `Backbone.features`."""
        colours = torch.nn.functional.avg_pool2d(images, self.stride).permute(0, 2, 3, 1)
        return (colours @ self.mixing).permute(0, 3, 1, 2)  # in memory as a transformer's tokens are
