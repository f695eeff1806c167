"""Evaluation: every image is encoded once, and all keypoints that share a target are matched in one product.

Images are encoded window by window, in an order in which few maps wait (`schedule`). Of each image its queries are
sampled at once; its map waits until the sources of all its pairs are encoded, in memory up to a budget and on disk
beyond. Each process encodes its share of a window and matches its own images as targets; the processes exchange
queries (a few kilobytes an image), not maps: how many images are encoded does not depend on how many processes
there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from peftcorr.console.progress import Progress
from peftcorr.data.base import PairDataset
from peftcorr.data.correspondences import Correspondences, Floats, Geometry, Ints
from peftcorr.data.frame import FRAMINGS
from peftcorr.data.guard import require_open
from peftcorr.data.images import Frame, ImageStore
from peftcorr.engine.corners import EACH, Corners, asked
from peftcorr.engine.matcher import Matcher
from peftcorr.engine.schedule import Queries, Room, schedule
from peftcorr.features.encode import Encoder
from peftcorr.features.kept import Kept, MapCache, MapShelf
from peftcorr.features.maps import WaitingMaps
from peftcorr.features.prefix import Prefixes
from peftcorr.machine.halving import Halving
from peftcorr.matching.conventions import PEFTCORR, Convention
from peftcorr.matching.predictors import Argmax, BilinearArgmax, Predictor

_AUTO = 64  # images that `encode_batch: auto` begins with on a device
_AUTO_ON_CPU = 16  # where more gain nothing, and a system kills what takes too much
MEMORY = 2 << 30  # bytes of features held at once, by default
_CHUNK = 1 << 14  # points moved at once from the input's pixels to the image's


@dataclass(frozen=True)
class Split:
    """A split ready to be scored: its arrays and its images; `backwards` if they go from target to source."""

    dataset: PairDataset
    data: Correspondences
    store: ImageStore
    prefixes: Prefixes | None = None
    backwards: bool = False


@dataclass(frozen=True)
class Predicted:
    """What was predicted for the N correspondences of a split.

    Attributes:
        points: x, y in the target's original frame, (P, N, 2), in the order of the predictors, each of which gives its
            `Predictor.points`.
        peaks: highest similarity of each correspondence's map, (N,): a cosine, but where a convention multiplies
            features as they are.
    """

    points: Floats
    peaks: NDArray[np.float32]


@dataclass(frozen=True)
class Evaluator:
    """Predicts splits: the encoder, and what of the machine it may use.

    Attributes:
        encoder: gives the features.
        accelerator: says which process of how many this is.
        batch: images encoded at once; fewer where `memory` says so.
        progress: shows how far it is.
        memory: bytes of features that this process may hold: maps of the window under way, maps that wait, queries
            and similarity maps. Maps beyond it wait on disk. What the encoder needs inside does not count, and one
            image's map fits always.
        cache: where features of earlier runs are, and where new ones are kept.
        convention: how keypoints, features and points come together.
    """

    encoder: Encoder
    accelerator: Accelerator
    batch: int
    progress: Progress
    memory: int = MEMORY
    cache: MapCache | None = None
    convention: Convention = PEFTCORR

    def predict(
        self,
        split: Split,
        predictors: Sequence[Predictor],
        keep: Callable[[Ints, Tensor], None] | None = None,
    ) -> Predicted:
        """Predict every correspondence of a split with every predictor, each from the same similarity maps.

        Args:
            split: the split.
            predictors: each has its rows of the points.
            keep: is given the images of each window and their maps (B, h, w, C), for what comes later.

        Raises:
            PeftCorrError: if an image cannot be decoded, a disk has no room for the maps beyond `memory` or for the
                cache, or it is a test split while a run still trains or selects.
        """
        require_open(split.dataset.split)
        store = split.store
        if self.cache is not None:
            # What is kept for later processes must not come from pixels decoded long ago.
            store = ImageStore(store.image_root, store.size, store.mode)
        title = f"score {split.dataset.name}/{split.dataset.split}"
        return self.matched(
            split.data, store, predictors, title, split.prefixes, dataset=split.dataset.name, keep=keep
        )

    def matched(
        self,
        data: Correspondences,
        store: ImageStore,
        predictors: Sequence[Predictor],
        title: str,
        prefixes: Prefixes | None = None,
        dataset: str = "",
        keep: Callable[[Ints, Tensor], None] | None = None,
    ) -> Predicted:
        """As `predict`, for images and points of any origin.

        Args:
            data: which points are looked for in which images; nobody asks where they truly are.
            store: has the images.
            predictors: as in `predict`.
            title: of the bar that shows how far it is.
            prefixes: what frozen blocks make of the images.
            dataset: name of the dataset whose points they are: a convention may round those of some.
            keep: as in `predict`.

        Raises:
            PeftCorrError: as `predict`.
        """
        encoder, accelerator = self.encoder, self.accelerator
        if len(data) and asked(predictors):
            corners = Corners.of(data, store, self.convention, encoder.backbone.stride, dataset)
            plain = [Argmax(p.config) if isinstance(p, BilinearArgmax) else p for p in predictors]
            found = self.matched(corners.data, store, plain, title, prefixes, "", keep)
            return Predicted(corners.merged(found.points, predictors), found.peaks[::EACH])
        images = _Images(data, store, prefixes)
        stride = encoder.backbone.stride
        cells = store.size // stride
        shape = (cells, cells, encoder.backbone.channels)
        room = Room.of(self.memory, shape, self.batch)
        plan = schedule(data, room.batch, accelerator.process_index, accelerator.num_processes)
        waiting = WaitingMaps(shape, plan.most_waiting, room.for_waiting(plan), encoder.device)
        convention = self.convention
        geometry = Geometry(len(data.images), FRAMINGS[convention.name].placing)
        matcher = Matcher(
            plan,
            len(data),
            predictors,
            stride,
            shape,
            room.similarity,
            encoder.device,
            convention,
            geometry.sizes,
        )
        shelf = None
        if self.cache is not None:
            every = np.concatenate(plan.windows)
            form = None if convention.before == PEFTCORR.before else f"{convention.before}"
            shelf = self.cache.shelf(data, store, encoder, every, shape, self.progress.say, form=form)
        encoder.backbone.eval()
        with torch.inference_mode(), self.progress.track(title, len(data.images), "images") as bar:
            load = partial(_load, images, encoder, shelf)
            for window, loaded in enumerate(_ahead(plan.windows, load)):
                geometry.learn(loaded.images, loaded.frames)
                maps = _encode(images, encoder, shelf, loaded, shape, convention)
                if keep is not None:
                    keep(loaded.images, maps)
                queries = self._sample(
                    plan.queries, window, loaded.images, maps, geometry, store.size, dataset
                )
                matcher.add(self._summed(queries))
                here = dict(zip(loaded.images.tolist(), maps, strict=True))
                for image in loaded.images[plan.waits[loaded.images]].tolist():
                    waiting.put(image, here.pop(image))
                matcher.match(window, partial(_take, here, waiting))
                bar.advance(len(loaded.images) * accelerator.num_processes)
        points: Floats = matcher.predicted.cpu().numpy()
        for start in range(0, len(plan.rows), _CHUNK):  # in place: what this takes stays small
            rows = plan.rows[start : start + _CHUNK]
            if not convention.enlarged:  # else they are the original's already
                placed = convention.to_frame(points[:, rows], store.size, stride)
                points[:, rows] = geometry.to_original(placed, data.target[data.pair[rows]])
        if accelerator.num_processes > 1:  # else they stay here: not every device has float64
            points = self._summed(torch.from_numpy(points).to(encoder.device)).cpu().numpy()
        return Predicted(points, self._summed(matcher.peaks).cpu().numpy())

    def _sample(
        self,
        queries: Queries,
        window: int,
        images: Ints,
        maps: Tensor,
        geometry: Geometry,
        size: int,
        dataset: str,
    ) -> Tensor:
        """Queries (U', C) of a window from maps (B, h, w, C), zero where another process has the image."""
        image = queries.image[queries.start[window] : queries.start[window + 1]]
        points = queries.points[queries.start[window] : queries.start[window + 1]]
        own = np.flatnonzero(np.isin(image, images))
        order = np.argsort(images)
        slot = order[np.searchsorted(images[order], image[own])]
        rounded = FRAMINGS[self.convention.name].rounded(points[own], dataset)
        placed = geometry.to_input(rounded, image[own])
        sampled = maps.new_zeros((len(image), maps.shape[-1]))
        sampled[torch.from_numpy(own).to(maps.device)] = self.convention.queries(
            maps, torch.from_numpy(slot), placed, size, self.encoder.backbone.stride
        )
        return sampled

    def _summed(self, tensor: Tensor) -> Tensor:
        """Sum over the processes, each of which has zeros where the others have values."""
        if self.accelerator.num_processes == 1:
            return tensor
        total: Tensor = self.accelerator.reduce(tensor, "sum")
        return total


def first_batch(device: str) -> int:
    """Images that ``encode_batch: auto`` begins with on a kind of device."""
    return _AUTO_ON_CPU if device == "cpu" else _AUTO


def evaluator(
    encoder: Encoder,
    accelerator: Accelerator,
    batch: int | Literal["auto"],
    progress: Progress,
    memory: int = MEMORY,
    cache: MapCache | None = None,
    convention: Convention = PEFTCORR,
) -> Evaluator:
    """An `Evaluator` for a recipe's ``encode_batch``; with ``auto`` it encodes fewer where memory ends."""
    if batch == "auto":
        encoder.halving = Halving("encoding {} images at once", progress.say)
        batch = first_batch(encoder.device.type)
    return Evaluator(encoder, accelerator, batch, progress, memory, cache, convention)


def _take(here: dict[int, Tensor], waiting: WaitingMaps, image: int) -> Tensor:
    return here[image] if image in here else waiting.take(image)


@dataclass(frozen=True)
class _Images:
    """The images of a split, and what frozen blocks make of them."""

    data: Correspondences
    store: ImageStore
    prefixes: Prefixes | None


@dataclass(frozen=True)
class Loaded:
    """A window's images of this process as they come from the disk.

    Attributes:
        images: numbers of all of them.
        fresh: numbers of those that have to be encoded.
        pixels: uint8 images of `fresh`, unless the encoder has its own store of what it starts from.
        cached: maps of the others.
        frames: geometry of all of them.
    """

    images: Ints
    fresh: Ints
    pixels: Tensor | None
    cached: dict[int, Tensor]
    frames: list[Frame]


def _load(source: _Images, encoder: Encoder, shelf: MapShelf | None, images: Ints) -> Loaded:
    data, store = source.data, source.store
    found: dict[int, Kept] = {} if shelf is None else shelf.get(images)
    fresh = np.array([image for image in images.tolist() if image not in found], dtype=np.int64)
    ahead = len(fresh) > 0 and (source.prefixes is None or encoder.first_trainable == 0)
    pixels = encoder.load(data, store, fresh) if ahead else None
    if not ahead:  # their frames are asked for all the same: by all threads, and not one after the other
        store.add([data.images[n] for n in fresh], [data.sizes[n] for n in fresh])
    frames = [
        found[image].frame if image in found else store.frame(data.images[image], data.sizes[image])
        for image in images.tolist()
    ]
    return Loaded(images, fresh, pixels, {image: kept.feature for image, kept in found.items()}, frames)


def _ahead(windows: Sequence[Ints], load: Callable[[Ints], Loaded]) -> Iterator[Loaded]:
    """Load each window, the next one in a thread while the caller encodes this one."""
    with ThreadPoolExecutor(1) as pool:
        coming: Future[Loaded] | None = None
        for window in [*windows, None]:
            last, coming = coming, None if window is None else pool.submit(load, window)
            if last is not None:
                yield last.result()


def _encode(
    source: _Images,
    encoder: Encoder,
    shelf: MapShelf | None,
    loaded: Loaded,
    shape: tuple[int, int, int],
    convention: Convention,
) -> Tensor:
    """Maps (len(loaded.images), h, w, C) as the convention keeps them, float32, channels last as tokens come."""
    maps = torch.empty((0, *shape), device=encoder.device)
    if len(loaded.fresh):
        with encoder.autocast():
            features = encoder.features(
                source.data, source.store, loaded.fresh, source.prefixes, loaded.pixels
            )
        # One layout, whether maps come from here, from disk or cache: products then agree to the last bit.
        maps = convention.kept(features.float()).permute(0, 2, 3, 1).contiguous()
        if shelf is not None:
            frames = dict(zip(loaded.images.tolist(), loaded.frames, strict=True))
            shelf.put(loaded.fresh, maps, [frames[image] for image in loaded.fresh.tolist()])
    if not loaded.cached:
        return maps
    every = {image: feature.to(encoder.device) for image, feature in loaded.cached.items()}
    every |= dict(zip(loaded.fresh.tolist(), maps, strict=True))
    return torch.stack([every[image] for image in loaded.images.tolist()])
