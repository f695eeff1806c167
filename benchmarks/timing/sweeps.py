"""Sweeps by workers, what their cells share, decoding by threads, a training step's share, and start-up."""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from unittest import mock

import torch

from peftcorr.cli import main
from peftcorr.data.images import ImageStore
from peftcorr.engine.optimisation import Optimisation
from peftcorr.features.encode import Encoder
from timing.settings import PROJECT, WEIGHTS, Settings, available, dataset, shared

Row = tuple[str, str, str]  # workload, figure, value

HEADER = ["workload", "figure", "value"]
_CELLS, _STEPS = 8, 25
_RATES, _SEEDS = ("0.0003", "0.001", "0.003", "0.01"), ("0", "1", "2")
_THREADS = (1, 2, 4, 8)


def workers(settings: Settings) -> list[Row]:
    """Eight equal cells: one worker of one thread, one of two, two of one; wall times of one round as ratios."""
    cells = 2 if settings.quick else _CELLS
    job = [
        "--strategy",
        "lora",
        "--seed",
        *map(str, range(cells)),
        "--steps",
        str(2 if settings.quick else _STEPS),
    ]
    job += ["--limit-pairs", "100", "--set", "training.validate_every=1000"]
    ways = {
        "one worker, one thread": ("1", 1),
        "one worker, two threads": ("1", 2),
        "two workers, one thread each": ("2", 2),
    }
    _run([*job, "--workers", "1", "--dry-run"], settings.work / "rendered")  # the pictures are there for all
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repetition in range(settings.repetitions):
        for name, (count, cores) in ways.items():
            output = settings.work / f"workers-{repetition}-{count}-{cores}"
            seconds[name].append(_run([*job, "--workers", count], output, cores))
    first = seconds["one worker, one thread"]
    return [
        (
            f"{cells} equal cells",
            name,
            f"{statistics.median(own):.1f} s, {_ratio(own, first):.2f} of the first",
        )
        for name, own in seconds.items()
    ]


