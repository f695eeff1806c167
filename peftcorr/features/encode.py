"""Encoding: images to feature maps, and how many images went through the encoder for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone, TokenState
from peftcorr.data.correspondences import Correspondences, Ints
from peftcorr.data.frame import RESIZINGS
from peftcorr.data.images import ImageStore
from peftcorr.features.prefix import Prefixes
from peftcorr.machine.devices import rounding
from peftcorr.machine.halving import Halving, slices

Autocast = Callable[[], AbstractContextManager[None]]


def autocast(precision: str, device: torch.device) -> Autocast:
    """The context for a precision: ``fp32`` rounds nothing, ``tf32`` (on NVIDIA's GPUs) and ``bf16`` round products."""
    if precision == "bf16":
        return partial(torch.autocast, device.type, dtype=torch.bfloat16)
    return partial(rounding, precision == "tf32") if device.type == "cuda" else nullcontext


class Encoder:
    """A backbone with its images: features by image number, without ever encoding one twice in a row of calls.

    Args:
        backbone: the adapted backbone.
        model: what is called for the features: the backbone, or what the engine wrapped it in.
        device: where it runs.
        autocast: context that sets the precision.
        first_trainable: everything before this block never changes; it is computed once an image.
        halving: has it encode fewer at once where memory runs out; without one, what `features` is given is encoded at
            once. Not for what is trained, which needs all of its images' gradients.
        augment: changes an image (3, H, W), uint8, given its number, anew each time that it is encoded; keypoints stay
            where they are.

    Attributes:
        forwards: images that went through the blocks that are trained, or through all of them.
        prefix_forwards: images that went through the frozen blocks alone, to be kept.
    """

    def __init__(
        self,
        backbone: Backbone,
        model: nn.Module | None = None,
        device: torch.device | None = None,
        autocast: Autocast = nullcontext,
        first_trainable: int = 0,
        augment: Callable[[Tensor, int], Tensor] | None = None,
        halving: Halving | None = None,
    ):
        self.backbone = backbone
        self.model = backbone if model is None else model
        self.device = device or torch.device("cpu")
        self.autocast = autocast
        self.first_trainable = first_trainable
        self.augment = augment
        self.halving = halving
        self.forwards = 0
        self.prefix_forwards = 0

    def load(self, data: Correspondences, store: ImageStore, numbers: Ints) -> Tensor:
        """Images (B, 3, H, W), uint8, not on the device yet: for a thread that works ahead.

        For a GPU they are in memory that it fetches by itself, while the host goes on.
        """
        images = store.get([data.images[n] for n in numbers], [data.sizes[n] for n in numbers])
        return images.pin_memory() if self.device.type == "cuda" else images

    def images(
        self, data: Correspondences, store: ImageStore, numbers: Ints, loaded: Tensor | None = None
    ) -> Tensor:
        """Preprocessed images (B, 3, H, W) on the device; `loaded` is what `load` gave for them, if it was called."""
        raw = self.load(data, store, numbers) if loaded is None else loaded
        if self.augment is not None:
            raw = torch.stack([self.augment(image, int(n)) for image, n in zip(raw, numbers, strict=True)])
        raw = raw.to(self.device, non_blocking=True)
        padding = RESIZINGS[store.mode].padding
        if padding != "zero" and not (padding == "backbone" and self.backbone.pads_normalised):
            return self.backbone.preprocess(raw)
        extents = [store.frame(data.images[n], data.sizes[n]).extent for n in numbers]
        return self.backbone.preprocess(raw, extents)

    def features(
        self,
        data: Correspondences,
        store: ImageStore,
        numbers: Ints,
        prefixes: Prefixes | None = None,
        loaded: Tensor | None = None,
    ) -> Tensor:
        """Features (B, C, h, w) of the images `numbers`; gradients follow the caller's grad mode."""
        self.forwards += len(numbers)

        def in_parts(most: int) -> Tensor:
            parts = [
                self._features(data, store, numbers[part], prefixes, None if loaded is None else loaded[part])
                for part in slices(len(numbers), most)
            ]
            return parts[0] if len(parts) == 1 else torch.cat(parts)

        return in_parts(len(numbers)) if self.halving is None else self.halving.run(len(numbers), in_parts)

    def _features(
        self,
        data: Correspondences,
        store: ImageStore,
        numbers: Ints,
        prefixes: Prefixes | None,
        loaded: Tensor | None,
    ) -> Tensor:
        if prefixes is None or self.first_trainable == 0:
            self._condition(data, numbers)
            result: Tensor = self.model(self.images(data, store, numbers, loaded))
            return result
        state = self._state(data, store, numbers, prefixes)
        return self.model(state, self.first_trainable)  # type: ignore[no-any-return]

    def _state(
        self, data: Correspondences, store: ImageStore, numbers: Ints, prefixes: Prefixes
    ) -> TokenState:
        keys = [self.key(data, number) for number in numbers]
        new = prefixes.missing(keys)
        if new:
            fresh = np.array([numbers[keys.index(key)] for key in new])
            self.prefix_forwards += len(fresh)
            self._condition(data, fresh)
            with torch.no_grad(), self.autocast():
                state = self.backbone.prefix(self.images(data, store, fresh), self.first_trainable)
            prefixes.put(new, state)
        return prefixes.get(keys, self.device)

    def _condition(self, data: Correspondences, numbers: Ints) -> None:
        if self.backbone.uses_categories:
            self.backbone.condition([data.categories[number] for number in numbers])

    def key(self, data: Correspondences, number: int) -> str:
        """What an image's state is kept under: its path, and its category where that changes the state."""
        path = data.images[number]
        return f"{data.categories[number]}\0{path}" if self.backbone.uses_categories else path
