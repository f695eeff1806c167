"""Training: Accelerate owns device, precision, processes and state; this file owns the order of events."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor
from transformers import get_cosine_schedule_with_warmup

from peftcorr.console.progress import Progress
from peftcorr.data.correspondences import Correspondences, Floats
from peftcorr.engine.batches import CliqueSampler, PairSampler, Sampler
from peftcorr.engine.checkpoint import Checkpoints, TrainingState, read_search, write_search
from peftcorr.engine.evaluate import Evaluator, Split
from peftcorr.engine.step import batch_loss, first_bad_pair
from peftcorr.engine.validation import split_pck
from peftcorr.errors import PeftCorrError, TrainingDiverged
from peftcorr.features.encode import Encoder
from peftcorr.matching.predictors import Predictor
from peftcorr.recipe import Training
from peftcorr.results.record import SearchPoint, ValidationPoint
from peftcorr.strategies.base import Strategy

VALIDATION_ALPHA = 0.1


@dataclass
class Trained:
    """What a training gives besides the tensors, which stay in the backbone."""

    steps: int
    seconds: float
    learning_rate: float | None
    best_step: int | None
    validation: list[ValidationPoint]
    search: list[SearchPoint]


@dataclass(frozen=True)
class Task:
    """What is to be learned.

    Attributes:
        recipe: how to train.
        seed: of batches and of what layers draw.
        trn: split that is trained on.
        val: split that selects; None keeps the last step.
        predictor: predicts in validation.
    """

    recipe: Training
    seed: int
    trn: Split
    val: Split | None
    predictor: Predictor

    def sampler(self) -> Sampler:
        """What draws the batches."""
        if self.recipe.sampler == "cliques":
            return CliqueSampler(self.trn.data, self.recipe.images, self.seed)
        return PairSampler(self.trn.data, self.recipe.pairs, self.seed)


class Trainer:
    """Trains what a strategy left trainable, on one split, selecting the best step on another.

    Args:
        task: what is to be learned.
        strategy: applied to the evaluator's backbone already.
        evaluator: validates; its encoder has no wrapper.
        folder: where the resumable state goes.

    Attributes:
        sampler: draws the batches.
        losses: of the steps that this process has made, since the last resume.
    """

    def __init__(self, task: Task, strategy: Strategy, evaluator: Evaluator, folder: Path):
        self._task, self._strategy, self._evaluator, self._folder = task, strategy, evaluator, folder
        self._recipe, self._encoder = task.recipe, evaluator.encoder
        self._progress = evaluator.progress
        self.losses: list[float] = []
        self.sampler = task.sampler()

    def run(self) -> Trained:
        """Search the learning rate if the recipe says so, then train.

        Raises:
            TrainingDiverged: if a loss or gradient is not finite, naming the step and the pair.
            PeftCorrError: if the recipe cannot be carried out here.
        """
        start = self._strategy.state_dict(self._encoder.backbone)
        start = {name: tensor.clone() for name, tensor in start.items()}
        rate, search = self._searched(start)
        self._task.trn.data.decode(self._task.trn.store)
        state = TrainingState()
        self._fit(rate, self._recipe.steps, state, "train", keep=True)
        if state.best is not None:
            self._strategy.load_state_dict(self._encoder.backbone, state.best)
        best = state.best_step if state.best is not None else state.step
        return Trained(state.step, state.seconds, rate, best, state.validation, search)

    def _searched(self, start: dict[str, Tensor]) -> tuple[float, list[SearchPoint]]:
        own = self._recipe.learning_rate or self._strategy.learning_rate()
        search = self._recipe.search
        if search is None:
            return own, []
        if self._task.val is None:
            raise PeftCorrError("training.search needs a validation split, which this dataset does not have.")
        done = read_search(self._folder)
        for rate in search.learning_rates[len(done) :]:
            state = TrainingState()
            try:
                self._fit(rate, search.steps, state, f"search {rate:g}", keep=False)
                pck = state.validation[-1].pck
            except TrainingDiverged:
                pck = 0.0  # a rate that diverges is a candidate that lost
            self._strategy.load_state_dict(self._encoder.backbone, start)
            done.append(SearchPoint(learning_rate=rate, steps=search.steps, seconds=state.seconds, pck=pck))
            self._progress.say(f"learning rate {rate:g}: validation PCK@{VALIDATION_ALPHA} {pck:.2f}")
            if self._evaluator.accelerator.is_main_process:
                write_search(self._folder, done)
        return max(done, key=lambda point: point.pck).learning_rate, done

    def _fit(self, rate: float, steps: int, state: TrainingState, name: str, keep: bool) -> None:
        set_seed(self._task.seed)  # dropout must not depend on what a search drew before
        backbone, recipe = self._encoder.backbone, self._recipe
        accelerator = Accelerator(gradient_accumulation_steps=recipe.accumulation)
        parameters = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
        plain = torch.optim.AdamW(parameters, lr=rate, weight_decay=recipe.weight_decay)
        schedule = get_cosine_schedule_with_warmup(plain, math.ceil(recipe.warmup * steps), steps)
        model, optimizer = accelerator.prepare(backbone, plain)
        accelerator.register_for_checkpointing(schedule)
        checkpoints = (
            Checkpoints(self._folder, accelerator, self._strategy, backbone, state) if keep else None
        )
        if checkpoints is not None and checkpoints.resume():
            self._progress.say(f"{name}: going on from step {state.step} of {steps}")
        encoder = Encoder(
            backbone,
            model,
            accelerator.device,
            accelerator.autocast,
            self._encoder.first_trainable,
            colour_jitter(recipe.colour_jitter),
        )
        self.losses = []
        resumed, begun = state.seconds, time.monotonic()
        pairs = 0
        with self._progress.track(name, steps, "steps", state.step) as bar:
            while state.step < steps:
                backbone.train()
                loss, supervised = self._step(
                    encoder, model, optimizer, parameters, accelerator, steps, state.step
                )
                self.losses.append(loss)
                schedule.step()
                pairs += supervised
                state.step += 1
                state.seconds = resumed + time.monotonic() - begun
                speed = pairs / max(state.seconds - resumed, 1e-9)
                bar.update(state.step, f"loss {loss:.4f}, {speed:,.0f} pairs/s")
                if self._task.val is not None and self._due(state.step, recipe.validate_every, steps, keep):
                    self._validate(state, keep)
                if checkpoints is not None and self._due(state.step, recipe.checkpoint_every, steps, True):
                    state.seconds = resumed + time.monotonic() - begun
                    checkpoints.save()
        state.seconds = resumed + time.monotonic() - begun
        accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        accelerator.free_memory()

    @staticmethod
    def _due(step: int, every: int, steps: int, along_the_way: bool) -> bool:
        return step == steps or (along_the_way and step % every == 0)

    def _step(
        self,
        encoder: Encoder,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        parameters: list[torch.nn.Parameter],
        accelerator: Accelerator,
        steps: int,
        step: int,
    ) -> tuple[float, int]:
        """One optimiser step over `accumulation` batches; returns their mean loss and their number of pairs."""
        total, pairs = 0.0, 0
        data, store = self._task.trn.data, self._task.trn.store
        for part in range(self._recipe.accumulation):
            batch = self.sampler.batch(
                step * self._recipe.accumulation + part, accelerator.process_index, accelerator.num_processes
            )
            with accelerator.accumulate(model):
                features = encoder.features(data, store, batch.images, self._task.trn.prefixes)
                losses = batch_loss(features, batch, data, store, encoder.backbone.stride, self._recipe.loss)
                loss = losses.mean()
                pair = first_bad_pair(losses.detach(), batch, data)
                self._stop_unless_finite(accelerator, loss.detach(), "loss", step, pair)
                penalty = self._strategy.penalty(encoder.backbone)
                accelerator.backward(loss if penalty is None else loss + penalty)
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(parameters, self._recipe.gradient_clip)
                    if accelerator.mixed_precision != "fp16":  # whose scaler skips overflowing steps itself
                        self._stop_unless_finite(accelerator, norm, "gradient", step, pair)
                optimizer.step()
                if accelerator.sync_gradients and not accelerator.optimizer_step_was_skipped:
                    self._strategy.after_step(encoder.backbone, step + 1, steps)
                optimizer.zero_grad()
            total += float(loss.detach())
            pairs += batch.pairs()
        return total / self._recipe.accumulation, pairs

    @staticmethod
    def _stop_unless_finite(accelerator: Accelerator, value: Tensor, what: str, step: int, pair: str) -> None:
        finite = torch.isfinite(value)
        if accelerator.num_processes > 1:  # every process must stop at once, or the others wait for ever
            finite = accelerator.gather(finite.reshape(1)).all()
        if not bool(finite):
            raise TrainingDiverged(
                f"The {what} is not finite at step {step + 1}, pair {pair}: lower training.learning_rate, or look at "
                "that pair's images and annotation. The last saved state is kept."
            )

    def _validate(self, state: TrainingState, keep: bool) -> None:
        assert self._task.val is not None
        silent = replace(self._evaluator, progress=Progress(None))
        with torch.inference_mode():
            points = silent.predict(self._task.val, [self._task.predictor]).points[0]
        pck = validation_pck(self._task.val.data, points)
        if not state.validation or pck > max(point.pck for point in state.validation):
            state.best_step = state.step
            own = self._strategy.state_dict(self._encoder.backbone)
            state.best = {name: tensor.clone() for name, tensor in own.items()}
        state.validation.append(ValidationPoint(step=state.step, seconds=state.seconds, pck=pck))
        if keep:
            self._progress.say(f"step {state.step}: validation PCK@{VALIDATION_ALPHA} {pck:.2f}")


def colour_jitter(strength: float) -> Callable[[Tensor], Tensor] | None:
    """The augmentation of a recipe's ``training.colour_jitter``, which moves no keypoint."""
    if not strength:
        return None
    from torchvision.transforms.v2 import ColorJitter  # slow to import, and most runs have no use for it

    jitter: Callable[[Tensor], Tensor] = ColorJitter(strength, strength, strength, strength / 4)
    return jitter


def validation_pck(data: Correspondences, points: Floats) -> float:
    """PCK@0.1 per keypoint, in percent, of predictions (N, 2) in original pixels."""
    return split_pck(data, points, [VALIDATION_ALPHA])[f"{VALIDATION_ALPHA:g}"]
