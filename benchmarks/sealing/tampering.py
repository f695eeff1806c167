"""Changes that are no accidents: a record edited, renamed or copied by hand, and valid changes of the renderings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from peftcorr.data.synthetic.generate import SyntheticConfig
from peftcorr.data.synthetic.rendered import rendered
from peftcorr.files import manifest
from peftcorr.results.store import Store
from sealing.small_runs import SmallRuns

COMMANDS = ("compile", "compare", "score", "breakdown", "export", "verify")
_OTHER = "0123456789abcdef"  # a run id that no run has


@contextmanager
def kept(folder: Path, beside: Path) -> Iterator[None]:
    """Put a folder back as it was, files' dates included, when the block ends."""
    shutil.copytree(folder, beside)
    try:
        yield
    finally:
        shutil.rmtree(folder)
        beside.rename(folder)


def _edited(store: Store, run_id: str) -> str:
    path = store.record_path(run_id)
    document = json.loads(path.read_text(encoding="utf-8"))
    for predictors in document["scores"].values():
        for scores in predictors.values():
            scores["per_keypoint"] = dict.fromkeys(scores["per_keypoint"], 99.9)
    path.write_text(json.dumps(document), encoding="utf-8")
    return run_id


def _renamed(store: Store, run_id: str) -> str:
    store.record_path(run_id).rename(store.record_path(_OTHER))
    return run_id


def _copied(store: Store, run_id: str) -> str:
    for path in (store.record_path, store.predictions_path, store.adapter_path):
        shutil.copy(path(run_id), path(_OTHER))
    return _OTHER


WAYS: dict[str, Callable[[Store, str], str]] = {
    "edited to 99.9": _edited,
    "renamed": _renamed,
    "copied under another name": _copied,
}


@dataclass(frozen=True)
class Tampered:
    """A record that was tampered with, and the commands that refused it and named its file."""

    way: str
    refused: tuple[str, ...]


def tamper(runs: SmallRuns) -> list[Tampered]:
    """Tamper with a record in every way, and run every command on it."""
    store, found = Store(runs.output), []
    own, other = (runs.finished[strategy].run_id for strategy in ("lora", "frozen"))
    for way, change in WAYS.items():
        with kept(runs.output, runs.folder / "kept"):
            run_id = change(store, own)
            file = store.record_path(own if way.startswith("edited") else _OTHER).name
            to = ("--output", runs.output)
            calls: dict[str, tuple[str | Path, ...]] = {
                "compile": (runs.output,),
                "compare": (run_id, other, *to),
                "score": (store.predictions_path(run_id),),
                "breakdown": (run_id, *to),
                "export": (run_id, runs.folder / "exported", *to),
                "verify": (runs.output,),
            }
            refused = []
            for command, arguments in calls.items():
                code, printed = runs.command(command, *arguments)
                if code == (1 if command == "verify" else 2) and file in printed:
                    refused.append(command)
            found.append(Tampered(way, tuple(refused)))
    return found


def _brighter(root: Path) -> None:
    path = next(iter(sorted(root.glob("JPEGImages/*/test_*.png"))))
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


def _moved(root: Path) -> None:
    path = next(iter(sorted(root.glob("PairAnnotation/test/*.json"))))
    annotation = json.loads(path.read_text(encoding="utf-8"))
    annotation["trg_kps"][0][0] += 0.5
    path.write_text(json.dumps(annotation), encoding="utf-8")


def _fewer(root: Path) -> None:
    path = root / "Layout" / "large" / "test.txt"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]), encoding="utf-8")


def _swapped(root: Path) -> None:
    one, other = sorted(root.glob("JPEGImages/*/test_*.png"))[:2]
    shutil.copy(one, other)


def _lost(root: Path) -> None:
    next(iter(sorted(root.glob("JPEGImages/*/test_*.png")))).unlink()


def _unsealed(root: Path) -> None:
    (root / "manifest.json").unlink()


RENDERINGS: dict[str, Callable[[Path], None]] = {
    "an image inverted": _brighter,
    "a keypoint moved by 0.5 px": _moved,
    "a pair left out": _fewer,
    "an image in place of another": _swapped,
    "an image deleted": _lost,
    "the manifest deleted": _unsealed,
}


def rebuilt_renderings(runs: SmallRuns) -> dict[str, bool]:
    """By change: whether the next run made the renderings anew, as they had been."""
    config = runs.finished["frozen"].dataset.config
    assert isinstance(config, SyntheticConfig)
    folder, found = rendered(runs.cache, config), {}
    before = manifest(folder)
    for name, change in RENDERINGS.items():
        change(folder)
        found[name] = manifest(rendered(runs.cache, config)) == before
    return found
