"""One training step, the same whatever the number of processes that share it out.

A step's batch is drawn by all processes alike. Each encodes its share of the images and takes the loss of its share of
the correspondences; the gradient that they average is that of the mean over all correspondences. What is random in a
step is drawn anew from the seed: of an image's colours from (seed, step, image), whoever encodes it; of a layer's
dropout, which draws for all images of a process at once, from (seed, step, process).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import get_cosine_schedule_with_warmup

from peftcorr.engine.batches import Batch, Sampler
from peftcorr.engine.step import batch_loss, first_bad, pair_name
from peftcorr.engine.task import Task
from peftcorr.errors import TrainingDiverged
from peftcorr.features.encode import Encoder
from peftcorr.strategies.base import Strategy


class Optimisation:
    """What one training steps with: Accelerate's model and optimiser, the schedule and the batches.

    Args:
        strategy: applied to the encoder's backbone already.
        encoder: has the backbone and its first trainable block.
        task: what is to be learned.
        rate: learning rate after the warm-up.
        steps: of the whole training.
        sampler: draws the batches.
    """

    def __init__(
        self, strategy: Strategy, encoder: Encoder, task: Task, rate: float, steps: int, sampler: Sampler
    ):
        recipe, self._backbone = task.recipe, encoder.backbone
        self._strategy, self._task, self._steps, self._sampler = strategy, task, steps, sampler
        self.accelerator = Accelerator(gradient_accumulation_steps=recipe.accumulation)
        self._parameters = [parameter for parameter in self._backbone.parameters() if parameter.requires_grad]
        plain = torch.optim.AdamW(self._parameters, lr=rate, weight_decay=recipe.weight_decay)
        self._schedule = get_cosine_schedule_with_warmup(plain, math.ceil(recipe.warmup * steps), steps)
        self._model, self._optimizer = self.accelerator.prepare(self._backbone, plain)
        self.accelerator.register_for_checkpointing(self._schedule)
        device, autocast = self.accelerator.device, self.accelerator.autocast
        self._encoder = Encoder(self._backbone, self._model, device, autocast, encoder.first_trainable)
        self._jitter = colour_jitter(recipe.colour_jitter)

    def step(self, step: int) -> tuple[float, int]:
        """One optimiser step over `accumulation` batches; returns their mean loss and their number of pairs.

        Raises:
            TrainingDiverged: if a loss or gradient is not finite, naming the step and the pair.
        """
        accelerator, recipe = self.accelerator, self._task.recipe
        total, pairs = 0.0, 0
        for part in range(recipe.accumulation):
            draw = step * recipe.accumulation + part
            batch = self._sampler.batch(draw)
            with accelerator.accumulate(self._model):
                loss, mean, pair = self._loss(batch, draw)
                self._stop_unless(math.isfinite(mean), "loss", step, pair)
                penalty = self._strategy.penalty(self._backbone)
                accelerator.backward(loss if penalty is None else loss + penalty)
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(self._parameters, recipe.gradient_clip)
                    if accelerator.mixed_precision != "fp16":  # whose scaler skips overflowing steps itself
                        self._stop_unless(bool(torch.isfinite(norm)), "gradient", step, pair)
                self._optimizer.step()
                if accelerator.sync_gradients and not accelerator.optimizer_step_was_skipped:
                    self._strategy.after_step(self._backbone, step + 1, self._steps)
                self._optimizer.zero_grad()
            total += mean
            pairs += batch.pairs()
        self._schedule.step()
        return total / recipe.accumulation, pairs

    def close(self) -> None:
        """Take the backbone out of what Accelerate wrapped round it."""
        self.accelerator.unwrap_model(self._model, keep_fp32_wrapper=False)
        self.accelerator.free_memory()

    def _loss(self, batch: Batch, draw: int) -> tuple[Tensor, float, str]:
        """What this process goes backward from, the mean over all correspondences, and a pair to blame."""
        accelerator, trn = self.accelerator, self._task.trn
        processes, process = accelerator.num_processes, accelerator.process_index
        share = batch.share(process, processes)
        # A process without an image of its own encodes one all the same, since all must enter the wrapper.
        numbers = batch.images[share.slots] if len(share.slots) else batch.images[:1]
        torch.manual_seed(_seed(self._task.seed, draw, process))
        self._encoder.augment = None if self._jitter is None else _Drawn(self._jitter, self._task.seed, draw)
        features = self._encoder.features(trn.data, trn.store, numbers, trn.prefixes)[: len(share.slots)]
        exchange = _exchange if processes > 1 else None
        stride, config = self._backbone.stride, self._task.recipe.loss
        losses = batch_loss(features, batch, trn, stride, config, share, exchange)
        everything = len(batch.query_slot)
        loss = losses.sum() / everything
        # One copy to the host for both: it waits for all that the device was given to do.
        mean, place = torch.stack((loss.detach().float(), first_bad(losses.detach()).float())).tolist()
        bad = int(share.rows[int(place)]) if place < len(share.rows) else everything
        if processes > 1:
            # All processes must stop at once, or the others would wait for ever.
            told = accelerator.gather(torch.tensor([[mean, bad]], device=losses.device))
            mean, bad = float(told[:, 0].sum()), int(told[:, 1].min())
        # The wrapper averages gradients over the processes, each of which has a share of one mean.
        return loss * processes, mean, pair_name(batch, bad % everything, trn.data)

    def _stop_unless(self, finite: bool, what: str, step: int, pair: str) -> None:
        if not finite:
            raise TrainingDiverged(
                f"The {what} is not finite at step {step + 1}, pair {pair}: lower training.learning_rate, or look at "
                "that pair's images and annotation. The last saved state is kept."
            )


def _exchange(tensor: Tensor) -> Tensor:
    """Sum over the processes; the gradient of each process's part is the sum of what all of them make of it."""
    from torch.distributed.nn.functional import all_reduce

    total: Tensor = all_reduce(tensor)  # type: ignore[no-untyped-call]
    return total


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


class _Drawn:
    """Changes an image's colours as drawn from (seed, draw, image)."""

    def __init__(self, jitter: Callable[[Tensor], Tensor], seed: int, draw: int):
        self._jitter, self._seed, self._draw = jitter, seed, draw

    def __call__(self, image: Tensor, number: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(self._seed, self._draw, 1, number))
            return self._jitter(image)


def colour_jitter(strength: float) -> Callable[[Tensor], Tensor] | None:
    """The augmentation of a recipe's ``training.colour_jitter``, which moves no keypoint."""
    if not strength:
        return None
    from torchvision.transforms.v2 import ColorJitter  # slow to import, and most runs have no use for it

    jitter: Callable[[Tensor], Tensor] = ColorJitter(strength, strength, strength, strength / 4)
    return jitter
