"""Writes the synthetic benchmark in SPair-71k's layout, the same bytes for any number of workers."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, field_validator

from peftcorr.data.synthetic.categories import CATEGORIES
from peftcorr.data.synthetic.pairs import Annotation, annotate, annotate_pair, keypoint_names, sample_pairs
from peftcorr.data.synthetic.scene import Variety, render_view
from peftcorr.files import seal_folder, whole_folder
from peftcorr.machine.launchers import end_with_parent
from peftcorr.machine.processors import processors

RENDERER = 3  # raise whenever the same seed gives other pictures
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CHUNK = 6  # images a task, small enough to keep workers evenly busy

Split = Literal["trn", "val", "test"]
SPLITS: tuple[Split, ...] = ("trn", "val", "test")
Progress = Callable[[int, int], None]
Task = tuple[Split, str, range]  # images of a category by their numbers


class SplitSizes(BaseModel):
    """A number per category for each split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trn: int = Field(ge=0, description="for training")
    val: int = Field(ge=0, description="for validation")
    test: int = Field(ge=0, description="for testing")

    def of(self, split: str) -> int:
        """The number for one split."""
        return int(getattr(self, split))


class SyntheticConfig(BaseModel):
    """What the benchmark consists of; equal settings give equal folders."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, ge=0, description="of everything")
    categories: tuple[str, ...] = Field(
        ("quadruped", "bird", "car", "aeroplane", "bicycle", "chair"),
        description="kinds of object, by default all",
    )
    images: SplitSizes = Field(
        SplitSizes(trn=100, val=12, test=16), description="images of a category, each of an object of its own"
    )
    pairs: SplitSizes = Field(SplitSizes(trn=400, val=60, test=130), description="most pairs of a category")
    minimum_shared: int = Field(3, ge=1, description="fewest visible landmarks that a pair has in common")
    variety: Variety = Variety(
        articulation=0.5,
        proportions=0.6,
        azimuth=(5.0, 85.0),
        elevation=0.5,
        fill=(0.85, 1.05),
        shift=0.5,
        any_colour=0.12,
    )

    @field_validator("categories")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or len(set(names) & CATEGORIES.keys()) < len(names):
            raise ValueError(f"give distinct categories out of {', '.join(CATEGORIES)}")
        return names

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that name these settings and the renderer's version."""
        text = f"renderer {RENDERER} {self.model_dump_json()}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def object_seed(seed: int, namespace: str, category: str, index: int) -> int:
    """Seed of one object, 63 bits: one for each namespace (a split, or ``pretrain``), category and index."""
    text = f"{seed}/{namespace}/{category}/{index}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generate(
    folder: Path, config: SyntheticConfig, workers: int | None = None, progress: Progress | None = None
) -> None:
    """Render the benchmark into ``folder``, which appears only when it is complete.

    Args:
        folder: to be made, by one process at a time; its parent may be missing too. If it exists nothing is done.
        config: what to render.
        workers: processes; by default as many as there are processors, 1 renders in this process. Processes
            are spawned, so a script that calls this needs the usual ``if __name__ == "__main__"``.
        progress: called with (images rendered, images in all).

    Raises:
        OSError: the folder cannot be written; nothing is left behind.
    """
    if not folder.exists():
        with whole_folder(folder) as unfinished:
            _write(unfinished, config, workers, progress)
            seal_folder(unfinished)


def images_written(folder: Path) -> int:
    """Images that whoever renders ``folder`` just now has written."""
    return sum(1 for _ in folder.parent.glob(f".{folder.name}.making-*/ImageAnnotation/*/*.json"))


def images_in_all(config: SyntheticConfig) -> int:
    """Images of all categories and splits."""
    return len(config.categories) * sum(config.images.of(split) for split in SPLITS)


def _write(root: Path, config: SyntheticConfig, workers: int | None, progress: Progress | None) -> None:
    for category in config.categories:
        (root / "JPEGImages" / category).mkdir(parents=True)
        (root / "ImageAnnotation" / category).mkdir(parents=True)
    tasks = [
        (split, category, range(config.images.of(split))[start : start + CHUNK])
        for split in SPLITS
        for category in config.categories
        for start in range(0, config.images.of(split), CHUNK)
    ]
    rendered: dict[Task, list[Annotation]] = {}
    done, total = 0, images_in_all(config)
    for task, images in run_tasks(partial(_render_chunk, root, config), tasks, workers):
        rendered[task] = images
        done += len(images)
        if progress is not None:
            progress(done, total)
    number = 0
    for split in SPLITS:
        lines = []
        folder = root / "PairAnnotation" / split
        folder.mkdir(parents=True)
        for category in config.categories:
            images = [image for task in tasks if task[:2] == (split, category) for image in rendered[task]]
            rng = np.random.default_rng(object_seed(config.seed, f"pairs of {split}", category, 0))
            for source, target in sample_pairs(images, config.pairs.of(split), config.minimum_shared, rng):
                number += 1
                pair = annotate_pair(number, images[source], images[target])
                _write_json(folder / f"{pair['filename']}.json", pair)
                lines.append(f"{pair['filename']}\n")
        layout = root / "Layout" / "large" / f"{split}.txt"
        layout.parent.mkdir(parents=True, exist_ok=True)
        layout.write_text("".join(lines), encoding="utf-8")
    names = {category: keypoint_names(CATEGORIES[category]) for category in config.categories}
    _write_json(root / "keypoints.json", names)
    _write_json(root / "synthetic.json", {"renderer": RENDERER, **config.model_dump(mode="json")})


def _render_chunk(root: Path, config: SyntheticConfig, task: Task) -> list[Annotation]:
    split, category, numbers = task
    images = []
    for index in numbers:
        name = f"{split}_{index:04d}"
        own_seed = object_seed(config.seed, split, category, index)
        view = render_view(category, own_seed, view_seed=0, variety=config.variety)
        annotation = annotate(view, CATEGORIES[category], f"{name}.png", own_seed)
        Image.fromarray(view.image).save(root / "JPEGImages" / category / f"{name}.png", compress_level=1)
        _write_json(root / "ImageAnnotation" / category / f"{name}.json", annotation)
        images.append(annotation)
    return images


def run_tasks(
    work: Callable[[Any], Any], tasks: Iterable[Any], workers: int | None
) -> Iterator[tuple[Any, Any]]:
    """Yield (task, result) as the results come; in this process when ``workers`` is 1.

    Spawned processes inherit no thread and no lock, so this is safe after torch has started its threads. They do not
    run the caller's script again, which need not guard itself: `work` is a function of a module.
    """
    workers = workers or processors()
    if workers == 1:
        for task in tasks:
            yield task, work(task)
        return
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=end_with_parent
    )
    try:
        with _starting():
            futures = {pool.submit(work, task): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _starting() -> Iterator[None]:
    """Let processes that start in the block have one linear-algebra thread each, no script, and not hear Ctrl-C.

    More threads would fight over the same processors, and Ctrl-C is for the process that waits for these.
    """
    before = {name: os.environ[name] for name in _THREADS if name in os.environ}
    script = vars(sys.modules["__main__"])
    shown: dict[str, Any] = {name: script[name] for name in ("__file__", "__spec__") if name in script}
    script.update(dict.fromkeys(shown))  # what a new process would import first
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    masked = hasattr(signal, "pthread_sigmask")
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masked else set()
    try:
        yield
    finally:
        if masked:
            signal.pthread_sigmask(signal.SIG_SETMASK, heard)
        script.update(shown)
        for name in _THREADS:
            del os.environ[name]
        os.environ.update(before)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
