"""One training step, the same whatever the number of processes that share it out.

A step's batch is drawn by all processes alike. Each encodes its share of the images and takes the loss of its share of
the correspondences; the gradient that they average is that of the mean over all correspondences. What is random in a
step is drawn anew from the seed: of an image's colours from (seed, step, image), whoever encodes it; of a layer's
dropout, which draws for all images of a process at once, from (seed, step, process).

Where memory runs out in a step of one process, its images are encoded a few at a time: once without a gradient, for the
loss and its gradient at the features, then again, each part with its own. The sum is the gradient of the whole batch
(Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", RepL4NLP 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from peftcorr.data.correspondences import Ints
from peftcorr.engine.ahead import Ahead
from peftcorr.engine.batches import Batch, Sampler, Share
from peftcorr.engine.checkpointing import checkpointing
from peftcorr.engine.step import batch_loss, first_bad, pair_name
from peftcorr.engine.task import Task
from peftcorr.errors import TrainingDiverged
from peftcorr.features.encode import Encoder
from peftcorr.machine.halving import Halving, slices
from peftcorr.strategies.base import Strategy


@dataclass(frozen=True)
class Stepped:
    """What one optimiser step was.

    Attributes:
        loss: mean over its batches.
        pairs: that they supervised.
        rate: learning rate that it was made with.
        norm: of the gradient before it was clipped, (); on the device, so that nobody waits for it unasked.
    """

    loss: float
    pairs: int
    rate: float
    norm: Tensor


class Optimisation:
    """What one training steps with: Accelerate's model and optimiser, the schedule and the batches.

    Args:
        strategy: applied to the encoder's backbone already.
        encoder: has the backbone and its first trainable block.
        task: what is to be learned.
        rate: learning rate after the warm-up.
        steps: of the whole training.
        sampler: draws the batches.
        say: prints a line.
    """

    def __init__(
        self,
        strategy: Strategy,
        encoder: Encoder,
        task: Task,
        rate: float,
        steps: int,
        sampler: Sampler,
        say: Callable[[str], None] = print,
    ):
        recipe, self._backbone = task.recipe, encoder.backbone
        self._strategy, self._task, self._steps, self._sampler = strategy, task, steps, sampler
        self.accelerator = Accelerator(gradient_accumulation_steps=recipe.accumulation)
        self._parameters = [parameter for parameter in self._backbone.parameters() if parameter.requires_grad]
        fused = (
            True if self.accelerator.device.type == "cuda" else None
        )  # the CPU's rounds otherwise than it did
        plain = torch.optim.AdamW(self._parameters, lr=rate, weight_decay=recipe.weight_decay, fused=fused)
        self._schedule = LambdaLR(plain, partial(_share_of_rate, math.ceil(recipe.warmup * steps), steps))
        self._model, self._optimizer = self.accelerator.prepare(self._backbone, plain)
        self.accelerator.register_for_checkpointing(self._schedule)
        device, autocast = self.accelerator.device, self.accelerator.autocast
        self._encoder = Encoder(self._backbone, self._model, device, autocast, encoder.first_trainable)
        self._drawn: dict[int, Batch] = {}
        # On a CPU the thread would take from the step what it gives; kept states are read where they are needed.
        kept = task.trn.prefixes is not None and encoder.first_trainable > 0
        self._ahead = None if device.type == "cpu" or kept else Ahead(self._load)
        self._jitter = colour_jitter(recipe.colour_jitter)
        self._halving = Halving("training on {} images at once", say)
        # Other processes would wait for what this one does again, and statistics of a batch are not those of its parts.
        whole = any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self._backbone.modules()
        )
        self._may_halve = self.accelerator.num_processes == 1 and not whole

    def step(self, step: int) -> Stepped:
        """One optimiser step over `accumulation` batches.

        Raises:
            TrainingDiverged: if a loss or gradient is not finite, naming the step and the pair.
        """
        accelerator, recipe = self.accelerator, self._task.recipe
        batches = self._batches(step)
        counted = accelerator.step

        def attempt(most: int) -> tuple[float, str]:
            accelerator.step = counted  # a try that found no room left both half done
            for parameter in self._parameters:
                parameter.grad = None
            total, pair = 0.0, ""
            for draw, batch in batches:
                with (
                    accelerator.accumulate(self._model),
                    checkpointing(self._backbone, recipe.gradient_checkpointing),
                ):
                    mean, pair = self._gradient(batch, draw, step, most)
                total += mean
            return total, pair

        images = max(len(batch.images) for _, batch in batches)
        total, pair = self._halving.run(images, attempt) if self._may_halve else attempt(images)
        if self._ahead is not None and step + 1 < self._steps:  # the device is at the backward pass still
            self._ahead.expect([self._own(following) for _, following in self._batches(step + 1)])
        norm = accelerator.clip_grad_norm_(self._parameters, recipe.gradient_clip)
        if accelerator.mixed_precision != "fp16":  # whose scaler skips overflowing steps itself
            self._stop_unless(bool(torch.isfinite(norm)), "gradient", step, pair)
        rate = float(self._schedule.get_last_lr()[0])
        self._optimizer.step()
        if not accelerator.optimizer_step_was_skipped:
            self._strategy.after_step(self._backbone, step + 1, self._steps)
        self._optimizer.zero_grad()
        self._schedule.step()
        pairs = sum(batch.pairs() for _, batch in batches)
        return Stepped(total / recipe.accumulation, pairs, rate, norm)

    def _batches(self, step: int) -> list[tuple[int, Batch]]:
        """The batches of a step, each with its number; every one is drawn once."""
        count = self._task.recipe.accumulation
        self._drawn = {
            draw: self._drawn[draw] if draw in self._drawn else self._sampler.batch(draw)
            for draw in range(step * count, (step + 1) * count)
        }
        return list(self._drawn.items())

    def _own(self, batch: Batch) -> Ints:
        """The images of a batch that this process encodes."""
        slots = batch.share(self.accelerator.process_index, self.accelerator.num_processes).slots
        # A process without an image of its own encodes one all the same, since all must enter the wrapper.
        return batch.images[slots] if len(slots) else batch.images[:1]

    def _load(self, numbers: Ints) -> Tensor:
        return self._encoder.load(self._task.trn.data, self._task.trn.store, numbers)

    def close(self) -> None:
        """Take the backbone out of what Accelerate wrapped round it."""
        if self._ahead is not None:
            self._ahead.close()
        self.accelerator.unwrap_model(self._model, keep_fp32_wrapper=False)
        self.accelerator.free_memory()

    def _gradient(self, batch: Batch, draw: int, step: int, most: int) -> tuple[float, str]:
        """Add the gradient of a batch's loss, with `most` images at a time; returns that loss and a pair to blame."""
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        share = batch.share(process, processes)
        numbers = self._own(batch)
        self._encoder.augment = None if self._jitter is None else _Drawn(self._jitter, self._task.seed, draw)
        if len(numbers) <= most:
            return self._backward(self._features(numbers, draw), batch, share, step)
        parts = [numbers[part] for part in slices(len(numbers), most)]
        with torch.no_grad():
            features = torch.cat([self._features(part, draw, n) for n, part in enumerate(parts)])
        outcome = self._backward(features.requires_grad_(), batch, share, step)
        assert features.grad is not None
        gradients: tuple[Tensor, ...] = torch.split(features.grad, most)
        for n, (part, gradient) in enumerate(zip(parts, gradients, strict=True)):
            torch.autograd.backward(self._features(part, draw, n), gradient)
        return outcome

    def _backward(self, features: Tensor, batch: Batch, share: Share, step: int) -> tuple[float, str]:
        """Go backward from the loss of features, up to what they were computed from."""
        loss, mean, pair = self._loss(features[: len(share.slots)], batch, share)
        self._stop_unless(math.isfinite(mean), "loss", step, pair)
        penalty = self._strategy.penalty(self._backbone)
        self.accelerator.backward(loss if penalty is None else loss + penalty)
        return mean, pair

    def _features(self, numbers: Ints, draw: int, part: int = 0) -> Tensor:
        """Features of some images of a batch, with what is random in them drawn anew."""
        trn, place = self._task.trn, self.accelerator.process_index
        torch.manual_seed(_seed(self._task.seed, draw, place, *([part] if part else [])))
        loaded = None if self._ahead is None else self._ahead.take(numbers)
        return self._encoder.features(trn.data, trn.store, numbers, trn.prefixes, loaded)

    def _loss(self, features: Tensor, batch: Batch, share: Share) -> tuple[Tensor, float, str]:
        """What this process goes backward from, the mean over all correspondences, and a pair to blame."""
        accelerator, trn = self.accelerator, self._task.trn
        processes = accelerator.num_processes
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


def _share_of_rate(warmup: int, steps: int, step: int) -> float:
    """Share of the learning rate after `step` steps: a line up, then half a cosine down to 0.

    That of transformers' ``get_cosine_schedule_with_warmup``, whose import takes longer than many a search.
    """
    if step < warmup:
        return step / max(1, warmup)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((step - warmup) / max(1, steps - warmup)))))


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
            if image.is_floating_point():  # from 0 to 255; of floats the transform takes 0 to 1
                return 255 * self._jitter(image / 255)
            return self._jitter(image)


def colour_jitter(strength: float) -> Callable[[Tensor], Tensor] | None:
    """The augmentation of a recipe's ``training.colour_jitter``, which moves no keypoint."""
    if not strength:
        return None
    from torchvision.transforms.v2 import ColorJitter  # slow to import, and most runs have no use for it

    jitter: Callable[[Tensor], Tensor] = ColorJitter(strength, strength, strength, strength / 4)
    return jitter
