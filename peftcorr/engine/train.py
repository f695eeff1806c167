"""Training: Accelerate owns device, precision, processes and state; this file owns the order of events."""

from __future__ import annotations

import statistics
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor

from peftcorr.console.progress import Progress
from peftcorr.data.correspondences import Correspondences, Floats
from peftcorr.engine.checkpoint import Checkpoints, TrainingState, read_search, write_search
from peftcorr.engine.decoding import decode
from peftcorr.engine.evaluate import Evaluator
from peftcorr.engine.optimisation import Optimisation, Stepped
from peftcorr.engine.task import Task
from peftcorr.engine.trackers import Trackers
from peftcorr.engine.validation import split_pck
from peftcorr.errors import PeftCorrError, RecipeFails, TrainingDiverged
from peftcorr.machine.agreement import agreed
from peftcorr.machine.termination import Terminated, asked, held
from peftcorr.recipe import Training
from peftcorr.results.environment import PeakMemory
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


class Trainer:
    """Trains what a strategy left trainable, on one split, selecting the best step on another.

    Args:
        task: what is to be learned.
        strategy: applied to the evaluator's backbone already.
        evaluator: validates; its encoder has no wrapper.
        folder: where the resumable state goes.
        trackers: are told of the training's curves, not of those of a search.

    Attributes:
        sampler: draws the batches.
        losses: of the steps that this process has made, since the last resume.
    """

    def __init__(
        self,
        task: Task,
        strategy: Strategy,
        evaluator: Evaluator,
        folder: Path,
        trackers: Trackers | None = None,
    ):
        self._task, self._strategy, self._evaluator, self._folder = task, strategy, evaluator, folder
        self._trackers = trackers
        self._encoder = evaluator.encoder
        self._progress = evaluator.progress
        _check_share(task.recipe, evaluator.accelerator)
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
        decode(self._task.trn.data, self._task.trn.store)
        rate, search = self._searched(start)
        state = TrainingState()
        self._fit(rate, self._task.recipe.steps, state, "train")
        if state.best is not None:
            self._strategy.load_state_dict(self._encoder.backbone, state.best)
        best = state.best_step if state.best is not None else state.step
        return Trained(state.step, state.seconds, rate, best, state.validation, search)

    def _searched(self, start: dict[str, Tensor]) -> tuple[float, list[SearchPoint]]:
        own = self._task.recipe.learning_rate or self._strategy.learning_rate()
        search = self._task.recipe.search
        if search is None:
            return own, []
        if self._task.val is None:
            raise RecipeFails("training.search needs a validation split, which this dataset does not have.")
        done = agreed(lambda: read_search(self._folder, self._progress.say))
        for number, rate in enumerate(search.learning_rates[len(done) :], start=len(done) + 1):
            state = TrainingState()
            try:
                self._fit(rate, search.steps, state, f"search {rate:g}", f"search-{number}-step")
                pck = state.validation[-1].pck
            except TrainingDiverged:
                pck = 0.0  # a rate that diverges is a candidate that lost
            self._strategy.load_state_dict(self._encoder.backbone, start)
            done.append(SearchPoint(learning_rate=rate, steps=search.steps, seconds=state.seconds, pck=pck))
            self._progress.say(f"learning rate {rate:g}: validation PCK@{VALIDATION_ALPHA} {pck:.2f}")
            if self._evaluator.accelerator.is_main_process:
                write_search(self._folder, done, number)
        return max(done, key=lambda point: point.pck).learning_rate, done

    def _fit(
        self, rate: float, steps: int, state: TrainingState, name: str, candidate: str | None = None
    ) -> None:
        """Train; a candidate of the search, whose states have that name, is validated at its end alone."""
        keep = candidate is None
        set_seed(self._task.seed)
        backbone, recipe, task = self._encoder.backbone, self._task.recipe, self._task
        run = Optimisation(self._strategy, self._encoder, task, rate, steps, self.sampler, self._progress.say)
        checkpoints = Checkpoints(
            self._folder, run.accelerator, self._strategy, backbone, state, candidate or "step"
        )
        if checkpoints.resume(self._progress.say):
            self._progress.say(f"{name}: going on from step {state.step} of {steps}")
        self.losses = []
        trackers = self._trackers if keep else None
        if trackers is not None:
            trackers.begin(state.step)
        resumed, begun = state.seconds, time.monotonic()
        pairs = 0

        def spent() -> float:
            return resumed + time.monotonic() - begun - (0.0 if trackers is None else trackers.seconds)

        def due(every: int, along_the_way: bool, at_the_end: bool = True) -> bool:
            last = state.step == steps
            return state.step > 0 and (at_the_end if last else along_the_way and state.step % every == 0)

        # One process may stop anywhere but within a step; several have to agree, after one.
        several = run.accelerator.num_processes > 1
        with held() if several else nullcontext():
            try:
                with self._progress.track(name, steps, "steps", state.step) as bar:
                    saved = state.step
                    while True:
                        validated = [point.step for point in state.validation][-1:] == [state.step]
                        if task.val is not None and due(recipe.validate_every, keep) and not validated:
                            self._validate(state, keep)
                        if due(recipe.checkpoint_every, True, at_the_end=keep) and state.step > saved:
                            state.seconds = spent()
                            checkpoints.save()
                        if several and self._any_asked(run.accelerator):
                            raise Terminated
                        if state.step >= steps:
                            break
                        with held():
                            backbone.train()
                            stepping = 0.0 if trackers is None else time.monotonic()
                            made = run.step(state.step)
                            self.losses.append(made.loss)
                            state.losses.append(made.loss)
                            pairs += made.pairs
                            state.step += 1
                            state.seconds = spent()
                            if trackers is not None:
                                self._tell(trackers, made, time.monotonic() - stepping, state.step)
                        speed = pairs / max(state.seconds - resumed, 1e-9)
                        bar.update(state.step, f"loss {made.loss:.4f}, {speed:,.0f} pairs/s")
            except Terminated:
                if state.step:
                    checkpoints.save()
                raise
            finally:
                if trackers is not None:
                    trackers.end()
        state.seconds = spent()
        run.close()

    @staticmethod
    def _any_asked(accelerator: Accelerator) -> bool:
        told = torch.tensor([float(asked())], device=accelerator.device)
        return bool(accelerator.reduce(told, "sum") > 0)

    def _tell(self, trackers: Trackers, made: Stepped, seconds: float, step: int) -> None:
        values = {
            "train/loss": made.loss,
            "train/learning_rate": made.rate,
            "train/gradient_norm": float(made.norm),
            "train/pairs_per_second": made.pairs / max(seconds, 1e-9),
            "train/peak_memory_bytes": PeakMemory(self._evaluator.accelerator.device).read(),
        }
        trackers.log(values, step)

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
        loss = statistics.fmean(state.losses) if state.losses else None
        with held():  # a point that is kept is told
            state.validation.append(
                ValidationPoint(step=state.step, seconds=state.seconds, pck=pck, loss=loss)
            )
            state.losses = []
            if keep and self._trackers is not None:
                self._trackers.log({f"validation/pck_{VALIDATION_ALPHA:g}": pck}, state.step)
        if keep:
            self._progress.say(f"step {state.step}: validation PCK@{VALIDATION_ALPHA} {pck:.2f}")


def validation_pck(data: Correspondences, points: Floats) -> float:
    """PCK@0.1 per keypoint, in percent, of predictions (N, 2) in original pixels."""
    return split_pck(data, points, [VALIDATION_ALPHA])[f"{VALIDATION_ALPHA:g}"]


def _check_share(recipe: Training, accelerator: Accelerator) -> None:
    """Refuse more processes than a step has work for.

    Raises:
        PeftCorrError: if there are.
    """
    key = "images" if recipe.sampler == "cliques" else "pairs"
    count: int = getattr(recipe, key)
    if accelerator.num_processes > count:
        raise PeftCorrError(
            f"A step of training.{key}={count} cannot be shared out among {accelerator.num_processes} processes: raise "
            f"training.{key}, or start fewer processes."
        )
