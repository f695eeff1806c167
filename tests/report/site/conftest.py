from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peftcorr.report.site.build import build_site
from peftcorr.results.store import Store
from tests.hostile import HOSTILE
from tests.metrics.made import drawn, written
from tests.report.conftest import _record, _scores

FROZEN, LORA = "frozen-1", "lora-1"


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Nine rows on ``farm/test`` of three backbones, two of which left predictions, and two on another split."""
    store = Store(tmp_path_factory.mktemp("report") / "runs")
    more = {"barn/test": {"argmax": _scored(12.0), "window": _scored(13.0)}}
    points = [{"step": step, "seconds": step, "pck": step / 4, "loss": 9 / step} for step in (50, 100, 150)]
    _write(store, FROZEN, "frozen", 20.0, 0, more=more)
    _write(store, LORA, "lora", 60.0, 4096, more=more, validation=points, best_step=150)
    for number, strategy in enumerate(("adapter", "ssf", "bitfit", "norm", "vpt")):
        cost = {"train_seconds": 100.0 * number + 30, "eval_seconds": 1, "encoder_forwards": 1, "steps": 9,
                "peak_memory_bytes": 10**9 * (number + 1)}  # fmt: skip
        _write(store, f"{strategy}-1", strategy, 40.0 + number, 1000 * 10**number, cost=cost)
    _write(
        store,
        "hostile-1",
        HOSTILE,
        35.0,
        500,
        weights_id="<img src=x onerror=alert(1)>",
        official_weights=False,
    )
    _write(store, "large-1", "lora", 70.0, 9000, backbone="large", weights_id="large")
    store.write(_record("failed-1", status="failed", error=HOSTILE, scores={"x": {}}))
    for seed, run_id in enumerate((FROZEN, LORA)):
        written(drawn(seed, {"cat": 4, "dog": 4}), store.root, run_id)
    return store


@pytest.fixture(scope="session")
def site(runs: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their site, to be read and left as it is."""
    folder = tmp_path_factory.mktemp("report") / "site"
    build_site(runs.root, folder)
    return folder


@pytest.fixture
def one(store: Store, make_record: Callable[..., Any]) -> Store:
    """A single run, whose site is written fast."""
    store.write(make_record(LORA))
    return store


def _write(store: Store, run_id: str, strategy: str, pck: float, trainable: int, **change: Any) -> None:
    scores = {"farm/test": {"argmax": _scored(pck)}, **change.pop("more", {})}
    store.write(_record(run_id, strategy, pck, trainable, scores=scores, dataset="farm", **change))


def _scored(pck: float) -> dict[str, Any]:
    values = _scores(pck, 40)
    cat = values["per_category"]["cat"]
    told = {"per_keypoint": {"0.1": [pck - 2, pck + 2]}}
    return {**values, "per_category": {"cat": cat, "dog": {**cat, "n_pairs": 39}}, "intervals": told}
