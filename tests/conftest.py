"""Fixtures: tiny dataset folders made on the spot, and the folder of real photographs if there is one.

What takes long to import is imported by those who use it: the process that shares the tests out needs none of it.
"""

from __future__ import annotations

import gc
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.commanding import Commands

# Several workers with all cores each wait for one another most of the time. Commands that a test runs here would give
# torch all of them again, for every test after it.
os.environ |= {"OMP_NUM_THREADS": "1", "PEFTCORR_PROCESSORS": "1"}

with suppress(ValueError):  # of a thread that is not the main one
    # A shell's background jobs ignore Ctrl-C, and so would every process that a test starts and stops by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

PROJECT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Import without looking for garbage, and never look for it among what was imported."""
    gc.disable()
    found = yield
    gc.enable()
    gc.freeze()
    return found


@pytest.fixture
def shared_root() -> Path:
    """Folder with the real data sets and weights; PEFTCORR_SHARED names it, else it is ../shared."""
    root = Path(os.environ.get("PEFTCORR_SHARED") or PROJECT.parent / "shared")
    if not (root / "data").is_dir():
        pytest.skip(f"no real data: {root}/data is absent (set PEFTCORR_SHARED to the folder that has it)")
    return root


def _photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def photograph() -> Callable[..., Image.Image]:
    """Makes a smooth random RGB picture: photograph(width, height, seed)."""
    return _photograph


def _pair_annotation(category: str, source: str, target: str, keypoints: int = 4) -> dict[str, Any]:
    """A sound SPair-71k annotation of two 60 x 40 images."""
    return {
        "src_imname": f"{source}.jpg",
        "trg_imname": f"{target}.jpg",
        "src_imsize": [60, 40, 3],
        "trg_imsize": [60, 40, 3],
        "src_bndbox": [3, 4, 50, 36],
        "trg_bndbox": [5, 6, 47, 31],
        "category": category,
        "src_pose": "Left",
        "src_kps": [[5 + 4 * k, 10 + 2 * k] for k in range(keypoints)],
        "trg_kps": [[7.5 + 4 * k, 11 + 2 * k] for k in range(keypoints)],
        "kps_ids": [str(3 * k) for k in range(keypoints)],
        "mirror": 0,
        "viewpoint_variation": 2,
        "scale_variation": 1,
        "truncation": 3,
        "occlusion": 0,
    }


class SpairMaker:
    """Writes a folder in SPair-71k's layout: two categories of three images."""

    categories = ("cat", "train")
    images = ("2008_000001", "2008_000002", "2008_000003")

    def __init__(self, root: Path):
        self.root = root

    def write(self, splits: tuple[str, ...] = ("trn", "val", "test"), layout: str = "large") -> Path:
        """Six ordered pairs a category in every split; returns the root."""
        for category in self.categories:
            folder = self.root / "JPEGImages" / category
            folder.mkdir(parents=True, exist_ok=True)
            for seed, image in enumerate(self.images):
                _photograph(60, 40, seed).save(folder / f"{image}.jpg", quality=95)
        for split in splits:
            names = []
            for category in self.categories:
                for source in self.images:
                    for target in self.images:
                        if source != target:
                            name = f"{len(names):06d}-{source}-{target}:{category}"
                            self.pair(split, name, self.annotation(category, source, target))
                            names.append(name)
            self.list(split, names, layout)
        return self.root

    def annotation(self, category: str, source: str, target: str, keypoints: int = 4) -> dict[str, Any]:
        """A sound annotation, to be changed and given to `pair`."""
        return _pair_annotation(category, source, target, keypoints)

    def path(self, split: str, name: str) -> Path:
        """Annotation file of a pair."""
        return self.root / "PairAnnotation" / split / f"{name}.json"

    def pair(self, split: str, name: str, content: dict[str, Any] | bytes) -> Path:
        """Write one annotation, as JSON or as the bytes given."""
        path = self.path(split, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    def list(self, split: str, names: list[str], layout: str = "large") -> Path:
        """Write a layout file."""
        path = self.root / "Layout" / layout / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        return path


@pytest.fixture
def spair(tmp_path: Path) -> SpairMaker:
    """Maker of a folder ``farm`` in SPair-71k's layout; nothing is written before ``write()``."""
    return SpairMaker(tmp_path / "farm")


@pytest.fixture
def spair_root(spair: SpairMaker) -> Path:
    """A folder in SPair-71k's layout with 12 pairs in each of trn, val and test."""
    return spair.write()


@pytest.fixture
def make_willow(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder in PF-Willow's layout: two classes of `images` photographs each."""
    from scipy.io import savemat

    def make(images: int = 3) -> Path:
        root = tmp_path / "pf-willow" / "PF-dataset-WILLOW"
        for number, category in enumerate(("car(G)", "duck(S)")):
            folder = root / category
            folder.mkdir(parents=True)
            for index in range(images):
                seed = 10 * number + index
                _photograph(60, 45, seed).save(folder / f"{index:03d}.png")
                points = np.random.default_rng(seed).uniform(5, 40, (2, 10))
                savemat(folder / f"{index:03d}.mat", {"pts_coord": points})
        return root

    return make


@pytest.fixture
def willow_root(make_willow: Callable[..., Path]) -> Path:
    """A folder in PF-Willow's layout with 12 pairs."""
    return make_willow()


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    from peftcorr.backbones import BACKBONES
    from peftcorr.data import DATASETS
    from peftcorr.matching import PREDICTORS
    from peftcorr.strategies import STRATEGIES

    for registry in (STRATEGIES, BACKBONES, DATASETS, PREDICTORS):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    """Runs commands of peftcorr in this process, as if it were a new one, below `tmp_path`."""
    from accelerate.state import AcceleratorState, GradientState

    from tests.commanding import Commands

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    return Commands(tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """With a LoRA, a last-1, an adapter and a LoRA on an earlier block trained for a few large steps."""
    from tests.commanding import Commands

    commands = Commands(tmp_path_factory.mktemp("trained"))
    more = ("training.learning_rate=0.05",)
    quick = (
        "training.steps=3",
        "training.images=3",
        "training.validate_every=3",
        "training.checkpoint_every=3",
    )
    assert commands.run("--strategy", "lora", "last_k", "adapter", "frozen", assignments=(*quick, *more)) == 0
    assert commands.run("--strategy", "lora", assignments=(*quick, *more, "backbone.layer=2")) == 0
    return commands


@pytest.fixture(scope="session")
def lora(trained: Commands) -> str:
    """Id of the LoRA."""
    from tests.commanding import run_of

    return run_of(trained, "lora")
