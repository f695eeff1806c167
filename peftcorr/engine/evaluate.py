"""Evaluation: every image is encoded once, and all keypoints that share a target are matched in one product.

The images are taken category by category, since no pair crosses two. Within a category each process encodes its
share of the images, samples the queries there, and the processes exchange queries (a few kilobytes an image), not
maps: the number of images encoded does not depend on the number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from accelerate import Accelerator
from torch import Tensor

from peftcorr.data.base import PairDataset
from peftcorr.data.correspondences import Correspondences, Floats, Ints
from peftcorr.data.images import ImageStore
from peftcorr.features.encode import Encoder
from peftcorr.features.prefix import PrefixStore
from peftcorr.matching.predictors import Predictor
from peftcorr.matching.similarity import normalise, sample_queries, similarity
from peftcorr.report.progress import Progress
from peftcorr.results.predictions import PREDICTION_SCHEMA

_MATCH_BYTES = 64 << 20  # similarity maps held at once


@dataclass(frozen=True)
class Split:
    """A split ready to be scored: its arrays and its images."""

    dataset: PairDataset
    data: Correspondences
    store: ImageStore
    prefixes: PrefixStore | None = None


def predict(
    split: Split,
    encoder: Encoder,
    predictors: Sequence[Predictor],
    accelerator: Accelerator,
    batch: int,
    progress: Progress,
) -> Floats:
    """Predict every correspondence of a split with every predictor.

    Returns:
        x, y in the target's original frame, (len(predictors), N, 2).
    """
    data, store = split.data, split.store
    encoder.backbone.eval()
    device, stride = encoder.device, encoder.backbone.stride
    predicted = torch.zeros((len(predictors), len(data), 2), dtype=torch.float64, device=device)
    by_category = _group(np.array(data.categories))
    keypoint_category = np.array(data.categories)[data.source[data.pair]]
    with (
        torch.inference_mode(),
        progress.track(
            f"score {split.dataset.name}/{split.dataset.split}", len(data.images), "images"
        ) as bar,
    ):
        for category, images in by_category.items():
            mine = images[accelerator.process_index :: accelerator.num_processes]
            wanted = np.flatnonzero(keypoint_category == category)
            maps, queries = _encode(split, encoder, mine, wanted, batch)
            queries = accelerator.reduce(queries, "sum") if accelerator.num_processes > 1 else queries
            _match(data, mine, maps, wanted, queries, predictors, stride, predicted)
            bar.advance(len(images))
    if accelerator.num_processes > 1:
        predicted = accelerator.reduce(predicted, "sum")
    target = data.target[data.pair]
    return np.stack([data.to_original(points, target, store) for points in predicted.cpu().numpy()])


def _encode(split: Split, encoder: Encoder, images: Ints, wanted: Ints, batch: int) -> tuple[Tensor, Tensor]:
    """Normalised maps (len(images), C, h, w), and the queries (len(wanted), C) whose source is among them."""
    data, stride = split.data, encoder.backbone.stride
    queries = torch.zeros((len(wanted), encoder.backbone.channels), device=encoder.device)
    source = data.source[data.pair[wanted]]
    maps: list[Tensor] = []
    for start in range(0, len(images), batch):
        numbers = images[start : start + batch]
        with encoder.autocast():
            features = encoder.features(data, split.store, numbers, split.prefixes)
        features = normalise(features.float())
        maps.append(features)
        for number, feature in zip(numbers, features, strict=True):
            rows = np.flatnonzero(source == number)
            points = data.to_input(data.source_points[wanted[rows]], source[rows], split.store)
            sampled = sample_queries(
                feature[None], torch.from_numpy(points)[None].to(encoder.device), stride
            )[0]
            queries[torch.from_numpy(rows)] = sampled
    size = split.store.size // stride
    empty = torch.zeros((0, encoder.backbone.channels, size, size), device=encoder.device)
    return torch.cat(maps) if maps else empty, queries


def _match(
    data: Correspondences,
    images: Ints,
    maps: Tensor,
    wanted: Ints,
    queries: Tensor,
    predictors: Sequence[Predictor],
    stride: int,
    predicted: Tensor,
) -> None:
    """Match all queries of each target image in one product, and write the points into `predicted`."""
    target = data.target[data.pair[wanted]]
    at_once = max(1, _MATCH_BYTES // (8 * maps.shape[-2] * maps.shape[-1]))
    for image, feature in zip(images, maps, strict=True):
        rows = torch.from_numpy(np.flatnonzero(target == image))
        for part in torch.split(rows, at_once):
            scores = similarity(queries[part], feature)
            where = torch.from_numpy(wanted)[part].to(predicted.device)
            for index, predictor in enumerate(predictors):
                predicted[index, where] = predictor.predict(scores, stride)


def _group(values: np.ndarray) -> dict[str, Ints]:
    return {str(value): np.flatnonzero(values == value) for value in np.unique(values)}


def prediction_table(split: Split, predicted: Floats, labels: Sequence[str]) -> pa.Table:
    """Predictions of a split as rows of `PREDICTION_SCHEMA`, predictor by predictor."""
    data = split.data
    shared = {
        "dataset": [split.dataset.name] * len(data),
        "split": [split.dataset.split] * len(data),
        "pair": data.pair,
        "pair_id": data.pair_ids[data.pair],
        "category": np.array(data.categories)[data.target[data.pair]],
        "source_image": np.array(data.images)[data.source[data.pair]],
        "target_image": np.array(data.images)[data.target[data.pair]],
        "keypoint_id": data.keypoint_ids,
        "source_x": data.source_points[:, 0],
        "source_y": data.source_points[:, 1],
        "truth_x": data.target_points[:, 0],
        "truth_y": data.target_points[:, 1],
        "reference_length": data.reference_length[data.pair],
    }
    parts = []
    for label, points in zip(labels, predicted, strict=True):
        columns = {
            **shared,
            "predictor": [label] * len(data),
            "prediction_x": points[:, 0],
            "prediction_y": points[:, 1],
        }
        parts.append(pa.table({field.name: pa.array(columns[field.name]) for field in PREDICTION_SCHEMA}))
    return pa.concat_tables(parts).cast(PREDICTION_SCHEMA)
