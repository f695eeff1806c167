from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peftcorr.results.record import Record
from peftcorr.results.store import Store

RecordMaker = Callable[..., Record]


def _scores(pck: float, n_pairs: int) -> dict[str, Any]:
    values = {
        "per_keypoint": {"0.05": pck / 2, "0.1": pck, "0.2": min(100.0, 1.5 * pck)},
        "per_image": {"0.05": pck / 4, "0.1": pck / 2, "0.2": pck},
    }
    return {
        **values,
        "per_category": {"cat": {**values, "n_pairs": n_pairs, "n_keypoints": 10 * n_pairs}},
        "category_mean": values,
        "n_pairs": n_pairs,
        "n_keypoints": 10 * n_pairs,
    }


def _record(
    run_id: str,
    strategy: str = "lora",
    pck: float = 50.0,
    trainable: int = 1000,
    options: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    recipe: dict[str, Any] | None = None,
    seed: int = 0,
    pairs: int = 900,
    limit_pairs: int | None = None,
    scores: dict[str, dict[str, Any]] | None = None,
    **change: Any,
) -> Record:
    """A record of one run on ``synthetic``, scored by argmax; `change` sets any field of the record."""
    values: dict[str, Any] = {
        "schema_version": 1,
        "run_id": run_id,
        "status": "ok",
        "recipe": {
            "strategy": {"name": strategy, **(options or {})},
            "backbone": {"name": "tiny", "image_size": 128, "resize": "stretch", "weights": None},
            "dataset": {"name": "synthetic"},
            "eval_on": [],
            "predictors": [{"name": "argmax"}],
            "alphas": [0.05, 0.1, 0.2],
            "training": {"steps": 150, "learning_rate": 0.001, **(training or {})},
            "seed": seed,
            "precision": "no",
            "limit_pairs": limit_pairs,
            **(recipe or {}),
        },
        "strategy": strategy,
        "backbone": "tiny",
        "weights_id": "tiny",
        "weights_sha256": None,
        "official_weights": True,
        "dataset": "synthetic",
        "seed": seed,
        "trainable_parameters": trainable,
        "total_parameters": 100_000,
        "adapter_bytes": 4 * trainable,
        "scores": scores or {"synthetic/test": {"argmax": _scores(pck, limit_pairs or pairs)}},
        "cost": {
            "train_seconds": 90.0 if trainable else 0.0,
            "eval_seconds": 3.0,
            "peak_memory_bytes": 1_234_000_000,
            "encoder_forwards": 100,
            "steps": 150 if trainable else 0,
        },
        "environment": {
            "packages": {"torch": "2.14.1"},
            "python": "3.11.7",
            "platform": "Linux",
            "commit": "0123456789abcdef",
            "dirty": False,
            "cpu": "A CPU",
            "cpu_threads": 2,
            "gpu": None,
            "processes": 1,
            "precision": "no",
        },
    }
    return Record.model_validate({**values, **change})


@pytest.fixture
def make_record() -> RecordMaker:
    return _record


@pytest.fixture
def make_scores() -> Callable[[float, int], dict[str, Any]]:
    return _scores


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "leaderboard")
