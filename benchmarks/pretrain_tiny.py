"""Pretrain the embedded backbone ``tiny`` without labels, on renderings of objects that no benchmark uses.

    accelerate launch benchmarks/pretrain_tiny.py --recipe recipes/pretrain_tiny.yaml

Started again after an interruption it continues from its last checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from pretrain.objective import Heads, Learner, appearance, build_model, initialise, matching_loss
from pretrain.renderings import Pictures, renderings
from pretrain.settings import Appearance, Phase, PretrainSettings, Stage, read_settings
from pretrain.views import Views, two_views
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Dinov2Model

from peftcorr.console.progress import Progress
from peftcorr.errors import PeftCorrError

PACKAGES = ("torch", "transformers", "accelerate", "numpy", "pillow")


class Pretraining:
    """One phase: model, optimiser, the step reached and the time spent.

    Args:
        phase: `settings` itself for the first phase.
        start: backbone that the first phase left; None begins with that phase.
    """

    def __init__(
        self,
        settings: PretrainSettings,
        accelerator: Accelerator,
        pictures: Pictures,
        phase: Phase | None = None,
        start: Dinov2Model | None = None,
    ):
        self.settings, self.phase = settings, phase or settings
        self.accelerator = accelerator
        self.pictures = pictures
        self.step = 0
        self.seconds = 0.0
        torch.manual_seed(settings.seed)
        architecture = settings.architecture
        backbone, heads = start, None
        if backbone is None:
            backbone = build_model(architecture)
            initialise(backbone, architecture, settings.seed)
        if isinstance(self.phase, Appearance):
            heads = Heads(architecture.width, 3 * self.phase.pixels**2, settings.seed)
        model = Learner(backbone, heads)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(
            parameters, lr=self.phase.learning_rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay
        )
        self.model, self.optimiser = accelerator.prepare(model, optimiser)

    @property
    def learner(self) -> Learner:
        """The model without what Accelerate wraps round it."""
        learner: Learner = self.accelerator.unwrap_model(self.model)
        return learner

    @property
    def backbone(self) -> Dinov2Model:
        """What is kept of it."""
        return self.learner.backbone

    @property
    def checkpoint(self) -> str:
        """Name of this phase's checkpoint."""
        return "appearance.safetensors" if isinstance(self.phase, Appearance) else "checkpoint.safetensors"

    def train_step(self) -> float:
        """One update; returns the loss."""
        settings, phase = self.settings, self.phase
        started = time.perf_counter()
        views = self._views(phase.stage(self.step))
        for group in self.optimiser.param_groups:
            group["lr"] = phase.rate(self.step)
        both = torch.cat([views.first, views.second])
        with self.accelerator.autocast():
            tokens, seen = self.model(both)
        first, second = tokens.float().chunk(2)
        loss = matching_loss(first, second, views.overlap, settings.temperature)
        if isinstance(phase, Appearance):
            truth = phase.amplitude * appearance(both, settings.architecture.patch, phase.pixels)
            loss = loss + phase.weight * torch.nn.functional.mse_loss(seen, truth)
        self.optimiser.zero_grad()
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), settings.gradient_clip)
        self.optimiser.step()
        self.step += 1
        self.seconds += time.perf_counter() - started
        value = loss.item()
        if not np.isfinite(value):
            raise PeftCorrError(
                f"The loss is {value} after step {self.step}: lower learning_rate in the recipe."
            )
        return value

    def _views(self, stage: Stage) -> Views:
        """This process's share of the step's views, which the step alone decides: a resumed run sees the same."""
        settings, accelerator = self.settings, self.accelerator
        rng = np.random.default_rng([settings.seed, self.step])
        chosen = np.sort(rng.choice(len(self.pictures), size=stage.batch, replace=False))
        batch = torch.from_numpy(self.pictures[chosen]).permute(0, 1, 4, 2, 3).float() / 255
        seed = int(rng.integers(2**62))
        views = two_views(batch, stage.size, settings.architecture.patch, settings.crops, seed)
        mine = slice(accelerator.process_index, None, accelerator.num_processes)
        parts = (part[mine].to(accelerator.device) for part in (views.first, views.second, views.overlap))
        return Views(*parts)

    def save(self, folder: Path) -> None:
        """Write a checkpoint that a later process continues from."""
        tensors = {f"model.{name}": value for name, value in self.backbone.state_dict().items()}
        if self.learner.heads is not None:
            tensors |= {f"heads.{name}": value for name, value in self.learner.heads.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in state.items()}
        progress = {
            "step": str(self.step),
            "seconds": str(self.seconds),
            "settings": _digest(self.settings, self.phase),
        }
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f"{self.checkpoint}.{os.getpid()}.part"
        save_file({name: value.contiguous() for name, value in tensors.items()}, unfinished, progress)
        unfinished.replace(folder / self.checkpoint)

    def resume(self, folder: Path) -> None:
        """Continue from a folder's checkpoint if it has one of the same settings."""
        path = folder / self.checkpoint
        if not path.is_file():
            return
        progress = checkpoint_progress(path)
        if progress["settings"] != _digest(self.settings, self.phase):
            raise PeftCorrError(f"{path} belongs to other settings: remove it or choose another --workdir.")
        tensors = load_file(path)
        model = {name[6:]: value for name, value in tensors.items() if name.startswith("model.")}
        self.backbone.load_state_dict(model)
        if self.learner.heads is not None:
            heads = {name[6:]: value for name, value in tensors.items() if name.startswith("heads.")}
            self.learner.heads.load_state_dict(heads)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, key = name.split(".", 2)
                state.setdefault(int(index), {})[key] = value
        whole = self.optimiser.state_dict()
        self.optimiser.load_state_dict({**whole, "state": state})
        self.step, self.seconds = int(progress["step"]), float(progress["seconds"])


