from __future__ import annotations

from pathlib import Path

import evaluate
import numpy as np
import pytest

from peftcorr.metrics.aggregate import aggregate
from peftcorr.metrics.pck import PCK


def keypoints(count: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    pairs = np.sort(draw.integers(0, max(1, count // 7), count))
    truth = draw.uniform(0, 500, (count, 2))
    return {
        "predictions": truth + draw.normal(0, 25, (count, 2)),
        "references": truth,
        "reference_lengths": 100.0 + pairs % 200,
        "pairs": pairs,
        "categories": np.array(["bird", "car", "chair"])[pairs % 3],
    }


def test_is_a_metric_of_evaluate_and_equals_the_aggregates() -> None:
    data = keypoints(500)
    metric = PCK()
    assert isinstance(metric, evaluate.Metric)
    result = metric.compute(**data, alphas=[0.1, 0.3])
    assert result == aggregate(**data, alphas=[0.1, 0.3]).model_dump()
    assert set(result["per_keypoint"]) == {"0.1", "0.3"}


def test_default_thresholds_and_plain_lists() -> None:
    data = {name: values.tolist() for name, values in keypoints(40).items()}
    assert list(PCK().compute(**data)["per_image"]) == ["0.05", "0.1", "0.2"]


def test_batches_give_what_one_call_gives_and_a_metric_can_be_used_again() -> None:
    data = keypoints(300)
    metric = PCK()
    for start in range(0, 300, 70):
        metric.add_batch(**{name: values[start : start + 70] for name, values in data.items()})
    batched = metric.compute(alphas=[0.1])
    assert batched == metric.compute(**data, alphas=[0.1])


def test_several_in_use_at_once_do_not_mix() -> None:
    first, second = PCK(), PCK()
    data = keypoints(60)
    first.add_batch(**data)
    second.add_batch(**{name: values[:10] for name, values in data.items()})
    assert first.compute()["n_keypoints"] == 60
    assert second.compute()["n_keypoints"] == 10


def test_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    PCK().compute(**keypoints(20))
    assert list(tmp_path.iterdir()) == []


def test_keypoints_at_once_are_scored_without_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    data = keypoints(40)
    metric = PCK()
    monkeypatch.setattr(metric, "add_batch", lambda **_: pytest.fail("copied"))
    assert metric.compute(**data, alphas=[0.1]) == aggregate(**data, alphas=[0.1]).model_dump()


def test_keypoints_at_once_after_a_batch_are_scored_with_it() -> None:
    data = keypoints(60)
    metric = PCK()
    metric.add_batch(**{name: values[:20] for name, values in data.items()})
    assert metric.compute(**{name: values[20:] for name, values in data.items()}) == PCK().compute(**data)
