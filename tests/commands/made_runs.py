"""Runs that nobody ran: predictions made up on the spot, and records of them."""

from __future__ import annotations

from pathlib import Path

from peftcorr.metrics.aggregate import score_predictions
from peftcorr.metrics.presets import PEFTCORR, Preset
from peftcorr.predictions import read_predictions
from peftcorr.results.record import Record
from peftcorr.results.store import Store
from tests.metrics.made import drawn, written


def made_runs(folder: Path) -> Path:
    """An output folder of three runs, aaaa1111, bbbb2222 and cccc3333: the last lacks a keypoint."""
    rows = [
        {**row, "keypoint_id": ("left_eye", "right_eye", "nose")[int(row["keypoint_id"])]}
        for row in drawn(0, {"cat": 5, "d[bold]g": 5}, keypoints=3)
    ]
    better = [{**r, "prediction_x": (r["prediction_x"] + r["truth_x"]) / 2} for r in rows]
    written(rows, folder, "aaaa1111")
    written([*better, *({**r, "predictor": "window"} for r in better)], folder, "bbbb2222")
    written(rows[:-1], folder, "cccc3333")
    return folder


def record(
    output: Path,
    run_id: str,
    protocol: Preset = PEFTCORR,
    alphas: tuple[float, ...] = (0.05, 0.1),
    limit: int | None = None,
) -> None:
    """Write the record that the run of a file of predictions would have left."""
    store = Store(output)
    scores = score_predictions(read_predictions(store.predictions_path(run_id)), alphas, protocol)
    store.write(
        Record(
            schema_version=1,
            run_id=run_id, status="ok", recipe={"limit_pairs": limit}, strategy="frozen", backbone="tiny",
            weights_id="tiny", weights_sha256=None, official_weights=True, dataset="farm", seed=0, protocol=protocol,
            trainable_parameters=0, scores=scores,
        )
    )  # fmt: skip
