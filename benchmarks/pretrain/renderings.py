"""The images that the embedded backbone learns from: pictures alone, in one array on disk."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from peftcorr.data.synthetic import CATEGORIES, object_seed, render_view
from peftcorr.data.synthetic.generate import RENDERER, Progress, run_tasks
from peftcorr.data.synthetic.scene import FULL, Variety

NAMESPACE = "pretrain"  # no split of the benchmark has this name, so no object is shared
CHUNK = 20
LOOKS = 2  # drawings of one picture, alike in everything but materials, light and colours

Pictures = NDArray[np.uint8]


def renderings(
    folder: Path,
    seed: int,
    count: int,
    side: int,
    workers: int | None,
    progress: Progress | None,
    variety: Variety = FULL,
) -> Pictures:
    """Render, or reopen, ``count`` pictures of every category, in random order.

    Args:
        folder: where the array is kept.
        seed: of the objects and of the order.
        count: of each category.
        side: pictures are stretched to squares of this many pixels.
        workers: processes, by default one a processor.
        progress: called with (pictures done, pictures in all).
        variety: how much objects and cameras vary.

    Returns:
        (N, LOOKS, side, side, 3), mapped from disk; the looks of one picture show the same shapes from the same
        camera in other materials, light and colours.
    """
    path = folder / f"renderings-{RENDERER}-{LOOKS}-{seed}-{count}-{side}-{_digest(variety)}.npy"
    if not path.is_file():
        tasks = [
            (category, start, min(start + CHUNK, count))
            for start in range(0, count, CHUNK)
            for category in CATEGORIES
        ]
        blocks: dict[tuple[str, int, int], Pictures] = {}
        done, total = 0, count * len(CATEGORIES)
        for task, block in run_tasks(partial(_render_block, seed, side, variety), tasks, workers):
            blocks[task] = block
            done += len(block)
            if progress is not None:
                progress(done, total)
        pictures = np.concatenate([blocks[task] for task in tasks])
        np.random.default_rng(seed).shuffle(pictures)
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.npy")
        np.save(unfinished, pictures)
        unfinished.replace(path)
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]


def _render_block(seed: int, side: int, variety: Variety, task: tuple[str, int, int]) -> Pictures:
    category, start, stop = task
    block = np.empty((stop - start, LOOKS, side, side, 3), dtype=np.uint8)
    for row, index in enumerate(range(start, stop)):
        number = object_seed(seed, NAMESPACE, category, index)
        for look in range(LOOKS):
            picture = render_view(category, number, view_seed=0, look_seed=look, variety=variety).image
            square = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
            block[row, look] = np.asarray(square)
    return block


def _digest(variety: Variety) -> str:
    return hashlib.sha256(variety.model_dump_json().encode()).hexdigest()[:8]