def train(run: Pretraining, workdir: Path, progress: Progress) -> None:
    """Train to the end of the phase, with checkpoints."""
    settings, main_process, steps = run.settings, run.accelerator.is_main_process, run.phase.steps
    title = "pretrain appearance" if isinstance(run.phase, Appearance) else "pretrain matching"
    with progress.track(title, steps, "steps", done=run.step) as bar:
        recent = 0.0
        while run.step < steps:
            loss = run.train_step()
            recent = loss if not recent else 0.98 * recent + 0.02 * loss
            bar.update(run.step, f"loss {recent:.3f}")
            if main_process and (run.step % settings.checkpoint_every == 0 or run.step == steps):
                run.save(workdir)


def checkpoint_progress(path: Path) -> dict[str, str]:
    """The step, seconds and settings that a checkpoint's header names."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    return dict(header["__metadata__"])


def write_weights(phases: list[Pretraining], folder: Path) -> None:
    """Write the last phase's backbone in fp16 and the record of its pretraining."""
    folder.mkdir(parents=True, exist_ok=True)
    run = phases[-1]
    half = {name: value.half().cpu().contiguous() for name, value in run.backbone.state_dict().items()}
    run.backbone.config.save_pretrained(folder)
    save_file(half, folder / "model.safetensors", {"format": "pt"})
    record = {
        "settings": run.settings.model_dump(mode="json"),
        "steps": [phase.step for phase in phases],
        "seconds": [round(phase.seconds, 1) for phase in phases],
        "renderings": len(run.pictures),
        "parameters": sum(value.numel() for value in half.values()),
        "processes": run.accelerator.num_processes,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    }
    (folder / "pretraining.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _digest(settings: PretrainSettings, phase: Phase) -> str:
    """Hash of what a checkpoint must agree with; how long the run is to be may change on the way."""
    loose = {"stages", "decay"}
    fixed = settings.model_dump_json(exclude={*loose, "precision", "checkpoint_every", "appearance"})
    if isinstance(phase, Appearance):
        fixed += phase.model_dump_json(exclude=loose)
    return hashlib.sha256(fixed.encode()).hexdigest()[:16]


def main() -> int:
    """Parse the command line, train, and write the weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", type=Path, required=True, help="YAML settings")
    parser.add_argument(
        "--workdir", type=Path, default=Path("pretraining"), help="renderings and checkpoints"
    )
    parser.add_argument("--output", type=Path, help="where the weights go (default: WORKDIR/tiny)")
    parser.add_argument("--workers", type=int, help="rendering processes (default: one a processor)")
    arguments = parser.parse_args()
    try:
        settings = read_settings(arguments.recipe)
        accelerator = Accelerator(mixed_precision=settings.precision)
        progress = Progress(Console() if accelerator.is_main_process else None)
        with accelerator.main_process_first():
            pictures = renderings(
                arguments.workdir,
                settings.seed,
                settings.renderings,
                settings.side,
                arguments.workers,
                progress.callback("render"),
                settings.variety,
            )
        phases: list[Pretraining] = []
        for phase in (settings, settings.appearance):
            if phase is not None:
                start = phases[-1].backbone if phases else None
                phases.append(Pretraining(settings, accelerator, pictures, phase, start))
                phases[-1].resume(arguments.workdir)
                train(phases[-1], arguments.workdir, progress)
        if accelerator.is_main_process:
            write_weights(phases, arguments.output or arguments.workdir / "tiny")
    except PeftCorrError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