def shared_blocks(settings: Settings) -> list[Row]:
    """The last block trained with four learning rates and three seeds, its frozen blocks run once or in each cell."""
    if not available("data/animal-pairs", WEIGHTS):
        return []
    rates, seeds = (_RATES[:1], _SEEDS[:2]) if settings.quick else (_RATES, _SEEDS)
    job = [
        "--strategy", "last_k", "--backbone", "dinov2_vits14", "--image-size", "224",
        "--weights", str(shared() / WEIGHTS), "--dataset", "pairs",
        "--data-root", str(shared() / "data/animal-pairs"), "--limit-pairs", "100",
        "--vary", f"training.learning_rate={','.join(rates)}", "--seed", *seeds, "--steps", "20",
    ]  # fmt: skip
    seconds: dict[str, list[float]] = {"each cell by itself": [], "shared": []}
    scores: dict[str, object] = {}
    for repetition in range(max(1, settings.repetitions // 2)):
        for name, own in seconds.items():
            output = settings.work / f"shared-{repetition}-{name.replace(' ', '-')}"
            limit = ["--cache-limit", "1"] if name != "shared" else []
            own.append(_run([*job, *limit], output, fresh=True))
            scores[name] = _scores(output)
    alone, together = seconds.values()
    equal = "equal scores" if len({json.dumps(one) for one in scores.values()}) == 1 else "OTHER SCORES"
    return [
        (
            f"last-1, {len(rates)} rates, {len(seeds)} seeds",
            "each cell by itself",
            f"{statistics.median(alone):.1f} s",
        ),
        (
            "",
            "frozen blocks shared",
            f"{statistics.median(together):.1f} s, {_ratio(together, alone):.2f} of that, {equal}",
        ),
    ]


def decoding(settings: Settings) -> list[Row]:
    """Photographs decoded and resized a second, by threads."""
    if not available("data/animal-pairs"):
        return []
    opened = dataset("pairs", shared() / "data/animal-pairs", "trn", settings.work / "cache")
    names = sorted(set(opened.table["source_image"]))[: 4 if settings.quick else None]
    rows = []
    for threads in _THREADS:
        store = ImageStore(opened.image_root, 840, "stretch")
        with ThreadPoolExecutor(threads) as pool:
            begun = time.perf_counter()
            list(pool.map(store.frame, names))
            rate = len(names) / (time.perf_counter() - begun)
        rows.append(("decoding to 840 px", f"{threads} threads", f"{rate:.1f} images/s"))
    return rows


def step_share(settings: Settings) -> list[Row]:
    """What of a training step is neither the encoder's forward nor its backward."""
    seconds: Counter[str] = Counter()

    stepping = [False]

    def timed(name: str, plain: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **options: object) -> object:
            stepping[0] = stepping[0] or name == "step"
            begun = time.perf_counter()
            result = plain(*given, **options)
            seconds[name] += (time.perf_counter() - begun) * stepping[0]  # type: ignore[assignment]
            stepping[0] = stepping[0] and name != "step"
            return result

        return call

    steps = "3" if settings.quick else "40"
    job = ["run", "--steps", steps, "--limit-pairs", "1", "--output", str(settings.work / "steps")]
    with (
        mock.patch.object(Optimisation, "step", timed("step", Optimisation.step)),
        mock.patch.object(Encoder, "features", timed("encoder", Encoder.features)),
        mock.patch.object(torch.Tensor, "backward", timed("encoder", torch.Tensor.backward)),
    ):
        main([*job, "--set", "training.validate_every=1000", "training.checkpoint_every=1000"])
        rest = 1 - seconds["encoder"] / seconds["step"]
    return [("a LoRA step on tiny", "outside the encoder's forward and backward", f"{100 * rest:.1f} %")]


def start_up(settings: Settings) -> list[Row]:
    """Seconds of commands that should be there at once, and to the first step of a training."""
    found = []
    for words in (["--help"], ["ls"]):
        times = []
        for _ in range(settings.repetitions):
            begun = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "peftcorr.cli", *words],
                check=True,
                stdout=subprocess.DEVNULL,
                cwd=PROJECT,
            )
            times.append(time.perf_counter() - begun)
        found.append(("start-up", f"peftcorr {words[0]}", f"{statistics.median(times):.2f} s"))
    times = [
        _run(["--steps", "1", "--limit-pairs", "1"], settings.work / f"first-{n}")
        for n in range(settings.repetitions)
    ]
    return [*found, ("start-up", "a run of one step and one pair", f"{statistics.median(times):.1f} s")]


def _run(arguments: Sequence[str], output: Path, cores: int = 2, fresh: bool = False) -> float:
    """Seconds that a run takes on so many cores; with a cache of its own if it is to be fresh."""
    cache = output / "cache" if fresh else output.parent / "sweep-cache"
    environment = {**os.environ, "PEFTCORR_CACHE": str(cache)}
    environment.pop("OMP_NUM_THREADS", None)
    own = set(itertools.islice(sorted(os.sched_getaffinity(0)), cores))
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "peftcorr.cli", "run", *arguments, "--output", str(output)], cwd=PROJECT,
        env=environment, text=True, capture_output=True, preexec_fn=partial(os.sched_setaffinity, 0, own),
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - begun


def _scores(output: Path) -> object:
    records = (
        json.loads(path.read_text(encoding="utf-8")) for path in sorted((output / "records").glob("*.json"))
    )
    return [(record["run_id"], record["scores"]) for record in records]


def _ratio(own: Sequence[float], other: Sequence[float]) -> float:
    return statistics.median(one / two for one, two in zip(own, other, strict=True))


WORKLOADS: dict[str, Callable[[Settings], list[Row]]] = {
    "workers": workers,
    "shared-blocks": shared_blocks,
    "decoding": decoding,
    "step-share": step_share,
    "start-up": start_up,
}
